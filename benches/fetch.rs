//! How fast `callrec run` fetches: records from a simulator with latency, over
//! https, HTTP/2 and gzip, with the limits off; each process on a core of its own.
//!
//! `cargo bench --bench fetch` prints Markdown. `CALLREC_BENCH_RECORDS` sets the
//! number of records, `CALLREC_BENCH_LATENCY_MS` the latency of each answer.
#![allow(missing_docs, clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used, clippy::disallowed_methods)]
#![allow(clippy::disallowed_types, reason = "a bench reads summaries as it likes")]

#[path = "../tests/support/certificate.rs"]
#[allow(unreachable_pub, reason = "shared with the tests")]
mod certificate;
#[path = "support/process.rs"]
#[allow(unreachable_pub, dead_code, reason = "shared with other benches")]
mod process;

use certificate::Certificate;
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const ROUNDS: usize = 3;
const CLIENT_CORE: &str = "0";
const SERVER_CORE: &str = "1";

fn main() {
    let number = |name: &str, default| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default);
    let (records, latency) = (number("CALLREC_BENCH_RECORDS", 4000), number("CALLREC_BENCH_LATENCY_MS", 20));
    let pinned = Command::new("taskset").args(["-c", SERVER_CORE, "true"]).output().is_ok_and(|o| o.status.success());
    println!("\n## Fetching, the whole process on one core\n");
    println!(
        "`callrec run` against `callrec simulate`: {records} generated records, each answer after {latency} ms, limits off, 64 records"
    );
    println!("side by side, medians of {ROUNDS} runs after one that is not counted.");
    if pinned {
        println!("Client on core {CLIENT_CORE}, simulator on core {SERVER_CORE}.\n");
    } else {
        println!(
            "\n**NOT PINNED: there is no `taskset` or no second core. Client and simulator share all cores; the figures"
        );
        println!("are not those of one core.**\n");
        eprintln!("NOT PINNED: there is no taskset or no second core; these are not figures of one core");
    }
    println!(
        "| | HTTP/2, % of requests | gzip, % of answers | records/s, fetch | requests/s, fetch | client CPU s per 1,000 records, fetch | records/s, whole run | client CPU s per 1,000 records, whole run | simulator CPU s per 1,000 records |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|--:|--:|");
    for is_tls in [true, false] {
        let work = tempfile::tempdir().unwrap();
        let server = Server::start(work.path(), records, latency, is_tls, pinned);
        run(&server, work.path(), pinned);
        let before = process::cpu(server.process.id());
        let mut runs: Vec<Run> = (0..ROUNDS).map(|_| run(&server, work.path(), pinned)).collect();
        let served = (process::cpu(server.process.id()) - before) / ROUNDS as f64;
        let ended = server.end();
        let share = |name: &str| 100.0 * ended[name].as_f64().unwrap() / ended["requests"].as_f64().unwrap();
        let thousands = runs[0].records / 1000.0;
        let mut median = |of: &dyn Fn(&Run) -> f64| {
            runs.sort_by(|a, b| of(a).total_cmp(&of(b)));
            of(&runs[ROUNDS / 2])
        };
        println!(
            "| {} | {:.0} | {:.0} | {:.0} | {:.0} | {:.2} | {:.0} | {:.2} | {:.2} |",
            if is_tls { "https" } else { "http in clear text" },
            share("over_http2"),
            share("gzip"),
            median(&|r| r.records / r.fetch_seconds),
            median(&|r| r.requests / r.fetch_seconds),
            median(&|r| r.fetch_cpu / thousands),
            median(&|r| r.records / r.seconds),
            median(&|r| r.cpu / thousands),
            served / thousands,
        );
    }
}

struct Run {
    records: f64,
    requests: f64,
    seconds: f64,
    fetch_seconds: f64,
    cpu: f64,
    fetch_cpu: f64,
}

fn callrec(core: &str, pinned: bool) -> Command {
    let program = env!("CARGO_BIN_EXE_callrec");
    if !pinned {
        return Command::new(program);
    }
    let mut command = Command::new("taskset");
    command.args(["-c", core, program]);
    command
}

/// A whole run into an empty dataset.
fn run(server: &Server, work: &Path, pinned: bool) -> Run {
    let _ = fs::remove_dir_all(work.join("out"));
    let mut child = callrec(CLIENT_CORE, pinned)
        .args(["--log-format", "json", "--progress", "none", "--config", "callrec.toml", "run"])
        .current_dir(work)
        .env("SSL_CERT_FILE", &server.root)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let id = child.id();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut fetch_cpu = None;
    for line in lines.by_ref() {
        let line = line.unwrap();
        if line.contains("fetched a batch") {
            fetch_cpu = Some(process::cpu(id));
        } else if line.contains("\"WARN\"") || line.contains("\"ERROR\"") {
            eprintln!("{line}");
        }
    }
    // stderr is closed by the end of the process, whose figures stay until it is waited for.
    while !process::has_ended(id) {
        std::thread::sleep(Duration::from_millis(1));
    }
    let whole = process::cpu(id);
    let mut stdout = String::new();
    child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    let status = child.wait().unwrap();
    // 3: records with a misfit are no fault, but some may be refused.
    assert!(matches!(status.code(), Some(0 | 3)), "{status}: {stdout}");
    let summary: Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
    let figure = |name: &str| summary[name].as_f64().unwrap();
    assert!(figure("fetched") as u64 == server.records && figure("pending") as u64 == 0, "{summary}");
    Run {
        records: figure("fetched"),
        requests: figure("requests"),
        seconds: figure("duration_seconds"),
        fetch_seconds: figure("fetch_seconds"),
        cpu: whole,
        fetch_cpu: fetch_cpu.expect("a batch was fetched"),
    }
}

struct Server {
    process: Child,
    root: PathBuf,
    records: u64,
}

impl Server {
    fn start(work: &Path, records: u64, latency: u64, is_tls: bool, pinned: bool) -> Self {
        let Certificate { certificate, key, root } = Certificate::write(work);
        let mut command = callrec(SERVER_CORE, pinned);
        command.args(["--log-format", "json", "simulate", "--no-limits", "--keep-answers", "--log", "events.jsonl"]);
        command.args(["--generate", &records.to_string(), "--latency-ms", &latency.to_string()]);
        if is_tls {
            command.arg("--tls-cert").arg(certificate).arg("--tls-key").arg(key);
        }
        let mut process = command.current_dir(work).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut config = String::new();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        while !config.contains("[output]") {
            config += &(lines.next().expect("the simulator starts").unwrap() + "\n");
        }
        let free = "[graph]\nrequests_per_20s = 1000000\nmax_concurrency = 64";
        // One batch, so that fetching is over before anything is flattened.
        let config = format!("{}root = \"out\"\nbatch_records = {records}\n", config.replace("[graph]", free));
        fs::write(work.join("callrec.toml"), config).unwrap();
        Self { process, root, records }
    }

    /// What it says at its end.
    fn end(mut self) -> Value {
        Command::new("kill").arg(self.process.id().to_string()).status().unwrap();
        let mut log = String::new();
        self.process.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        self.process.wait().unwrap();
        let line = log.lines().find(|line| line.contains("the simulator ends")).expect("it counts");
        serde_json::from_str::<Value>(line).unwrap()["fields"].take()
    }
}
