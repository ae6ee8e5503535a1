//! The figures of docs/performance.md: ratios to a parse-and-skip pass of the
//! same bytes, and the peak memory of `callrec flatten`.
//!
//! `make bench` writes the file. `CALLREC_BENCH_MB` sets the size of the input.
#![allow(missing_docs, clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used, clippy::disallowed_methods)]

use callrec::dataset::tables::Tables;
use callrec::flatten::{Flattener, Mode};
use callrec::schema::Catalogue;
use callrec::simulator::generator::{self, Shape};
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const SEED: u64 = 7;
const ROUNDS: usize = 5;
/// Records of the passes in memory.
const IN_MEMORY_MB: usize = 100;
const MIB: f64 = 1024.0 * 1024.0;

fn main() {
    let megabytes: usize = std::env::var("CALLREC_BENCH_MB").ok().and_then(|mb| mb.parse().ok()).unwrap_or(2000);
    let work = tempfile::tempdir().unwrap();
    let input = work.path().join("records.ndjson");
    eprintln!("generating {megabytes} MB of records");
    let records = generate(&input, megabytes * 1_000_000);
    let bytes = std::fs::metadata(&input).unwrap().len();
    let lines = head(&input, IN_MEMORY_MB * 1_000_000);
    let in_memory: usize = lines.iter().map(Vec::len).sum();

    println!("# Performance\n");
    println!(
        "Made by `make bench`; do not edit. Wall times of one machine say little: trust the ratios, which compare passes"
    );
    println!("over the same bytes in the same process, in alternation, medians of {ROUNDS} rounds.\n");
    println!(
        "Input: {records} generated records (seed {SEED}), {:.0} MB of JSON; the passes in memory take the first {} of them, {:.0} MB.",
        mega(bytes),
        lines.len(),
        mega(in_memory as u64)
    );
    println!("Machine: {} cores, {}.\n", std::thread::available_parallelism().unwrap(), machine());
    passes(&lines, in_memory);
    whole(&input, work.path(), bytes);
}

fn mega(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn generate(path: &Path, bytes: usize) -> u64 {
    let now = "2026-11-20T00:00:00Z".parse().unwrap();
    let shape = Shape { misfits: true, ..Shape::default() };
    let mut file = std::io::BufWriter::with_capacity(1 << 20, std::fs::File::create(path).unwrap());
    let (mut written, mut index) = (0, 0);
    while written < bytes {
        let record = generator::record(SEED, index, now, shape);
        file.write_all(record.json.as_bytes()).unwrap();
        file.write_all(b"\n").unwrap();
        written += record.json.len() + 1;
        index += 1;
    }
    file.flush().unwrap();
    index
}

fn head(path: &Path, bytes: usize) -> Vec<Vec<u8>> {
    let mut lines = Vec::new();
    let mut read = 0;
    for line in BufReader::new(std::fs::File::open(path).unwrap()).split(b'\n') {
        let line = line.unwrap();
        read += line.len();
        lines.push(line);
        if read >= bytes {
            break;
        }
    }
    lines
}

fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    cpu.lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':').map(|(_, name)| name.trim().to_owned()))
        .unwrap_or_else(|| "unknown processor".to_owned())
}

/// Passes over records in memory, one thread.
fn passes(lines: &[Vec<u8>], bytes: usize) {
    let tables = Tables::new(Catalogue::embedded()).unwrap();
    let flatten = |mode: Mode| {
        let mut flattener = Flattener::with_mode(tables.plan.clone(), mode);
        let mut rows = 0;
        for line in lines {
            flattener.push(line).unwrap();
            if flattener.buffered_bytes() > 8 << 20 {
                rows += flattener.flush().unwrap().iter().map(arrow::array::RecordBatch::num_rows).sum::<usize>();
            }
        }
        rows + flattener.flush().unwrap().iter().map(arrow::array::RecordBatch::num_rows).sum::<usize>()
    };
    type Pass<'a> = (&'static str, Box<dyn Fn() -> usize + 'a>);
    let all: [Pass<'_>; 5] = [
        ("parse and skip, sonic-rs", Box::new(|| lines.iter().map(|line| skip_sonic(line)).sum())),
        ("parse and skip, serde_json", Box::new(|| lines.iter().map(|line| skip_serde(line)).sum())),
        ("flatten", Box::new(|| flatten(Mode::Fast))),
        ("flatten, careful mode for every record", Box::new(|| flatten(Mode::CarefulOnly))),
        ("tree of serde_json values, then dropped", Box::new(|| lines.iter().map(|line| tree(line)).sum())),
    ];
    let mut times: Vec<Vec<Duration>> = vec![Vec::new(); all.len()];
    for round in 0..ROUNDS {
        eprintln!("passes in memory, round {} of {ROUNDS}", round + 1);
        for (number, (_, pass)) in all.iter().enumerate() {
            let begun = Instant::now();
            std::hint::black_box(pass());
            times[number].push(begun.elapsed());
        }
    }
    let medians: Vec<f64> = times.iter_mut().map(|of| median(of)).collect();
    println!("## Flattening in memory, one thread\n");
    println!("| pass | MB/s | x parse and skip of sonic-rs | x parse and skip of serde_json |\n|---|--:|--:|--:|");
    for ((name, _), seconds) in all.iter().zip(&medians) {
        println!(
            "| {name} | {:.0} | {:.2} | {:.2} |",
            bytes as f64 / 1e6 / seconds,
            seconds / medians[0],
            seconds / medians[1]
        );
    }
    println!();
}

