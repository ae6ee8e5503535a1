//! SIGKILL at random moments, also while an earlier kill is recovered from.
//!
//! Each seed has a place of its own. Between kills calls appear, are updated,
//! move to another date and are notified; every few kills a run is left alone
//! and the tables are compared with what Graph has.

use crate::support::{Graph, Place, call_id, days_ago, record, rows};
use crate::{number, side_by_side};
use chrono::{DateTime, TimeDelta, Utc};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// A run is left alone and compared after so many kills.
const COMPARE_EVERY: u64 = 20;
const COMMANDS: [&[&str]; 6] = [&["run"], &["run"], &["run"], &["compact"], &["rebuild"], &["quarantine", "retry"]];

#[derive(Default)]
struct Figures {
    kills: u64,
    in_recovery: u64,
    comparisons: u64,
    calls: u64,
    lost: u64,
    doubled: u64,
    stale: u64,
    torn: u64,
    wedged: u64,
}

impl Figures {
    fn faults(&self) -> u64 {
        self.lost + self.doubled + self.stale + self.torn + self.wedged
    }

    fn add(&mut self, other: &Self) {
        self.kills += other.kills;
        self.in_recovery += other.in_recovery;
        self.comparisons += other.comparisons;
        self.calls += other.calls;
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.stale += other.stale;
        self.torn += other.torn;
        self.wedged += other.wedged;
    }
}

/// Prints the figures; the number of faults.
pub fn report() -> u64 {
    let seeds = number("CALLREC_TORTURE_SEEDS", 20);
    let kills = number("CALLREC_TORTURE_KILLS", 500);
    let begun = Instant::now();
    let figures = side_by_side(&(0..seeds).collect::<Vec<_>>(), |&seed| {
        let figures = torture(seed, kills);
        eprintln!("kills: seed {seed}: {} kills, {} faults", figures.kills, figures.faults());
        figures
    });
    let mut all = Figures::default();
    for figures in &figures {
        all.add(figures);
    }
    println!("## Kills at random moments\n");
    println!(
        "SIGKILL to the release binary (`run`, `compact`, `rebuild`, `quarantine retry`) at random moments, {seeds} seeds:\n"
    );
    println!(
        "| kills | of them while an earlier kill was being recovered from | comparisons | calls | lost | doubled | stale | torn | wedged |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    println!(
        "| {} | {} | {} | {} | {} | {} | {} | {} | {} |\n",
        all.kills, all.in_recovery, all.comparisons, all.calls, all.lost, all.doubled, all.stale, all.torn, all.wedged
    );
    println!("{:.0} s.\n", begun.elapsed().as_secs_f64());
    all.faults()
}

struct World {
    graph: Graph,
    place: Place,
    rng: ChaCha8Rng,
    /// What Graph has: version, start and sessions.
    calls: BTreeMap<String, (i64, DateTime<Utc>, usize)>,
}

impl World {
    fn step(&mut self) {
        let mut notified = Vec::new();
        for _ in 0..self.rng.random_range(0..3) {
            let n = self.rng.random_range(0..60 + u32::try_from(self.calls.len()).unwrap() / 4);
            let id = call_id(n);
            let start = days_ago(self.rng.random_range(1..4)) + TimeDelta::hours(self.rng.random_range(-11..11));
            let sessions = self.rng.random_range(1..4);
            let entry = self.calls.entry(id.clone()).or_insert((0, start, sessions));
            entry.0 += 1;
            entry.2 = sessions;
            if self.rng.random_bool(0.3) {
                entry.1 = start;
            }
            self.graph.put(&record(&id, entry.0, entry.1, entry.2));
            notified.push(id);
        }
        if self.rng.random_bool(0.05) {
            // A call that Graph never has, and a forged notification.
            notified.push(call_id(9_000_000 + self.rng.random_range(0..50)));
            self.place.append(&format!("{}\n", crate::support::notification(&call_id(1), "forged")));
        }
        if !notified.is_empty() {
            self.place.notify(notified.iter().map(String::as_str));
        }
    }
}

fn torture(seed: u64, kills: u64) -> Figures {
    let graph = Graph::empty();
    let place = Place::new(&graph.endpoint(), "batch_records = 2\n");
    place.callrec(&["run"]).expect(0);
    let mut world = World { graph, place, rng: ChaCha8Rng::seed_from_u64(seed), calls: BTreeMap::new() };
    let mut figures = Figures::default();
    let mut usual = Duration::from_millis(60);
    let mut dirty = false;
    while figures.kills < kills {
        world.step();
        let command = COMMANDS[world.rng.random_range(0..COMMANDS.len())];
        let delay = usual.mul_f64(world.rng.random_range(0.0..1.2));
        let begun = Instant::now();
        let mut child = world.place.command(command).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(delay);
        child.kill().unwrap();
        let status = child.wait().unwrap();
        if status.signal() == Some(9) {
            figures.kills += 1;
            figures.in_recovery += u64::from(dirty);
            dirty = true;
            if figures.kills % COMPARE_EVERY == 0 {
                compare(&world, &mut figures, seed);
                dirty = false;
            }
        } else {
            usual = (usual * 7 + begun.elapsed()) / 8;
            dirty = false;
            if !matches!(status.code(), Some(0 | 3 | 75)) {
                eprintln!("kills: seed {seed}: {command:?} ended with {status}");
                figures.wedged += 1;
            }
        }
    }
    compare(&world, &mut figures, seed);
    figures.calls = world.calls.len() as u64;
    figures
}

fn compare(world: &World, figures: &mut Figures, seed: u64) {
    figures.comparisons += 1;
    let place = &world.place;
    let run = place.callrec(&["run"]);
    if !matches!(run.code, 0 | 3) {
        eprintln!("kills: seed {seed}: run after {} kills ended with {}: {}", figures.kills, run.code, run.stderr);
        figures.wedged += 1;
        return;
    }
    let verified = place.callrec(&["verify", "--format", "json"]);
    let verified: Value = serde_json::from_str(verified.stdout.trim()).unwrap_or_else(|_| json!({"fault_count": 1}));
    if verified["fault_count"] != json!(0) {
        eprintln!("kills: seed {seed}: {verified}");
        figures.torn += verified["fault_count"].as_u64().unwrap_or(1);
    }
    let mut stored: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for mut row in rows(&place.root(), "calls", &["call_id", "version"]) {
        stored.entry(row.remove(0)).or_default().push(row.remove(0));
    }
    let mut sessions: BTreeMap<String, usize> = BTreeMap::new();
    for mut row in rows(&place.root(), "sessions", &["call_id"]) {
        *sessions.entry(row.remove(0)).or_default() += 1;
    }
    for (id, (version, _, expected)) in &world.calls {
        match stored.remove(id).as_deref() {
            None => figures.lost += 1,
            Some([only]) => {
                figures.stale += u64::from(*only != version.to_string());
                figures.torn += u64::from(sessions.get(id) != Some(expected));
            }
            Some(_) => figures.doubled += 1,
        }
    }
    // What Graph never had cannot be there.
    figures.doubled += stored.len() as u64;
}
