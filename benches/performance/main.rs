//! The figures of docs/performance.md: the program beside its neighbours, what
//! questions to their files cost, the floor, and how its cost grows. `make bench`
//! makes the Python environment of the neighbours and runs this; progress is on stderr.
//!
//! | variable | default | |
//! |---|---|---|
//! | `CALLREC_BENCH_RECORDS` | 20000 | records of the corpus |
//! | `CALLREC_BENCH_ROUNDS` | 5 | rounds of callrec, DuckDB, Polars, pyarrow; of the questions three times as many, of the floor and the passes at most 5 |
//! | `CALLREC_BENCH_SLOW_ROUNDS` | 1 | rounds of pandas, Spark and dlt; 0 leaves them and their files out |
//! | `CALLREC_BENCH_LARGE` | 1 | 0 leaves out ten times the records (9 GB of JSON), and five times on one date for the questions |
//! | `CALLREC_BENCH_SECTIONS` | peers,queries,floor,growth,memory | what is run |
//! | `CALLREC_BENCH_KEEP` | | a directory where one output of every peer is kept |
//! | `CALLREC_BENCH_DOCS` | docs | where performance.md and its plots are written |
//! | `CALLREC_BENCH_WORK` | target/tmp | where corpora and outputs are for a while: a disk, 15 GB |
//! | `CALLREC_BENCH_PLAIN` | | another build of the program, measured beside the floor |
//! | `CALLREC_BENCH_PYTHON` | .venv-bench/bin/python | the interpreter of the neighbours |
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::disallowed_methods
)]

mod corpus;
mod engine;
mod floor;
mod growth;
mod layouts;
mod passes;
mod peers;
mod process;
mod queries;
mod report;

use std::path::PathBuf;

pub struct Settings {
    records: u64,
    rounds: usize,
    slow_rounds: usize,
    large: bool,
    sections: String,
    keep: Option<PathBuf>,
    docs: PathBuf,
    work: PathBuf,
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |given| given.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

fn path(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).map(PathBuf::from)
}

impl Settings {
    fn read() -> Self {
        let count = |name, default| usize::try_from(number(name, default)).unwrap();
        Self {
            records: number("CALLREC_BENCH_RECORDS", 20_000),
            rounds: count("CALLREC_BENCH_ROUNDS", 5).max(1),
            slow_rounds: count("CALLREC_BENCH_SLOW_ROUNDS", 1),
            large: number("CALLREC_BENCH_LARGE", 1) != 0,
            sections: std::env::var("CALLREC_BENCH_SECTIONS").unwrap_or_else(|_| report::SECTIONS.join(",")),
            keep: path("CALLREC_BENCH_KEEP"),
            docs: path("CALLREC_BENCH_DOCS").unwrap_or_else(|| process::repository().join("docs")),
            work: path("CALLREC_BENCH_WORK").unwrap_or_else(|| env!("CARGO_TARGET_TMPDIR").into()),
        }
    }

    fn has(&self, section: &str) -> bool {
        self.sections.split(',').any(|given| given == section)
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == peers::CHILD) {
        return peers::child(&arguments[at + 1..]);
    }
    let settings = Settings::read();
    std::fs::create_dir_all(&settings.work).unwrap();
    let work = tempfile::tempdir_in(&settings.work).unwrap();
    let work = work.path();
    eprintln!("generating {} records", settings.records);
    let corpus = corpus::plain(&work.join("records.ndjson"), settings.records);
    let mut report = report::Report::default();
    if settings.has("peers") || settings.has("queries") {
        // The questions alone need one output of each.
        let once = !settings.has("peers");
        let rounds = peers::Rounds {
            fast: if once { 0 } else { settings.rounds },
            slow: if once { settings.slow_rounds.min(1) } else { settings.slow_rounds },
            all: !once,
        };
        let kept = work.join("kept");
        let keep = settings.keep.as_deref().or_else(|| settings.has("queries").then_some(&*kept));
        let measured = peers::measure(&corpus, work, &rounds, keep);
        if let Some(keep) = keep.filter(|_| settings.has("queries")) {
            // What takes milliseconds is asked more often.
            let repeats = settings.rounds * 3;
            report.queries = Some(queries::measure(&measured, keep, repeats));
            report.layouts = Some(layouts::measure(&measured, keep, &settings, work, repeats));
        }
        std::fs::remove_dir_all(&kept).ok();
        report.peers = (!once).then_some(measured);
    }
    if settings.has("floor") {
        report.floor = Some(floor::measure(&corpus, work, settings.rounds.min(5)));
    }
    if settings.has("memory") {
        passes::report(&mut report.passes, &corpus.path, settings.rounds.min(5));
    }
    if settings.has("growth") {
        report.growth = Some(growth::measure(settings.records, work, settings.rounds.min(3), settings.large));
    }
    report.write(&settings, &corpus);
}
