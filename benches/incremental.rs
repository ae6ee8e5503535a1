//! What a run costs on a large dataset: the same 100 records on an empty root and
//! on one with a million calls over 31 days, in alternation.
//!
//! `cargo bench --bench incremental` prints the tables of docs/performance.md.
//! `CALLREC_BENCH_CALLS` sets the calls of the dataset, `CALLREC_BENCH_ROUNDS` the
//! rounds, and `CALLREC_BENCH_BASE` a directory in which the dataset is kept for
//! the next time. `CALLREC_BENCH_PROGRAM` names another callrec to compare with.
#![allow(missing_docs, clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used, clippy::disallowed_methods)]

#[path = "support/process.rs"]
#[allow(unreachable_pub, reason = "shared with other benches")]
mod process;

use callrec::clock::Clock;
use callrec::dataset::layout::Layout;
use callrec::dataset::prepare::{self, Batch};
use callrec::dataset::{Dataset, maintain};
use callrec::files::{self, PRIVATE};
use callrec::flatten;
use callrec::notifications::Notification;
use callrec::schema::Catalogue;
use callrec::simulator::generator::{self, Shape};
use callrec::simulator::{self, Settings};
use callrec::spool::{Keep, Spool, Stamp};
use callrec::worklist::Worklist;
use chrono::{DateTime, TimeDelta, Utc};
use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const SEED: u64 = 11;
const DAYS: u64 = 31;
/// Days that are merged into one part.
const SEALED: u64 = DAYS - 2;
/// The hour of the last day up to which runs were made: the one at which the last
/// eight hours were merged into one part, so that updates cost most.
const HOURS_TODAY: u64 = 16;
/// Records of a measured run.
const RECORDS: u64 = 100;

fn main() {
    if std::env::var_os("CALLREC_BENCH_SKIP_DATASET").is_none() {
        dataset();
    }
    many();
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Many large records at once, from a simulator in this process.
fn many() {
    let records = number("CALLREC_BENCH_RECORDS").unwrap_or(20_000);
    let latency_ms = number("CALLREC_BENCH_LATENCY_MS").unwrap_or(20);
    let batch = number("CALLREC_BENCH_BATCH").unwrap_or(2_000);
    let rounds = number("CALLREC_BENCH_ROUNDS").unwrap_or(3);
    let max_sessions = number("CALLREC_BENCH_SESSIONS").map_or(300, |n| n as usize);
    let settings =
        Settings { throttle: false, latency_ms, generate: Some(records), max_sessions, ..Settings::default() };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let simulator = runtime.block_on(simulator::start(settings.clone(), Clock::system())).unwrap();
    let ids = simulator.ids();
    let mut all = Vec::new();
    for round in 0..rounds {
        eprintln!("{records} records, round {} of {rounds}", round + 1);
        let place = tempfile::tempdir().unwrap();
        simulator::write_notification_log(
            &settings,
            ids.iter().map(String::as_str),
            &place.path().join("events.jsonl"),
        )
        .unwrap();
        let url = |url: &reqwest::Url| url.as_str().trim_end_matches('/').to_owned();
        let config = format!(
            "[source]\nnotifications = [\"events.jsonl\"]\nclient_state = \"{}\"\n\n[graph]\nendpoint = \"{}\"\n\
             requests_per_20s = 1000000\n\n[graph.auth]\nauthority = \"{}\"\ntenant_id = \"{}\"\nclient_id = \"{}\"\n\
             client_secret = \"{}\"\n\n[output]\nroot = \"out\"\nbatch_records = {batch}\n",
            settings.client_state,
            url(&simulator.endpoint()),
            url(&simulator.authority()),
            settings.tenant_id,
            settings.client_id,
            settings.client_secret,
        );
        files::write_atomically(&place.path().join("callrec.toml"), config.as_bytes(), PRIVATE).unwrap();
        let (measured, summary) = measure(place.path());
        eprintln!("{measured:?} {summary}");
        all.push(measured);
    }
    let of = Measured::median(&all);
    println!("\n## A run that fetches much\n");
    println!(
        "{records} records with up to {max_sessions} sessions, of 25 dates, in batches of {batch}, on an empty root; the simulator, on the same cores, answers after\n\
         {latency_ms} ms. Medians of {rounds} rounds.\n"
    );
    println!(
        "| wall s | CPU s of the run | peak MiB |\n|--:|--:|--:|\n| {:.1} | {:.1} | {:.0} |",
        of.wall, of.cpu, of.peak
    );
}

fn dataset() {
    let calls = number("CALLREC_BENCH_CALLS").unwrap_or(1_000_000);
    let rounds = number("CALLREC_BENCH_ROUNDS").unwrap_or(5);
    let temporary = tempfile::tempdir().unwrap();
    let home = std::env::var_os("CALLREC_BENCH_BASE").map_or_else(|| temporary.path().to_owned(), PathBuf::from);
    let world = World::new(calls);
    let base = home.join(format!("base-{calls}"));
    if !base.join("done").exists() {
        let _ = std::fs::remove_dir_all(&base);
        world.build(&base);
        std::fs::write(base.join("done"), "").unwrap();
    }
    let root = base.join("out");
    let (files, bytes) = (count(&root), size(&root));
    println!("\n## A run on a large dataset\n");
    println!(
        "{} calls over {DAYS} days, {SEALED} of them sealed, the last two as {} hourly runs left them: {files} files, {:.0} MB.\n\
         Calls of sealed dates have one session, the others up to 300.",
        world.calls(),
        24 + HOURS_TODAY,
        bytes as f64 / 1e6
    );
    println!(
        "A measured run collects, fetches and publishes {RECORDS} records from the simulator in its process, without latency;\n\
         medians of {rounds} rounds, in each of them the empty root first. Peak is VmHWM.\n"
    );
    println!(
        "| run | empty: wall s | CPU s | peak MiB | dataset: wall s | CPU s | peak MiB | wall ratio | wall difference s |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|"
    );
    let wanted = std::env::var("CALLREC_BENCH_ONLY").unwrap_or_default();
    for scenario in scenarios(&world) {
        if !scenario.name.contains(wanted.as_str()) {
            continue;
        }
        let (mut empty, mut full) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            eprintln!("{}, round {} of {rounds}", scenario.name, round + 1);
            empty.push(world.run(&home, None, &scenario));
            full.push(world.run(&home, Some(&root), &scenario));
        }
        let (empty, full) = (Measured::median(&empty), Measured::median(&full));
        println!(
            "| {} | {:.2} | {:.2} | {:.0} | {:.2} | {:.2} | {:.0} | {:.2} | {:.2} |",
            scenario.name,
            empty.wall,
            empty.cpu,
            empty.peak,
            full.wall,
            full.cpu,
            full.peak,
            full.wall / empty.wall,
            full.wall - empty.wall
        );
    }
}

