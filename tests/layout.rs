//! The shape of `src/`: which module may import which, and how long a file may be.
//!
//! Data flows in one direction. A module imports only what `ALLOWED` gives it,
//! and nothing there stands below it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What a module may import beside [`BASE`] and itself.
enum Imports {
    /// Only these.
    Only(&'static [&'static str]),
    /// All that stand above it in the table.
    AllAbove,
}
use Imports::{AllAbove, Only};

/// What every module may import. Of these, only those to the left.
const BASE: &[&str] = &["printable", "redact", "error", "call_id", "clock", "json", "crash_point", "files"];

/// The modules in the order of the data flow.
const ALLOWED: &[(&str, Imports)] = &[
    ("arrow", Only(&[])),
    ("schema", Only(&["arrow"])),
    ("notifications", Only(&[])),
    ("worklist", Only(&["notifications"])),
    ("graph", Only(&[])),
    ("spool", Only(&["notifications", "worklist"])),
    ("raw", Only(&[])),
    ("quarantine", Only(&[])),
    ("flatten", Only(&["arrow", "schema"])),
    ("call_logs", Only(&["arrow", "schema", "flatten"])),
    (
        "dataset",
        Only(&["arrow", "schema", "notifications", "worklist", "spool", "raw", "quarantine", "flatten", "call_logs"]),
    ),
    ("simulator", Only(&[])),
    ("subscribe", Only(&["graph"])),
    ("listen", Only(&["notifications"])),
    ("config", Only(&["notifications", "graph", "simulator", "subscribe", "listen", "call_logs"])),
    ("progress", Only(&[])),
    ("shutdown", Only(&[])),
    ("cli", Only(&["simulator", "progress"])),
    ("logging", Only(&["cli"])),
    ("fetch", Only(&["graph", "shutdown"])),
    ("reconcile", Only(&["worklist", "graph", "dataset", "shutdown"])),
    ("alerts", Only(&["graph", "call_logs", "dataset", "shutdown"])),
    ("summary", AllAbove),
    ("metrics", Only(&["reconcile", "summary"])),
    ("ping", Only(&["graph"])),
    ("verify", AllAbove),
    ("status", AllAbove),
    ("pipeline", AllAbove),
    ("renewal", Only(&["graph", "subscribe", "listen", "config", "pipeline"])),
    ("log_run", AllAbove),
    ("run", AllAbove),
    ("verbs", AllAbove),
    ("main", AllAbove),
];

/// Longest file of `src/`, in lines, tests not counted.
const MAX_LINES: usize = 500;

#[test]
fn modules_import_only_what_stands_before_them() {
    let mut faults = Vec::new();
    for file in sources() {
        let module = module_of(&file.path);
        if module == "lib" {
            continue;
        }
        let Some(allowed) = allowed(&module) else {
            faults
                .push(format!("{}: the module `{module}` has no place in the table of this test", file.path.display()));
            continue;
        };
        for (name, line) in imports(&file) {
            if name != module && !allowed.contains(&name.as_str()) {
                faults.push(format!("{}:{line}: `{module}` must not import `{name}`", file.path.display()));
            }
        }
    }
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn the_table_of_imports_points_upwards() {
    for (place, (module, imports)) in ALLOWED.iter().enumerate() {
        if let Only(names) = imports {
            for name in *names {
                let above = ALLOWED[..place].iter().any(|(other, _)| other == name);
                assert!(above, "`{module}` may import `{name}`, which does not stand above it");
            }
        }
    }
}

#[test]
fn files_are_short() {
    let long: Vec<String> = sources()
        .iter()
        .map(|file| (&file.path, file.code.len()))
        .filter(|(_, lines)| *lines > MAX_LINES)
        .map(|(path, lines)| format!("{}: {lines} lines without tests, {MAX_LINES} is the limit", path.display()))
        .collect();
    assert!(long.is_empty(), "\n{}\n", long.join("\n"));
}

#[test]
fn imports_are_found_in_every_form() {
    let text = "//! [`crate::doc`]\nuse crate::one::Thing;\nuse crate::{two, three::{self, x}, four as f};\n\
                pub(crate) fn a() -> crate::five::B { todo() } // crate::comment\nuse super::six;\n\
                #[cfg(test)]\nmod tests {\n    use crate::seven;\n}\nuse crate::{\n    eight,\n    nine::T,\n};\n";
    let file = Source { path: PathBuf::from("src/sample.rs"), code: without_tests(text) };
    let found: Vec<(String, usize)> = imports(&file);
    let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["one", "two", "three", "four", "five", "six", "eight", "nine"]);
    assert_eq!(found[4].1, 4);
    assert_eq!(found[7].1, 10, "counted from the line that begins the statement");
}

