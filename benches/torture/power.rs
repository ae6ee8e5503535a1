//! Power loss between any two steps of a run, of a merge, and of the recovery from
//! a kill or a power loss; and the same with one sync left out, or two stages of
//! the protocol swapped.
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

/// The stage in which the table of runs is written. It is no part of the protocol:
/// what a power loss leaves of it is read or set aside.
const RUNS: &str = "the table of runs";

/// A recorded command: what was there, what it did.
struct Recorded {
    name: &'static str,
    /// After a kill it also holds what was not synced.
    before: Disk,
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

/// Prints what one sync less, or two stages in another order, would break; how
/// much of it is neither seen here nor proved harmless by the model.
pub fn mutations() -> u64 {
    let begun = Instant::now();
    let halves = [0, 1];
    let workers: Vec<Mutex<Worker>> = side_by_side(&halves, |_| Mutex::new(Worker::begin()));
    println!("## Is each sync needed?\n");
    let mut verdicts: BTreeMap<(&str, String), (u64, u64)> = BTreeMap::new();
    for part in side_by_side(&halves, |&half| workers[half].lock().unwrap().without_syncs(half)) {
        for (class, (sites, caught)) in part {
            let entry = verdicts.entry(class).or_default();
            entry.0 += sites;
            entry.1 += caught;
        }
    }
    println!("One sync left out, then a power loss:\n");
    println!("| stage | sync of | sites | sites where leaving it out breaks a recovery | the model |");
    println!("|---|---|---|---|---|");
    let mut unexplained = 0;
    for ((stage, class), (sites, caught)) in &verdicts {
        let reason = if caught == sites { Some("") } else { model::reason_of(class).map(|(_, reason)| reason) };
        unexplained += u64::from(reason.is_none());
        println!("| {stage} | `{class}` | {sites} | {caught} | {} |", reason.unwrap_or("NOT EXPLAINED"));
    }
    println!("\nTwo stages swapped, then a kill or a power loss:\n");
    println!("| of | first | then | swapped | the model |\n|---|---|---|---|---|");
    let swapped = side_by_side(&halves, |&half| workers[half].lock().unwrap().swapped(half));
    for Swap { of, first, then, breaks } in swapped.into_iter().flatten() {
        let reason =
            if breaks.is_some() { Some("") } else { model::reason_of_swap(first, then).map(|(_, reason)| reason) };
        unexplained += u64::from(reason.is_none());
        let (breaks, reason) = (breaks.unwrap_or("recovered from".to_owned()), reason.unwrap_or("NOT EXPLAINED"));
        println!("| {of} | {first} | {then} | {breaks} | {reason} |");
    }
    println!(
        "\n{unexplained} neither seen here nor proved harmless by the model; {:.0} s.\n",
        begun.elapsed().as_secs_f64()
    );
    unexplained
}

impl Worker {
    fn begin() -> Self {
        let scenario = Scenario::begin();
        let root = scenario.place.root();
        let mut worker = Self { scenario, recorded: Vec::new(), good: BTreeSet::new(), states: 0 };
        let begin = Disk::new(&worker.scenario.before);
        let run = worker.record("run", begin.clone(), &["run"], &[3]);
        let last = |is: &dyn Fn(&str) -> bool| {
            run.iter().rposition(|step| matches!(step, Step::Rename(_, to) if is(to))).unwrap()
        };
        let until = |step: usize| {
            let mut disk = begin.clone();
            run[..=step].iter().for_each(|step| disk.apply(step));
            disk
        };
        let committed = last(&is_commit);
        // The sync of the directory comes right after the rename.
        let power_lost = Disk::new(&until(committed + 1).after(&mut Survives::Nothing));
        worker.record("run after a power loss at the commit point", power_lost, &["run"], &[0, 3]);
        for (name, step) in [
            ("run after a kill at the rename of the commit record", committed),
            ("run after a kill in the middle of publishing", last(&|to| to.starts_with("calls/"))),
            ("run after a kill at the rename of the mark", last(&|to| to.ends_with(".published"))),
        ] {
            worker.record(name, until(step), &["run"], &[0, 3]);
        }
        worker.scenario.restore(&worker.scenario.before);
        worker.scenario.place.callrec(&["run"]).expect(3);
        let whole = Disk::new(&crate::scenario::read(&root));
        worker.record("compact", whole, &["compact"], &[0]);
        worker
    }