/// What a run is given.
struct Scenario {
    name: &'static str,
    records: Vec<(String, String)>,
    updates: bool,
    /// Hours after the world's now.
    later: i64,
}

fn scenarios(world: &World) -> Vec<Scenario> {
    let updated = |calls: Vec<u64>| calls.into_iter().map(|n| world.record(n, 1)).collect();
    let today = (DAYS - 1) * world.per_day;
    let hour = world.per_day / 24;
    let recent = 3 * hour;
    let step = |n: u64, of: u64| n * of.max(RECORDS) / RECORDS;
    let last = today + HOURS_TODAY * hour;
    vec![
        Scenario {
            name: "100 new calls",
            records: (0..RECORDS).map(|n| world.record(last + step(n, hour), 0)).collect(),
            updates: false,
            later: 0,
        },
        Scenario {
            name: "100 new calls, and the last date but one is sealed",
            records: (0..RECORDS).map(|n| world.record(last + step(n, hour), 0)).collect(),
            updates: false,
            later: 24 - HOURS_TODAY as i64,
        },
        Scenario {
            name: "100 updates of the last three hours",
            records: updated((0..RECORDS).map(|n| last - recent + step(n, recent)).collect()),
            updates: true,
            later: 0,
        },
        Scenario {
            name: "100 updates of one sealed date",
            records: updated((0..RECORDS).map(|n| 20 * world.per_day + step(n, world.per_day)).collect()),
            updates: true,
            later: 0,
        },
        Scenario {
            name: "100 updates of all sealed dates",
            // Graph has forgotten the first date by now.
            records: updated(
                (0..RECORDS).map(|n| world.per_day * (1 + n % (SEALED - 1)) + step(n, world.per_day)).collect(),
            ),
            updates: true,
            later: 0,
        },
    ]
}

struct World {
    per_day: u64,
    now: DateTime<Utc>,
    first: DateTime<Utc>,
    settings: Settings,
}

impl World {
    fn new(calls: u64) -> Self {
        let midnight: DateTime<Utc> = "2026-11-20T00:00:00Z".parse().unwrap();
        let now = midnight + TimeDelta::hours(HOURS_TODAY as i64);
        let first = midnight - TimeDelta::days(DAYS as i64 - 1);
        let per_day = (calls * 24 / ((DAYS - 1) * 24 + HOURS_TODAY)).div_ceil(24) * 24;
        Self { per_day: per_day.max(2400), now, first, settings: Settings::default() }
    }

