//! What no program can go below: parsing and skipping the bytes, and encoding
//! the same batches with the same settings.

use crate::corpus::Corpus;
use crate::engine;
use crate::process::{self, Run, Spread, spread};
use rustix::time::{ClockId, clock_gettime};
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::fmt::Write;
use std::io::{BufRead, BufReader};
use std::path::Path;

/// JSON bytes that are in memory while they are parsed.
const PIECE: usize = 64 << 20;

pub struct Floor {
    pub skip_sonic: Spread,
    pub skip_serde: Spread,
    pub encode: Spread,
    /// CPU of the whole program on one and on two threads, over the floor of the same round.
    pub over: [Spread; 2],
    pub wall: [Spread; 2],
    pub cpu: [Spread; 2],
    pub speed_up: Spread,
    /// CPU of the program that cargo builds by itself, on one thread.
    pub plain: Option<Spread>,
}

/// CPU time of this process so far, in seconds.
pub fn cpu() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Whole lines of the file, a piece at a time.
fn pieces(path: &Path, mut each: impl FnMut(&[&[u8]])) {
    let mut reader = BufReader::with_capacity(1 << 20, std::fs::File::open(path).unwrap());
    let mut piece = Vec::new();
    loop {
        piece.clear();
        while piece.len() < PIECE && reader.read_until(b'\n', &mut piece).unwrap() > 0 {}
        if piece.is_empty() {
            return;
        }
        each(&piece.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect::<Vec<_>>());
    }
}

pub fn skip_sonic(line: &[u8]) -> bool {
    let mut parser = sonic_rs::Deserializer::from_slice(line);
    IgnoredAny::deserialize(&mut parser).is_ok()
}

pub fn skip_serde(line: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(line).is_ok()
}

fn skip(path: &Path, parse: fn(&[u8]) -> bool) -> f64 {
    let mut taken = 0.0;
    pieces(path, |lines| {
        let begun = cpu();
        assert!(lines.iter().all(|line| std::hint::black_box(parse(line))));
        taken += cpu() - begun;
    });
    taken
}

/// The files are in memory: what is measured is no disk.
fn encode(path: &Path) -> f64 {
    let memory = Path::new("/dev/shm");
    let output = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
    let mut taken = 0.0;
    engine::encode(path, &output.path().join("dates"), |write| {
        let begun = cpu();
        write();
        taken += cpu() - begun;
    });
    taken
}

pub fn measure(corpus: &Corpus, work: &Path, rounds: usize) -> Floor {
    let mut found: Vec<([f64; 3], [Run; 2])> = Vec::new();
    let mut plain = Vec::new();
    for round in 1..=rounds {
        eprintln!("floor, round {round} of {rounds}");
        let floor = [skip(&corpus.path, skip_sonic), skip(&corpus.path, skip_serde), encode(&corpus.path)];
        let runs = [1, 2].map(|threads| {
            let output = work.join("floor");
            let run = process::flatten(&corpus.path, &output, threads);
            std::fs::remove_dir_all(&output).unwrap();
            run
        });
        if let Some(program) = std::env::var_os("CALLREC_BENCH_PLAIN") {
            let output = work.join("plain");
            plain.push(process::flatten_by(&program, &corpus.path, &output, 1).cpu);
            std::fs::remove_dir_all(&output).unwrap();
        }
        found.push((floor, runs));
    }
    let of = |number: usize| spread(found.iter().map(|(floor, _)| floor[number]));
    let over = |at: usize| spread(found.iter().map(|(floor, runs)| runs[at].cpu / (floor[0] + floor[2])));
    Floor {
        skip_sonic: of(0),
        skip_serde: of(1),
        encode: of(2),
        over: [over(0), over(1)],
        wall: [0, 1].map(|at| spread(found.iter().map(|(_, runs)| runs[at].wall))),
        cpu: [0, 1].map(|at| spread(found.iter().map(|(_, runs)| runs[at].cpu))),
        speed_up: spread(found.iter().map(|(_, runs)| runs[0].wall / runs[1].wall)),
        plain: (!plain.is_empty()).then(|| spread(plain.into_iter())),
    }
}

impl Floor {
    pub fn report(&self, out: &mut String, corpus: &Corpus, rounds: usize) {
        let rate = |seconds: f64| corpus.bytes as f64 / 1e6 / seconds;
        let floor = self.skip_sonic.median + self.encode.median;
        writeln!(
            out,
            "## Against the floor\n\n\
             No program can do less than read the JSON and encode the columns. The floor is both, in one process and on\n\
             one thread: every line parsed and skipped (sonic-rs, `IgnoredAny`), and the same batches that `flatten`\n\
             makes, all of a date in memory, encoded by the same writer with the same settings into files in memory.\n\
             The whole program also reads the file twice, builds the columns, sorts, and writes to the disk with fsync.\n\
             {rounds} rounds, in alternation, medians (least–most); the ratio is that of each round.\n\n\
             | step | CPU s | MB of JSON per CPU s | x the floor |\n|---|--:|--:|--:|"
        )
        .unwrap();
        let mut row = |name: &str, of: &Spread, ratio: String| {
            writeln!(out, "| {name} | {} | {:.0} | {ratio} |", of.text(2), rate(of.median)).unwrap();
        };
        row("parse and skip, sonic-rs", &self.skip_sonic, format!("{:.2}", self.skip_sonic.median / floor));
        row("encode the same batches", &self.encode, format!("{:.2}", self.encode.median / floor));
        row(
            "for comparison: parse and skip, serde_json",
            &self.skip_serde,
            format!("{:.2}", self.skip_serde.median / floor),
        );
        for (at, over) in self.over.iter().enumerate() {
            row(&format!("`callrec flatten --threads {}`", at + 1), &self.cpu[at], over.text(2));
        }
        if let Some(plain) = &self.plain {
            row("for comparison: `--threads 1`, built by `cargo build --release`", plain, String::new());
        }
        writeln!(
            out,
            "\nWall time: {} s on one thread, {} s on two: {} times as fast.\n",
            self.wall[0].text(2),
            self.wall[1].text(2),
            self.speed_up.text(2)
        )
        .unwrap();
    }
}