/// A file of `src/`: its path below the package and its lines that are no tests, with their numbers.
struct Source {
    path: PathBuf,
    code: Vec<(usize, String)>,
}

fn sources() -> Vec<Source> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut folders = vec![package.join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("src is readable") {
            let path = entry.expect("src is readable").path();
            let name = path.file_name().and_then(|name| name.to_str()).expect("names are UTF-8");
            if path.is_dir() {
                if name != "tests" {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|kind| kind == "rs") && name != "tests.rs" {
                let text = fs::read_to_string(&path).expect("src is readable");
                let path = path.strip_prefix(package).expect("below the package").to_owned();
                found.push(Source { path, code: without_tests(&text) });
            }
        }
    }
    assert!(found.len() > 5, "src was not found");
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// The numbered lines of `text` without `#[cfg(test)] mod … { … }`.
fn without_tests(text: &str) -> Vec<(usize, String)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut kept = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let tests = lines[at] == "#[cfg(test)]"
            && lines.get(at + 1).is_some_and(|next| next.starts_with("mod ") && next.ends_with('{'));
        if tests {
            at += lines[at..].iter().position(|line| *line == "}").unwrap_or(lines.len() - at);
        } else {
            kept.push((at + 1, lines[at].to_owned()));
        }
        at += 1;
    }
    kept
}

fn module_of(path: &Path) -> String {
    let below = path.strip_prefix("src").expect("below src");
    let first = below.components().next().expect("not empty").as_os_str().to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

fn allowed(module: &str) -> Option<Vec<&'static str>> {
    if let Some(place) = BASE.iter().position(|name| *name == module) {
        return Some(BASE[..place].to_vec());
    }
    let place = ALLOWED.iter().position(|(name, _)| *name == module)?;
    let mut names = BASE.to_vec();
    match &ALLOWED[place].1 {
        Only(more) => names.extend_from_slice(more),
        AllAbove => names.extend(ALLOWED[..place].iter().map(|(name, _)| *name)),
    }
    Some(names)
}

/// The modules that a file names after `crate::`, with the line, in order.
fn imports(file: &Source) -> Vec<(String, usize)> {
    // `super` of src/x.rs and src/x/mod.rs is the crate.
    let below = file.path.strip_prefix("src").expect("below src");
    let top = below.components().count() == 1 || below.ends_with("mod.rs") && below.components().count() == 2;
    let mut starts = BTreeMap::new();
    let mut text = String::new();
    for (number, line) in &file.code {
        starts.insert(text.len(), *number);
        text.push_str(line.split("//").next().unwrap_or_default());
        text.push('\n');
    }
    let roots: &[&str] = if top { &["crate::", "super::"] } else { &["crate::"] };
    let mut found = Vec::new();
    for root in roots {
        for (at, _) in text.match_indices(root) {
            let line = *starts.range(..=at).next_back().expect("begins at 0").1;
            found.extend(first_names(&text[at + root.len()..]).into_iter().map(|name| (at, name, line)));
        }
    }
    found.sort_by_key(|(at, _, _)| *at);
    found.into_iter().map(|(_, name, line)| (name, line)).collect()
}

/// `a::b` gives `a`; `{a, b::{c, d}, e as f}` gives `a`, `b`, `e`.
fn first_names(path: &str) -> Vec<String> {
    let word = |text: &str| -> String { text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect() };
    let Some(list) = path.strip_prefix('{') else {
        return vec![word(path)];
    };
    let (mut names, mut depth, mut begin) = (Vec::new(), 0_usize, 0);
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                names.push(word(list[begin..at].trim_start()));
                begin = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}
