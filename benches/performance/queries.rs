//! What an analyst pays: the same questions to the files of all, in DuckDB and Polars.

use crate::peers::{self, Peers};
use crate::process::{self, MIB, Spread, spread};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const ENGINES: [(&str, &str); 2] = [("duckdb", "DuckDB"), ("polars", "Polars")];
/// The names in queries.py, and what is asked.
const QUESTIONS: [(&str, &str); 6] = [
    ("subnets", "good and poor streams by day and subnet of the sender"),
    ("machines", "the 20 machines that send the largest share of poor audio"),
    ("user", "the calls of one user, over all dates"),
    ("modalities", "good and poor streams by type and modalities of the call"),
    ("codecs", "streams by codec"),
    ("call", "the streams of one call by its id alone, the date not known"),
];

/// Files that are asked.
pub struct Layout {
    pub name: String,
    /// What a question may use, in the words of queries.py.
    pub kind: &'static str,
    pub path: PathBuf,
}

#[derive(Deserialize)]
struct Asked {
    /// Seconds, of each repeat.
    wall: Vec<f64>,
    cpu: Vec<f64>,
    /// Bytes.
    read: f64,
    answer: Vec<String>,
}

/// By layout and question.
type Found = BTreeMap<String, BTreeMap<String, Asked>>;

/// What all questions took on all layouts.
pub struct Queries {
    layouts: Vec<Layout>,
    /// Bytes and files of each layout.
    sizes: Vec<(u64, u64)>,
    /// Of each engine.
    found: Vec<Found>,
    /// MiB of each engine on each layout, where it was measured.
    peaks: Vec<Vec<f64>>,
    /// Neighbours whose files are not there.
    missing: Vec<&'static str>,
}

fn command(engine: &str, repeats: usize, layouts: &[&Layout]) -> Vec<OsString> {
    let threads = std::thread::available_parallelism().unwrap().get();
    let mut command = vec![process::python().into(), process::script("queries.py").into()];
    command.extend([engine.to_owned(), repeats.to_string(), threads.to_string()].map(OsString::from));
    command.extend(layouts.iter().map(|layout| {
        let mut given = OsString::from(format!("{}={}=", layout.name, layout.kind));
        given.push(&layout.path);
        given
    }));
    command
}

/// Asks all questions of all layouts, in alternation, and compares the answers.
pub fn ask(layouts: Vec<Layout>, repeats: usize, with_peaks: bool) -> Queries {
    let all: Vec<&Layout> = layouts.iter().collect();
    let found: Vec<Found> = ENGINES
        .iter()
        .map(|(engine, name)| {
            eprintln!("questions to {} layouts in {name}", layouts.len());
            let command = command(engine, repeats, &all);
            let asked = Command::new(&command[0]).args(&command[1..]).stderr(Stdio::inherit()).output().unwrap();
            assert!(asked.status.success(), "{name} could not be asked");
            serde_json::from_slice(&asked.stdout).unwrap()
        })
        .collect();
    let peaks = if with_peaks {
        let peak = |engine: &str, layout| process::measure(&command(engine, 1, &[layout])).peak / MIB;
        ENGINES.iter().map(|(engine, _)| all.iter().map(|layout| peak(engine, layout)).collect()).collect()
    } else {
        Vec::new()
    };
    let sizes = layouts.iter().map(|layout| asked_of(&layout.path)).collect();
    let queries = Queries { layouts, sizes, found, peaks, missing: Vec::new() };
    queries.compare();
    queries
}

/// Bytes and files of the tables that the questions read.
fn asked_of(path: &Path) -> (u64, u64) {
    let sizes = TABLES.map(|table| process::size(&path.join(table)));
    sizes.iter().fold((0, 0), |sum, of| (sum.0 + of.0, sum.1 + of.1))
}

/// The tables that the questions read.
pub const TABLES: [&str; 5] = ["calls", "participants", "sessions", "media", "streams"];

/// The layouts of all whose tables have the names and columns of ours.
pub fn measure(peers: &Peers, kept: &Path, repeats: usize) -> Queries {
    let ours = peers::kept(kept, peers.taken[0].name);
    let mut layouts = vec![
        Layout { name: "callrec flatten".to_owned(), kind: "all", path: ours.clone() },
        Layout { name: "callrec flatten, the peers' columns alone".to_owned(), kind: "peers", path: ours },
    ];
    for taken in peers.taken[2..].iter().filter(|taken| taken.has_same_columns()) {
        layouts.push(Layout { name: taken.name.to_owned(), kind: "peers", path: peers::kept(kept, taken.name) });
    }
    let is_missing = |name: &&str| *name != "dlt" && layouts.iter().all(|layout| layout.name != *name);
    let missing = peers.taken[2..].iter().map(|taken| taken.name).filter(is_missing).collect();
    Queries { missing, ..ask(layouts, repeats, true) }
}

impl Queries {
    /// Every answer must be that of DuckDB on the first layout.
    fn compare(&self) {
        let first = &self.found[0][&self.layouts[0].name];
        for ((_, engine), found) in ENGINES.iter().zip(&self.found) {
            for layout in &self.layouts {
                for (question, _) in QUESTIONS {
                    let (wanted, given) = (&first[question].answer, &found[&layout.name][question].answer);
                    assert!(!wanted.is_empty(), "nothing answers `{question}`: too few records");
                    let other = wanted.iter().zip(given).find(|(wanted, given)| wanted != given);
                    assert!(
                        wanted == given,
                        "{engine} answers `{question}` of {} otherwise: {} rows, not {}, first {other:?}",
                        layout.name,
                        given.len(),
                        wanted.len()
                    );
                }
            }
        }
    }

