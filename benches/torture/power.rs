//! Power loss between any two steps of a run, of a recovery and of a merge; and
//! the same with one sync left out, or two stages of the protocol swapped.
//!
//! Every step is as strace saw it. What a power loss leaves is computed: all
//! that was synced, and of the rest nothing, the names only, or any part by
//! chance. A real run then recovers from it.

use crate::model;
use crate::scenario::{Scenario, Tree};
use crate::side_by_side;
use crate::support::sha256;
use crate::trace::{Disk, Step, Survives, record};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Instant;

/// Random mixtures at every step.
const MIXTURES: u64 = 1;
/// Syncs of one class that are left out, one after the other.
const SITES: usize = 2;

/// A recorded command: what was there, what it did.
struct Recorded {
    name: &'static str,
    before: Tree,
    steps: Vec<Step>,
}

struct Worker {
    scenario: Scenario,
    recorded: Vec<Recorded>,
    /// States from which a run recovered.
    good: BTreeSet<String>,
    states: u64,
}

/// Prints the figures; the number of faults.
pub fn report() -> u64 {
    let begun = Instant::now();
    let halves = [0, 1];
    // Each half records a run of its own: paths and instants are its own.
    let workers: Vec<Mutex<Worker>> = side_by_side(&halves, |_| Mutex::new(Worker::begin()));
    let lengths: Vec<(&str, usize, usize)> = {
        let worker = workers[0].lock().unwrap();
        let syncs = |r: &Recorded| r.steps.iter().filter(|s| matches!(s, Step::Sync(_))).count();
        worker.recorded.iter().map(|r| (r.name, r.steps.len(), syncs(r))).collect()
    };
    let faults: u64 = side_by_side(&halves, |&half| workers[half].lock().unwrap().losses(half)).iter().sum();
    let states: u64 = workers.iter().map(|w| w.lock().unwrap().states).sum();
    println!("## Power loss\n");
    println!("| recorded | steps that change the disk | of them syncs |\n|---|---|---|");
    for (name, steps, syncs) in &lengths {
        println!("| {name} | {steps} | {syncs} |");
    }
    println!(
        "\nA power loss after every step: {states} different states, {faults} from which a run did not recover.\n"
    );
    println!("{:.0} s.\n", begun.elapsed().as_secs_f64());
    faults
}

/// Prints what one sync less, or two stages in another order, would break.
pub fn mutations() {
    let begun = Instant::now();
    let halves = [0, 1];
    let workers: Vec<Mutex<Worker>> = side_by_side(&halves, |_| Mutex::new(Worker::begin()));
    println!("## Is each sync needed?\n");
    let mut verdicts: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for part in side_by_side(&halves, |&half| workers[half].lock().unwrap().without_syncs(half)) {
        for (class, (sites, caught)) in part {
            let entry = verdicts.entry(class).or_default();
            entry.0 += sites;
            entry.1 += caught;
        }
    }
    println!("One sync left out, then a power loss:\n");
    println!("| sync of | sites tried | sites where leaving it out breaks a recovery | the model |\n|---|---|---|---|");
    for (class, (sites, caught)) in &verdicts {
        let reason = model::reason_of(class).filter(|_| caught < sites).map_or("", |(_, reason)| reason);
        println!("| `{class}` | {sites} | {caught} | {reason} |");
    }
    println!("\nTwo stages swapped, then a kill or a power loss:\n");
    println!("| first | then | swapped | the model |\n|---|---|---|---|");
    let swapped = side_by_side(&halves, |&half| workers[half].lock().unwrap().swapped(half));
    for (first, then, caught) in swapped.into_iter().flatten() {
        let reason = model::reason_of_swap(first, then).filter(|_| caught.is_none()).map_or("", |(_, reason)| reason);
        println!("| {first} | {then} | {} | {reason} |", caught.as_deref().unwrap_or("recovered from at every step"));
    }
    println!("\n{:.0} s.\n", begun.elapsed().as_secs_f64());
}

impl Worker {
    fn begin() -> Self {
        let scenario = Scenario::begin();
        let root = scenario.place.root();
        let mut worker = Self { scenario, recorded: Vec::new(), good: BTreeSet::new(), states: 0 };
        let run = worker.record("run", worker.scenario.before.clone(), &["run"], &[3]);
        // A power loss right after the commit point: its recovery.
        let committed = run.iter().position(|s| matches!(s, Step::Rename(_, to) if is_commit(to))).unwrap();
        let mut disk = Disk::new(&worker.scenario.before);
        run[..=committed + 1].iter().for_each(|step| disk.apply(step));
        let half = disk.after(&mut Survives::Nothing);
        worker.record("recovery of a commit that was not published", half, &["run"], &[0, 3]);
        worker.scenario.restore(&worker.scenario.before);
        worker.scenario.place.callrec(&["run"]).expect(3);
        let whole = crate::scenario::read(&root);
        worker.record("compact", whole, &["compact"], &[0]);
        worker
    }