    fn calls(&self) -> u64 {
        (DAYS - 1) * self.per_day + HOURS_TODAY * self.per_day / 24
    }

    /// Call `n`: its id and its record, `later` versions after the first.
    fn record(&self, n: u64, later: i64) -> (String, String) {
        // Full meetings for a million calls would be 53 GB of JSON.
        let max_sessions = if n < SEALED * self.per_day { 1 } else { 300 };
        let shape = Shape { max_sessions, misfits: false };
        let made = generator::record(SEED, n, self.now, shape);
        let begin = self.first + TimeDelta::microseconds((n * 86_400_000_000 / self.per_day) as i64);
        // The last hours of the world are in the future of its now.
        let start = begin.min(self.now - TimeDelta::minutes(1) - TimeDelta::milliseconds((n % 60_000) as i64));
        let end = start + TimeDelta::seconds(50);
        let text = |at: DateTime<Utc>| at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
        let json = replaced(&made.json, "\"startDateTime\":\"", '"', &text(start));
        let json = replaced(&json, "\"endDateTime\":\"", '"', &text(end));
        let json = replaced(&json, "\"version\":", ',', &(made.version + later).to_string());
        (made.id, json)
    }

    fn build(&self, base: &Path) {
        let layout = Layout::new(base.join("out"), PRIVATE);
        let mut dataset = Dataset::open(layout, Catalogue::embedded()).unwrap();
        for day in 0..DAYS {
            let begun = Instant::now();
            let first = day * self.per_day;
            let midnight = self.first + TimeDelta::days(day as i64);
            if day < SEALED {
                self.commit(&mut dataset, first..first + self.per_day, midnight + TimeDelta::hours(24));
            } else {
                let hours = if day + 1 == DAYS { HOURS_TODAY } else { 24 };
                let hourly = self.per_day / 24;
                for hour in 0..hours {
                    let at = midnight + TimeDelta::hours(hour as i64 + 1) - TimeDelta::seconds(1);
                    self.commit(&mut dataset, first + hour * hourly..first + (hour + 1) * hourly, at);
                    let policy = maintain::Policy::Scheduled { today: at.date_naive(), like: 8 };
                    maintain::merge(&mut dataset, policy, "bench", at).unwrap();
                }
            }
            eprintln!("day {} of {DAYS}: {:.1} s", day + 1, begun.elapsed().as_secs_f64());
        }
    }

    fn commit(&self, dataset: &mut Dataset, calls: std::ops::Range<u64>, at: DateTime<Utc>) {
        let at = at.min(self.now - TimeDelta::seconds(1));
        let mut list = Worklist::default();
        let mut spool = Spool::begin(&dataset.layout.spools(), dataset.next_number(), &[]).unwrap();
        let tenant = Some(self.settings.tenant_id);
        let cores = std::thread::available_parallelism().unwrap().get() as u64;
        let (begin, share) = (calls.start, (calls.end - calls.start).div_ceil(cores));
        let made: Vec<Vec<(String, String)>> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..cores)
                .map(|core| {
                    let mine = begin + core * share..(begin + (core + 1) * share).min(calls.end);
                    scope.spawn(move || mine.map(|n| self.record(n, 0)).collect())
                })
                .collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).collect()
        });
        for (id, json) in made.into_iter().flatten() {
            let call_id = id.parse().unwrap();
            let subscription_expires_at = Some(self.now + TimeDelta::days(1));
            list.notified(&Notification { call_id, tenant_id: tenant, subscription_expires_at }, at);
            let version = flatten::head(json.as_bytes()).unwrap().version;
            spool.append(Stamp { call_id, version, fetched_at: at }, json.as_bytes()).unwrap();
        }
        let records = spool.frames().len() as u64;
        let batch = Batch {
            spool: &spool,
            worklist: &mut list,
            stay_pending: &HashSet::new(),
            closed: Vec::new(),
            items: Vec::new(),
            cursors: Vec::new(),
            run_id: "bench",
            now: at,
            tenant_id: tenant.map(|id| id.to_string()),
            threads: cores as usize,
        };
        let commit = prepare::commit(dataset, batch).unwrap();
        assert_eq!((commit.counts.exported_new, commit.counts.quarantined), (records, 0));
    }

    /// One run on a copy of `root`, or on an empty one.
    fn run(&self, home: &Path, root: Option<&Path>, scenario: &Scenario) -> Measured {
        let place = tempfile::tempdir_in(home).unwrap();
        if let Some(root) = root {
            link(root, &place.path().join("out"));
        }
        let mut lines = String::new();
        let mut log = String::new();
        for (id, json) in &scenario.records {
            writeln!(lines, "{json}").unwrap();
            writeln!(
                log,
                "{{\"value\":[{{\"clientState\":\"{}\",\"changeType\":\"updated\",\"subscriptionExpirationDateTime\":\"2026-11-22T00:00:00Z\",\
                 \"resource\":\"communications/callRecords/{id}\",\"tenantId\":\"{}\"}}]}}",
                self.settings.client_state, self.settings.tenant_id
            )
            .unwrap();
        }
        let put = |name: &str, text: &str| {
            files::write_atomically(&place.path().join(name), text.as_bytes(), PRIVATE).unwrap()
        };
        std::fs::create_dir(place.path().join("records")).unwrap();
        put("records/records.ndjson", &lines);
        put("events.jsonl", &log);
        put(
            "callrec.toml",
            &format!(
                "[source]\nnotifications = [\"events.jsonl\"]\nclient_state = \"{}\"\n\n[graph]\nendpoint = \"simulator\"\n\
                 requests_per_20s = 1000000\n\n[output]\nroot = \"out\"\n\n\
                 [simulator]\nrecords = \"records\"\nnow = \"{}\"\nthrottle = false\n",
                self.settings.client_state,
                (self.now + TimeDelta::hours(scenario.later)).to_rfc3339()
            ),
        );
        // What the copy wrote is not the run's to sync.
        assert!(Command::new("sync").arg("-f").arg(place.path()).status().unwrap().success());
        let (measured, summary) = measure(place.path());
        let key = if scenario.updates && root.is_some() { "exported_updated" } else { "exported_new" };
        let expected = format!("\"{key}\":{}", scenario.records.len());
        assert!(summary.contains(&expected), "{expected} in {summary}");
        if std::env::var_os("CALLREC_BENCH_KEEP_PLACES").is_some() {
            eprintln!("kept {}", place.keep().display());
        }
        measured
    }
}

