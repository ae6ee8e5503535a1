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
    /// By round.
    pub runs: Vec<Vec<Run>>,
    pub files: u64,
}

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
/// A run that is shorter than the longest is repeated in each round, at most so often.
const REPEATS: u64 = 5;

/// All corpora in alternation, so that what the machine does meets all of them.
fn curve(of: &str, corpora: Vec<(u64, Corpus)>, work: &Path, rounds: usize) -> Vec<Point> {
    let threads = std::thread::available_parallelism().unwrap().get();
    let output = work.join("growth");
    let largest = corpora.iter().map(|(_, corpus)| corpus.bytes).max().unwrap();
    let begin = |(at, corpus): &(u64, Corpus)| {
        let Corpus { records, bytes, .. } = *corpus;
        Point { at: *at, records, bytes, runs: Vec::new(), files: 0 }
    };
    let mut points: Vec<Point> = corpora.iter().map(begin).collect();
    for round in 1..=rounds {
        for (point, (at, corpus)) in points.iter_mut().zip(&corpora) {
            eprintln!("growth: {at} {of}, round {round}");
            let run = |_| {
                let run = process::flatten(&corpus.path, &output, threads);
                point.files = process::size(&output).1;
                std::fs::remove_dir_all(&output).unwrap();
                run
            };
            point.runs.push((0..(largest / corpus.bytes).clamp(1, REPEATS)).map(run).collect());
        }
    }
    for (_, corpus) in corpora {
        std::fs::remove_file(corpus.path).unwrap();
    }
    points
}

/// `records` is the middle size; `large` also takes ten times as many.
pub fn measure(records: u64, work: &Path, rounds: usize, large: bool) -> Growth {
    let path = |at: u64| work.join(format!("growth-{at}.ndjson"));
    let dates = DATES.map(|dates| (dates, corpus::on_dates(&path(dates), records, dates))).into();
    let dates = curve("dates", dates, work, rounds);
    let bytes = dates[0].bytes / 4;
    let of_sessions = |sessions| corpus::of_sessions(&path(sessions), bytes, usize::try_from(sessions).unwrap());
    let sessions = SESSIONS.map(|sessions| (sessions, of_sessions(sessions))).into();
    let sessions = curve("sessions a meeting", sessions, work, rounds);
    let sizes = [records / 10, records, records * 10];
    let sizes = || sizes.into_iter().take(if large { 3 } else { 2 });
    let one_date = sizes().map(|records| (records, corpus::on_dates(&path(records), records, 1))).collect();
    let one_date = curve("records on one date", one_date, work, rounds);
    let records = sizes().map(|records| (records, corpus::plain(&path(records), records))).collect();
    let records = curve("records on 25 dates", records, work, rounds);
    Growth { records, one_date, dates, sessions, large }
}

/// Of one round.
fn median(runs: &[Run], figure: fn(&Run) -> f64) -> f64 {
    spread(runs.iter().map(figure)).median
}

impl Point {
    pub fn per_record(&self, figure: fn(&Run) -> f64) -> Spread {
        spread(self.runs.iter().map(|runs| median(runs, figure) * 1e3 / self.records as f64))
    }
    pub fn per_megabyte(&self, figure: fn(&Run) -> f64) -> Spread {
        spread(self.runs.iter().map(|runs| median(runs, figure) * 1e9 / self.bytes as f64))
    }
    pub fn peak(&self) -> f64 {
        spread(self.runs.iter().flatten().map(|run| run.peak / MIB)).most
    }
    /// How much more a record costs here than at `first`, in the same round.
    pub fn change_from(&self, first: &Point, figure: fn(&Run) -> f64) -> Spread {
        let of = |point: &Point, runs: &[Run]| median(runs, figure) / point.records as f64;
        spread(std::iter::zip(&self.runs, &first.runs).map(|(here, there)| of(self, here) / of(first, there) - 1.0))
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
        writeln!(
            out,
            "## How cost grows\n\n\
             The whole process on all cores, the rows of a table in alternation: medians of rounds (least–most).\n"
        )
        .unwrap();
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
                    point.runs.iter().flatten().count(),
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