    fn record(&mut self, name: &'static str, before: Tree, arguments: &[&str], exit: &[i32]) -> Vec<Step> {
        self.scenario.restore(&before);
        let root = self.scenario.place.root();
        let steps = record(&self.scenario.place.command(arguments), &root, exit);
        let mut disk = Disk::new(&before);
        steps.iter().for_each(|step| disk.apply(step));
        assert!(disk.after(&mut Survives::All) == crate::scenario::read(&root), "{name}: steps are missing");
        self.recorded.push(Recorded { name, before, steps: steps.clone() });
        steps
    }

    /// Whether a run recovers from `tree`; what is wrong if not.
    fn fault(&mut self, tree: &Tree) -> Option<String> {
        let hash = digest(tree);
        if self.good.contains(&hash) {
            return None;
        }
        self.states += 1;
        self.scenario.restore(tree);
        let fault = self.scenario.fault();
        if fault.is_none() {
            self.good.insert(hash);
        }
        fault
    }

    fn any_fault(&mut self, disk: &Disk, seed: u64) -> Option<String> {
        let mut trees =
            vec![disk.after(&mut Survives::Nothing), disk.after(&mut Survives::Names), disk.after(&mut Survives::All)];
        for mixture in 0..MIXTURES {
            let mut rng = ChaCha8Rng::seed_from_u64(seed * MIXTURES + mixture);
            trees.push(disk.after(&mut Survives::Chance(&mut rng)));
        }
        trees.iter().find_map(|tree| self.fault(tree))
    }

    fn losses(&mut self, half: usize) -> u64 {
        let mut faults = 0;
        for number in 0..self.recorded.len() {
            let mut disk = Disk::new(&self.recorded[number].before);
            let steps = self.recorded[number].steps.clone();
            for (index, step) in steps.iter().enumerate() {
                disk.apply(step);
                if index % 100 == 0 {
                    eprintln!(
                        "power: {}: step {index} of {}, {} states",
                        self.recorded[number].name,
                        steps.len(),
                        self.states
                    );
                }
                if index % 2 != half {
                    continue;
                }
                if let Some(fault) = self.any_fault(&disk, index as u64) {
                    faults += 1;
                    eprintln!("power: {} after step {index} {}: {fault}", self.recorded[number].name, named(step));
                }
            }
            eprintln!("power: {}: {} states, {faults} faults", self.recorded[number].name, self.states);
        }
        faults
    }

    /// For every class of sync: sites, and those whose absence is seen.
    fn without_syncs(&mut self, half: usize) -> BTreeMap<String, (u64, u64)> {
        let mut verdicts: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        for number in 0..self.recorded.len() {
            let steps = self.recorded[number].steps.clone();
            let mut tried: BTreeMap<String, usize> = BTreeMap::new();
            let syncs: Vec<usize> = (0..steps.len())
                .filter(|&i| matches!(steps[i], Step::Sync(_)))
                .filter(|&i| {
                    let tried = tried.entry(class_of(&steps[i])).or_default();
                    *tried += 1;
                    *tried <= SITES
                })
                .collect();
            for &left_out in syncs.iter().skip(half).step_by(2) {
                let mut disk = Disk::new(&self.recorded[number].before);
                let mut caught = false;
                for (index, step) in steps.iter().enumerate() {
                    if index == left_out {
                        continue;
                    }
                    disk.apply(step);
                    let last = index + 1 == steps.len();
                    if index > left_out
                        && (last || is_turning_point(step))
                        && self.any_fault(&disk, index as u64).is_some()
                    {
                        caught = true;
                        break;
                    }
                }
                let entry = verdicts.entry(class_of(&steps[left_out])).or_default();
                entry.0 += 1;
                entry.1 += u64::from(caught);
            }
        }
        verdicts
    }