/// `text` with what stands between the first `before` and `end` replaced.
fn replaced(text: &str, before: &str, end: char, with: &str) -> String {
    let at = text.find(before).unwrap() + before.len();
    let length = text[at..].find(end).unwrap();
    format!("{}{with}{}", &text[..at], &text[at + length..])
}

/// A copy that shares the files, which are never written in place; but the lock.
fn link(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            link(&path, &target);
        } else if path.file_name().is_some_and(|name| name != "lock") {
            std::fs::hard_link(&path, &target).unwrap();
        }
    }
}

fn all(directory: &Path) -> Vec<PathBuf> {
    let paths = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { all(&path) } else { vec![path] }).collect()
}

fn count(directory: &Path) -> usize {
    all(directory).len()
}

fn size(directory: &Path) -> u64 {
    all(directory).iter().map(|path| std::fs::metadata(path).unwrap().len()).sum()
}

#[derive(Clone, Copy, Debug, Default)]
struct Measured {
    wall: f64,
    cpu: f64,
    /// In MiB.
    peak: f64,
}

impl Measured {
    fn median(all: &[Self]) -> Self {
        let of = |value: fn(&Self) -> f64| {
            let mut values: Vec<f64> = all.iter().map(value).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        Self { wall: of(|m| m.wall), cpu: of(|m| m.cpu), peak: of(|m| m.peak) }
    }
}

/// Runs the job and watches it; its last line of stdout beside the figures.
fn measure(place: &Path) -> (Measured, String) {
    let summary = place.join("summary");
    let program = std::env::var_os("CALLREC_BENCH_PROGRAM").unwrap_or_else(|| env!("CARGO_BIN_EXE_callrec").into());
    let mut command = Command::new(program);
    command.args(["--config", "callrec.toml", "run", "-q"]).current_dir(place);
    command.stdout(Stdio::from(std::fs::File::create(&summary).unwrap()));
    let begun = Instant::now();
    let mut child = command.spawn().unwrap();
    let mut measured = Measured::default();
    while !process::has_ended(child.id()) {
        measured.peak = process::peak_kib(child.id()).map_or(measured.peak, |kib| kib as f64 / 1024.0);
        std::thread::sleep(Duration::from_millis(2));
    }
    measured.wall = begun.elapsed().as_secs_f64();
    measured.cpu = process::cpu(child.id());
    let status = child.wait().unwrap();
    // 3: generated records with misfits may be refused.
    assert!(matches!(status.code(), Some(0 | 3)), "{status}");
    (measured, std::fs::read_to_string(summary).unwrap())
}
