//! The sample run of the README, and its tables in pandas, pyarrow, Polars and
//! DuckDB: all readers see the same, and the examples of the documentation run.

#[path = "support/python.rs"]
mod python;

use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

#[derive(Deserialize)]
struct Summary {
    exit_code: u8,
    exported_new: u64,
    exported_updated: u64,
    pending: u64,
    quarantined: u64,
    files_written: u64,
    rows: BTreeMap<String, u64>,
}

const TABLES: [&str; 8] =
    ["calls", "participants", "sessions", "segments", "media", "streams", "trace_route_hops", "feedback_tokens"];

fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn callrec(root: &Path, arguments: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_callrec"))
        .arg("--config")
        .arg(package().join("sample_data/callrec.toml"))
        .args(arguments)
        .env("CALLREC_OUTPUT__ROOT", root)
        .output()
        .expect("the binary starts");
    assert!(output.status.success(), "callrec {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn sample_run(root: &Path) -> Summary {
    let output = callrec(root, &["run"]);
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    serde_json::from_str(text.lines().last().expect("a summary")).expect("the summary is JSON")
}

fn python(script: &str, arguments: &[&Path]) -> String {
    let output = python::python()
        .arg(package().join("tests/readers").join(script))
        .args(arguments)
        .output()
        .unwrap_or_else(|why| panic!("the Python of the tests does not start: {why}; run `make test`"));
    assert!(output.status.success(), "{script}:\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// All files below `root` with their contents.
fn contents(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("readable") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.clone(), fs::read(&path).expect("readable"));
            }
        }
    }
    found
}

#[test]
fn the_sample_run_fills_all_tables_and_a_second_one_changes_nothing() {
    let folder = tempfile::tempdir().expect("a directory");
    let root = folder.path().join("out");
    let first = sample_run(&root);
    assert_eq!((first.exit_code, first.exported_new, first.pending, first.quarantined), (0, 14, 0, 0));
    for table in TABLES {
        assert!(first.rows.get(table).is_some_and(|rows| *rows > 0), "{table} has no rows");
    }
    let before = contents(&root);
    let second = sample_run(&root);
    assert_eq!((second.exit_code, second.exported_new, second.exported_updated, second.files_written), (0, 0, 0, 0));
    assert!(contents(&root) == before, "the second run changed a file");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a file of the test's own")]
fn all_readers_see_the_same() {
    #[derive(Deserialize)]
    struct Compared {
        tables: BTreeMap<String, Size>,
        readings: usize,
    }
    #[derive(Deserialize)]
    struct Size {
        rows: u64,
    }
    let folder = tempfile::tempdir().expect("a directory");
    let root = folder.path().join("out");
    let summary = sample_run(&root);
    let schema = folder.path().join("schema.json");
    fs::write(&schema, callrec(&root, &["schema", "--format", "json"]).stdout).expect("written");

    let compared: Compared = serde_json::from_str(&python("compare.py", &[&root, &schema])).expect("JSON");
    assert_eq!(compared.tables.len(), TABLES.len() + 2, "the record tables, the ledger and the runs");
    assert_eq!(compared.readings, compared.tables.len() * 4 * 2, "four readers, two ways");
    for table in TABLES {
        assert_eq!(compared.tables[table].rows, summary.rows[table], "{table}");
    }
}

#[test]
fn the_examples_of_the_documentation_run() {
    let folder = tempfile::tempdir().expect("a directory");
    let root = folder.path().join("out");
    sample_run(&root);
    python("snippets.py", &[&root, &package().join("README.md"), &package().join("docs/reading.md")]);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a file of the test's own")]
fn the_views_open_and_count_streams_and_their_ends() {
    let folder = tempfile::tempdir().expect("a directory");
    let root = folder.path().join("out");
    sample_run(&root);
    let views = folder.path().join("views.sql");
    fs::write(&views, callrec(&root, &["schema", "--format", "sql"]).stdout).expect("written");
    python("views.py", &[&root, &views]);
}