    /// Every two neighbouring stages of the run, swapped.
    fn swapped(&mut self, half: usize) -> Vec<(&'static str, &'static str, Option<String>)> {
        let steps = self.recorded[0].steps.clone();
        let mut stages: Vec<(&'static str, Vec<Step>)> = Vec::new();
        for step in steps {
            let stage = stage_of(&step, stages.last().map_or("recover", |(name, _)| name));
            match stages.last_mut() {
                Some((name, steps)) if *name == stage => steps.push(step),
                _ => stages.push((stage, vec![step])),
            }
        }
        let mut verdicts = Vec::new();
        for first in (0..stages.len() - 1).filter(|first| first % 2 == half) {
            let mut disk = Disk::new(&self.recorded[0].before);
            let before: Vec<Step> = stages[..first].iter().flat_map(|(_, steps)| steps.clone()).collect();
            before.iter().for_each(|step| disk.apply(step));
            let mut caught = None;
            let swapped = stages[first + 1].1.iter().chain(&stages[first].1);
            for (index, step) in swapped.enumerate() {
                if !disk.can(step) {
                    caught = Some(format!("cannot be done: {} needs the other", named(step)));
                    break;
                }
                disk.apply(step);
                if let Some(fault) = self.any_fault(&disk, index as u64) {
                    let fault = fault.split([':', '{']).next().unwrap_or_default().to_owned();
                    caught = Some(format!("breaks a recovery: {fault}"));
                    break;
                }
            }
            verdicts.push((stages[first].0, stages[first + 1].0, caught));
        }
        verdicts
    }
}

fn digest(tree: &Tree) -> String {
    let mut bytes = Vec::new();
    for (name, node) in tree {
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(0);
        if let Some(content) = node {
            bytes.extend_from_slice(sha256(content).as_bytes());
        }
    }
    sha256(&bytes)
}

fn path_of(step: &Step) -> &str {
    match step {
        Step::Create(path)
        | Step::Truncate(path)
        | Step::Write(path, _)
        | Step::Cut(path, _)
        | Step::Rename(_, path)
        | Step::Remove(path)
        | Step::MakeDirectory(path)
        | Step::Sync(path) => path,
    }
}

fn named(step: &Step) -> String {
    let verb = match step {
        Step::Create(_) | Step::Truncate(_) => "create",
        Step::Write(..) => "write",
        Step::Cut(..) => "cut",
        Step::Rename(..) => "rename to",
        Step::Remove(_) => "remove",
        Step::MakeDirectory(_) => "mkdir",
        Step::Sync(_) => "sync",
    };
    format!("{verb} {}", path_of(step))
}

fn is_commit(path: &str) -> bool {
    path.starts_with("_callrec/commits/") && path.ends_with(".json")
}

/// Steps after which a missing sync shows: a commit, its mark, the clean-up.
fn is_turning_point(step: &Step) -> bool {
    match step {
        Step::Rename(_, to) => to.starts_with("_callrec/commits/"),
        Step::Sync(path) => path == "_callrec/commits",
        Step::Remove(path) => path.ends_with("intent.json") || path.ends_with("/frames"),
        _ => false,
    }
}

/// The path of a sync with numbers, dates and tables taken out.
fn class_of(step: &Step) -> String {
    let class = path_of(step).split('/').map(|name| {
        let name = match name {
            "calls" | "participants" | "sessions" | "segments" | "media" | "streams" | "trace_route_hops"
            | "feedback_tokens" => "<table>",
            name => name,
        };
        let name = name.split_once("_date=").map_or(name.to_owned(), |(key, _)| format!("{key}_date=…"));
        let mut plain = String::new();
        for c in name.chars() {
            match c {
                '0'..='9' if plain.ends_with('n') && plain.len() > 1 => {}
                '0'..='9' => plain.push('n'),
                c => plain.push(c),
            }
        }
        plain
    });
    let class = class.collect::<Vec<_>>().join("/");
    if class.is_empty() { "the root".to_owned() } else { class }
}

/// The stage of the protocol that a step belongs to.
fn stage_of(step: &Step, present: &'static str) -> &'static str {
    let path = path_of(step);
    match step {
        Step::Sync(path) if path.contains("commits") => present,
        _ if path.starts_with("_callrec/spool/") && matches!(step, Step::Remove(_)) => "clean-up",
        _ if path.starts_with("_callrec/spool/") => "spool",
        _ if path.starts_with("_callrec/staging/") && matches!(step, Step::Remove(_)) && present != "staging" => {
            "clean-up"
        }
        _ if path.starts_with("_callrec/staging/") => "staging",
        _ if path.ends_with(".published") || path.ends_with(".tmp") && present.starts_with("sync") => "mark",
        _ if path.starts_with("_callrec/commits") => {
            if present == "mark" || present.starts_with("sync") {
                "mark"
            } else {
                "commit record"
            }
        }
        Step::Rename(..) if path.starts_with("_callrec/quarantine") => "publish quarantine",
        Step::Rename(..) if path.starts_with("raw/") => "publish raw",
        Step::Rename(..) if path.starts_with("calls/") => "publish calls",
        Step::Rename(..) if path.starts_with("ledger/") => "publish ledger",
        Step::Rename(..) => "publish children",
        Step::Remove(_) => "remove",
        Step::Sync(_) if present.starts_with("publish") || present == "remove" || present.starts_with("sync") => {
            "sync of directories"
        }
        _ => present,
    }
}