    /// All questions together, repeat by repeat.
    fn whole(&self, engine: usize, layout: usize, figure: fn(&Asked) -> &Vec<f64>) -> Vec<f64> {
        let asked = &self.found[engine][&self.layouts[layout].name];
        let repeats = figure(&asked[QUESTIONS[0].0]).len();
        (0..repeats).map(|at| QUESTIONS.iter().map(|(question, _)| figure(&asked[*question])[at]).sum()).collect()
    }

    /// CPU time of all questions over that of the first layout in the same repeat.
    pub fn over(&self, engine: usize, layout: usize) -> Spread {
        let (ours, first) = (self.whole(engine, layout, |asked| &asked.cpu), self.whole(engine, 0, |asked| &asked.cpu));
        spread(ours.iter().zip(first).map(|(ours, first)| ours / first))
    }

    pub fn tables(&self, out: &mut String) {
        for (number, (_, engine)) in ENGINES.iter().enumerate() {
            let columns = QUESTIONS.map(|(question, _)| format!("{question} |")).join(" ");
            let (peak, line) = if self.peaks.is_empty() { ("", "") } else { (" peak MiB |", "--:|") };
            writeln!(
                out,
                "| {engine} on the files of | files | MB | {columns} all, wall ms | all, CPU ms | x CPU | MB read |{peak}\n\
                 |---|--:|--:|{}--:|--:|--:|--:|{line}",
                "--:|".repeat(QUESTIONS.len())
            )
            .unwrap();
            for (at, layout) in self.layouts.iter().enumerate() {
                let asked = &self.found[number][&layout.name];
                let milliseconds = |of: &[f64]| spread(of.iter().map(|seconds| seconds * 1e3));
                let cell = |(question, _): (&str, &str)| {
                    let asked = &asked[question];
                    format!("{:.0} / {:.0}", milliseconds(&asked.wall).median, milliseconds(&asked.cpu).median)
                };
                write!(
                    out,
                    "| {} | {} | {:.1} | {} | {} | {} | {} | {:.1} |",
                    layout.name,
                    self.sizes[at].1,
                    self.sizes[at].0 as f64 / 1e6,
                    QUESTIONS.map(cell).join(" | "),
                    milliseconds(&self.whole(number, at, |asked| &asked.wall)).text(0),
                    milliseconds(&self.whole(number, at, |asked| &asked.cpu)).text(0),
                    self.over(number, at).text(2),
                    asked.values().map(|asked| asked.read).sum::<f64>() / 1e6,
                )
                .unwrap();
                if let Some(peaks) = self.peaks.get(number) {
                    write!(out, " {:.0} |", peaks[at]).unwrap();
                }
                writeln!(out).unwrap();
            }
            writeln!(out).unwrap();
        }
    }

    pub fn report(&self, out: &mut String) {
        writeln!(out, "## What questions cost\n\n| question | | rows of the answer |\n|---|---|--:|").unwrap();
        let first = &self.found[0][&self.layouts[0].name];
        for (question, what) in QUESTIONS {
            writeln!(out, "| {question} | {what} | {} |", first[question].answer.len()).unwrap();
        }
        writeln!(out, "\n{}", ABOUT.replace("REPEATS", &self.repeats().to_string())).unwrap();
        self.tables(out);
        if !self.missing.is_empty() {
            writeln!(out, "**Not asked**, as there were no files of theirs: {}.\n", self.missing.join(", ")).unwrap();
        }
    }

    pub fn repeats(&self) -> usize {
        self.found[0][&self.layouts[0].name][QUESTIONS[0].0].wall.len()
    }

    pub fn layouts(&self) -> impl Iterator<Item = (usize, &Layout, u64)> {
        self.layouts.iter().zip(&self.sizes).enumerate().map(|(at, (layout, size))| (at, layout, size.0))
    }
}

const ABOUT: &str = "\
Each is SQL with hive partitioning in DuckDB, and a lazy query of `scan_parquet` in Polars, in
`benches/peers/queries.py`. The first row uses all columns of callrec. The others use those that come straight from the
record, which is what the neighbours have: there a question about quality joins `streams` to `media` for the label and
the subnets and to `sessions` for the test calls, and has the rules of quality in itself. The second row asks so of
callrec's own files: between it and the first is what the derived columns save, between it and the others what the
files themselves do. Machines are told by their names, as the generated records know one headset; the user is the
identity in most calls. dlt is left out: its tables have other names and no keys of the calls.

One process an engine, all cores, files in the page cache. Every question is on a new connection and lists and opens
the files again; all questions of all layouts in alternation, REPEATS repeats after one that is not counted. Cells are
medians of wall and CPU time in ms; x CPU is the ratio to the first row in the same repeat; files and MB are those of
the five tables that are read; MB read are the bytes of all read calls for all six questions; the peak is that of a process that
asks all of one layout once, with its interpreter and both libraries. All answers were the same, in both engines and on
all files.
";