    fn record(&mut self, name: &'static str, before: Disk, arguments: &[&str], exit: &[i32]) -> Vec<Step> {
        self.scenario.restore(&before.after(&mut Survives::All));
        let root = self.scenario.place.root();
        let steps = record(&self.scenario.place.command(arguments), &root, exit);
        let mut disk = before.clone();
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
            let mut disk = self.recorded[number].before.clone();
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

    /// For every stage and class of sync: sites, and those whose absence is seen.
    fn without_syncs(&mut self, half: usize) -> BTreeMap<(&'static str, String), (u64, u64)> {
        let mut verdicts: BTreeMap<(&'static str, String), (u64, u64)> = BTreeMap::new();
        for number in 0..self.recorded.len() {
            let stages = self.stages(number);
            let steps: Vec<(&'static str, Step)> =
                stages.iter().flat_map(|(name, steps)| steps.iter().map(move |step| (*name, step.clone()))).collect();
            let syncs: Vec<usize> = (0..steps.len()).filter(|&i| matches!(steps[i].1, Step::Sync(_))).collect();
            eprintln!("mutations: {}: {} syncs", self.recorded[number].name, syncs.len());
            for &left_out in syncs.iter().filter(|&&sync| steps[sync].0 != RUNS).skip(half).step_by(2) {
                let mut disk = self.recorded[number].before.clone();
                let mut caught = false;
                for (index, (_, step)) in steps.iter().enumerate().filter(|(index, _)| *index != left_out) {
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
                let (stage, step) = &steps[left_out];
                let entry = verdicts.entry((stage, class_of(step))).or_default();
                entry.0 += 1;
                entry.1 += u64::from(caught);
            }
        }
        verdicts
    }

    /// The steps of a recorded command by stages of the protocol.
    fn stages(&self, number: usize) -> Vec<(&'static str, Vec<Step>)> {
        let mut stages: Vec<(&'static str, Vec<Step>)> = Vec::new();
        for step in self.recorded[number].steps.clone() {
            let stage = stage_of(&step, stages.last().map_or("recover", |(name, _)| name));
            match stages.last_mut() {
                Some((name, steps)) if *name == stage => steps.push(step),
                _ => stages.push((stage, vec![step])),
            }
        }
        stages
    }

    /// Every two neighbouring stages of the run, and of the merge, swapped.
    fn swapped(&mut self, half: usize) -> Vec<Swap> {
        let mut swaps = Vec::new();
        for number in [0, self.recorded.len() - 1] {
            let stages = self.stages(number);
            let of_protocol = |first: &usize| stages[*first].0 != RUNS && stages[first + 1].0 != RUNS;
            for first in (0..stages.len() - 1).filter(|first| first % 2 == half).filter(of_protocol) {
                let mut order: Vec<usize> = (0..stages.len()).collect();
                order.swap(first, first + 1);
                let breaks = self.reordered(number, &stages, &order);
                let (first, then) = (stages[first].0, stages[first + 1].0);
                swaps.push(Swap { of: self.recorded[number].name, first, then, breaks });
            }
        }
        swaps
    }

    /// What a recovery ends in when the stages are done in `order`.
    fn reordered(&mut self, number: usize, stages: &[(&'static str, Vec<Step>)], order: &[usize]) -> Option<String> {
        let mut disk = self.recorded[number].before.clone();
        let first = order.iter().enumerate().position(|(place, stage)| place != *stage).unwrap_or(order.len());
        for (place, &stage) in order.iter().enumerate() {
            let steps = &stages[stage].1;
            for (index, step) in steps.iter().enumerate() {
                if !disk.can(step) {
                    return Some(format!("cannot be done: {} needs the other", named(step)));
                }
                disk.apply(step);
                if place < first {
                    continue;
                }
                if let Some(fault) = self.any_fault(&disk, index as u64) {
                    let fault = fault.split([':', '{']).next().unwrap_or_default().to_owned();
                    return Some(format!("breaks a recovery: {fault}"));
                }
            }
        }
        None
    }
}

/// Two stages that were swapped, and what that breaks.
struct Swap {
    of: &'static str,
    first: &'static str,
    then: &'static str,
    breaks: Option<String>,
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

/// The stage of the protocol that a step belongs to, after `present`.
fn stage_of(step: &Step, present: &'static str) -> &'static str {
    let path = path_of(step);
    let publishing = present.starts_with("publish") || present == "remove" || present == "sync of directories";
    match step {
        _ if path == "runs" || path.starts_with("runs/") || path == "_callrec/staging/runs.parquet" => RUNS,
        // New directories below it are synced into the root.
        Step::Sync(_) if present == RUNS => RUNS,
        Step::Sync(path) if path.contains("commits") => present,
        _ if path.starts_with("_callrec/spool/") && matches!(step, Step::Remove(_)) => "clean-up",
        _ if path.starts_with("_callrec/spool/") => "spool",
        _ if path.starts_with("_callrec/staging/") && matches!(step, Step::Remove(_)) && present != "staging" => {
            "clean-up"
        }
        _ if path.starts_with("_callrec/staging/") => "staging",
        _ if path.ends_with(".published") || path.ends_with(".tmp") && publishing => "mark",
        _ if path.starts_with("_callrec/commits") => {
            if present == "mark" || publishing {
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
        Step::Sync(_) if publishing => "sync of directories",
        _ => present,
    }
}