fn median(times: &mut [Duration]) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64()
}

fn skip_sonic(line: &[u8]) -> usize {
    let mut parser = sonic_rs::Deserializer::from_slice(line);
    IgnoredAny::deserialize(&mut parser).map_or(0, |_| 1)
}

fn skip_serde(line: &[u8]) -> usize {
    serde_json::from_slice::<IgnoredAny>(line).map_or(0, |_| 1)
}

#[expect(clippy::disallowed_types, reason = "what the job never does, as a comparison")]
fn tree(line: &[u8]) -> usize {
    serde_json::from_slice::<serde_json::Value>(line).map_or(0, |_| 1)
}

/// The whole program on the whole input.
fn whole(input: &Path, work: &Path, bytes: u64) {
    println!("## `callrec flatten`, the whole process\n");
    println!(
        "| what | wall s | CPU s | MB/s | x parse and skip, wall | peak MiB | output MB |\n|---|--:|--:|--:|--:|--:|--:|"
    );
    eprintln!("parse and skip of the whole file");
    let floor = skip_file(input);
    println!("| read, parse and skip (sonic-rs), one thread | {floor:.1} | | {:.0} | 1.00 | | |", mega(bytes) / floor);
    for threads in [1, 2] {
        eprintln!("callrec flatten on {threads} threads");
        let output = work.join(format!("out-{threads}"));
        let measured = run(input, &output, threads);
        println!(
            "| flatten --threads {threads} | {:.1} | {:.1} | {:.0} | {:.2} | {:.0} | {:.1} |",
            measured.wall,
            measured.cpu,
            mega(bytes) / measured.wall,
            measured.wall / floor,
            measured.peak_bytes / MIB,
            mega(size(&output))
        );
    }
    println!("\nPeak is the largest resident set of the process (VmHWM).");
}

fn skip_file(path: &Path) -> f64 {
    let begun = Instant::now();
    let mut reader = BufReader::with_capacity(1 << 20, std::fs::File::open(path).unwrap());
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).unwrap() > 0 {
        std::hint::black_box(skip_sonic(&line));
        line.clear();
    }
    begun.elapsed().as_secs_f64()
}

struct Measured {
    wall: f64,
    cpu: f64,
    peak_bytes: f64,
}

/// Runs the binary and watches it; Linux keeps the figures until it is waited for.
fn run(input: &Path, output: &Path, threads: usize) -> Measured {
    let begun = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_callrec"))
        .arg("flatten")
        .arg(input)
        .args(["--output".as_ref(), output.as_os_str()])
        .args(["--threads", &threads.to_string(), "-q"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let process = format!("/proc/{}", child.id());
    let (mut peak, mut ticks) = (0.0_f64, 0.0_f64);
    let status = loop {
        let text = std::fs::read_to_string(format!("{process}/status")).unwrap_or_default();
        let kib = text.lines().find_map(|l| l.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<f64>().ok());
        peak = peak.max(kib.unwrap_or(0.0) * 1024.0);
        let stat = std::fs::read_to_string(format!("{process}/stat")).unwrap_or_default();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        if let (Some(user), Some(system)) = (fields.get(11), fields.get(12)) {
            ticks = ticks.max(user.parse::<f64>().unwrap_or(0.0) + system.parse::<f64>().unwrap_or(0.0));
        }
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    // 3: records with a misfit are no fault, but some may be refused.
    assert!(matches!(status.code(), Some(0 | 3)), "{status}");
    Measured { wall: begun.elapsed().as_secs_f64(), cpu: ticks / 100.0, peak_bytes: peak }
}

fn size(directory: &Path) -> u64 {
    std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| if path.is_dir() { size(&path) } else { std::fs::metadata(&path).unwrap().len() })
        .sum()
}
