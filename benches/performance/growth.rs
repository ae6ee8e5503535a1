//! How cost grows: with records, with dates, with the sessions of a meeting.

use crate::corpus::{self, Corpus};
use crate::process::{self, MIB, Run, Spread, spread};
use std::fmt::Write;
use std::path::Path;

pub struct Point {
    /// Records, dates or sessions.
    pub at: u64,
    pub records: u64,
    pub bytes: u64,
    pub runs: Vec<Run>,
    pub files: u64,
}

#[derive(Default)]
pub struct Growth {
    /// On 25 dates.
    pub records: Vec<Point>,
    /// On one date: without the cost of small files.
    pub one_date: Vec<Point>,
    pub dates: Vec<Point>,
    pub sessions: Vec<Point>,
    large: bool,
}

const DATES: [u64; 3] = [1, 7, 31];
const SESSIONS: [u64; 4] = [1, 10, 100, 1000];

fn point(corpus: &Corpus, at: u64, work: &Path, rounds: usize) -> Point {
    let threads = std::thread::available_parallelism().unwrap().get();
    let (mut runs, mut files) = (Vec::new(), 0);
    for _ in 0..rounds {
        let output = work.join("growth");
        runs.push(process::flatten(&corpus.path, &output, threads));
        files = process::size(&output).1;
        std::fs::remove_dir_all(&output).unwrap();
    }
    std::fs::remove_file(&corpus.path).unwrap();
    Point { at, records: corpus.records, bytes: corpus.bytes, runs, files }
}

/// `records` is the middle size; `large` also takes ten times as many, once.
pub fn measure(records: u64, work: &Path, rounds: usize, large: bool) -> Growth {
    let path = work.join("growth.ndjson");
    let mut growth = Growth { large, ..Growth::default() };
    for dates in DATES {
        eprintln!("growth: {records} records on {dates} dates");
        growth.dates.push(point(&corpus::on_dates(&path, records, dates), dates, work, rounds));
    }
    let bytes = growth.dates[0].bytes / 4;
    for sessions in SESSIONS {
        eprintln!("growth: {} MB of meetings of {sessions} sessions", bytes / 1_000_000);
        let corpus = corpus::of_sessions(&path, bytes, usize::try_from(sessions).unwrap());
        growth.sessions.push(point(&corpus, sessions, work, rounds));
    }
    let middle = records;
    for records in [middle / 10, middle, middle * 10].into_iter().take(if large { 3 } else { 2 }) {
        eprintln!("growth: {records} records");
        let rounds = if records > middle { 1 } else { rounds };
        growth.records.push(point(&corpus::plain(&path, records), records, work, rounds));
        eprintln!("growth: {records} records on one date");
        growth.one_date.push(point(&corpus::on_dates(&path, records, 1), records, work, rounds));
    }
    growth
}

impl Point {
    pub fn per_record(&self, figure: fn(&Run) -> f64) -> Spread {
        spread(self.runs.iter().map(|run| figure(run) * 1e3 / self.records as f64))
    }
    pub fn per_megabyte(&self, figure: fn(&Run) -> f64) -> Spread {
        spread(self.runs.iter().map(|run| figure(run) * 1e9 / self.bytes as f64))
    }
    pub fn peak(&self) -> f64 {
        spread(self.runs.iter().map(|run| run.peak / MIB)).most
    }
}

impl Growth {
    pub fn curves(&self) -> [(&'static str, &Vec<Point>); 4] {
        [
            ("records on one date", &self.one_date),
            ("records on 25 dates", &self.records),
            ("dates", &self.dates),
            ("sessions a meeting", &self.sessions),
        ]
    }

    pub fn report(&self, out: &mut String) {
        writeln!(out, "## How cost grows\n\nThe whole process on all cores, medians (least–most).\n").unwrap();
        for (of, points) in self.curves() {
            writeln!(
                out,
                "| {of} | records | JSON MB | runs | files | wall ms per record | wall ms per MB | CPU ms per record | CPU ms per MB | peak MiB |\n\
                 |--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
            )
            .unwrap();
            for point in points {
                writeln!(
                    out,
                    "| {} | {} | {:.0} | {} | {} | {} | {} | {} | {} | {:.0} |",
                    point.at,
                    point.records,
                    point.bytes as f64 / 1e6,
                    point.runs.len(),
                    point.files,
                    point.per_record(|run| run.wall).text(3),
                    point.per_megabyte(|run| run.wall).text(2),
                    point.per_record(|run| run.cpu).text(3),
                    point.per_megabyte(|run| run.cpu).text(2),
                    point.peak()
                )
                .unwrap();
            }
            writeln!(out).unwrap();
        }
        if !self.large {
            writeln!(out, "**Not measured**: ten times the records (`CALLREC_BENCH_LARGE=0`).\n").unwrap();
        }
    }
}
