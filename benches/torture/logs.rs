//! A log that is written and rotated while runs read it again and again: step by
//! step in a random order that a model follows, and by threads that do not wait.

use crate::support::{Graph, Place, STATE, call_id, days_ago, notification, record, rows};
use crate::{number, rotating};
use rotating::{Dice, LOG, Step};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

const STEPS: usize = 150;

pub fn report() -> u64 {
    println!("## Logs that are rotated while they are read\n");
    let mut faults = stepwise(number("CALLREC_TORTURE_LOG_SEEDS", 40));
    faults += live(number("CALLREC_TORTURE_LOG_LIVE_SEEDS", 6), number("CALLREC_TORTURE_LOG_RUNS", 80));
    faults
}

/// What became of the calls of one place.
#[derive(Default)]
struct Outcome {
    calls: u32,
    /// Steps or rotations by kind.
    kinds: BTreeMap<Step, u32>,
    runs: u32,
    gaps: u32,
    /// Calls that were cut before a run had read them, and are not exported.
    cut: usize,
    faults: Vec<String>,
}

fn stepwise(seeds: u64) -> u64 {
    let outcomes = crate::side_by_side(&(1..=seeds).collect::<Vec<_>>(), |seed| steps(*seed));
    println!(
        "Step by step, {seeds} seeds of {STEPS} steps; a run must end with 3 if and only if something unread may have been cut.\n"
    );
    println!("| | |\n|---|---|");
    for kind in [
        Step::Lines,
        Step::Torn,
        Step::Rename,
        Step::CopyTruncate,
        Step::Cut,
        Step::Gzip,
        Step::Zstd,
        Step::HalfPacked,
        Step::Run,
    ] {
        println!("| {kind:?} | {} |", outcomes.iter().map(|o| o.kinds.get(&kind).copied().unwrap_or(0)).sum::<u32>());
    }
    let faults: Vec<&String> = outcomes.iter().flat_map(|o| &o.faults).collect();
    println!("| calls notified | {} |", outcomes.iter().map(|o| o.calls).sum::<u32>());
    println!(
        "| calls in lines that were cut unread, without a copy | {} |",
        outcomes.iter().map(|o| o.cut).sum::<usize>()
    );
    println!("| gaps reported | {} |", outcomes.iter().map(|o| o.gaps).sum::<u32>());
    println!("| faults: calls lost or doubled beside those, gaps not reported or without need | {} |\n", faults.len());
    faults.iter().for_each(|fault| println!("- {fault}"));
    faults.len() as u64
}

fn steps(seed: u64) -> Outcome {
    let graph = Graph::empty();
    let place = Place::new(&graph.endpoint(), "");
    let mut outcome = Outcome::default();
    let (log, history) = rotating::play(&graph, &place, seed, STEPS, |log, history, ended| {
        outcome.gaps += u32::from(ended.code == 3);
        if ended.code != if log.gap { 3 } else { 0 } {
            let step = history.len();
            outcome.faults.push(format!("seed {seed}, after step {step}: {} {}", ended.code, ended.stderr.trim()));
        }
    });
    for step in history {
        *outcome.kinds.entry(step).or_default() += 1;
    }
    outcome.calls = log.next - 1;
    outcome.cut = log.lost.len();
    compare(seed, &place, log.next, &log.lost, &mut outcome);
    outcome
}

/// Compares what is exported with what was notified.
fn compare(seed: u64, place: &Place, next: u32, cut: &BTreeSet<u32>, outcome: &mut Outcome) {
    let exported: Vec<String> = rows(&place.root(), "calls", &["call_id"]).into_iter().flatten().collect();
    let different: BTreeSet<&String> = exported.iter().collect();
    if different.len() != exported.len() {
        outcome.faults.push(format!("seed {seed}: {} calls twice", exported.len() - different.len()));
    }
    for n in (1..next).filter(|n| !cut.contains(n) && !different.contains(&call_id(*n))) {
        outcome.faults.push(format!("seed {seed}: call {n} is lost"));
    }
    let verified = place.callrec(&["verify"]);
    if verified.code != 0 {
        outcome.faults.push(format!("seed {seed}: {}", verified.stdout));
    }
}

/// What the threads of one place share.
struct Shared<'a> {
    directory: &'a Path,
    graph: &'a Graph,
    /// Held while a line is written, and by who cuts the log.
    writing: Mutex<()>,
    next: AtomicU32,
    /// So many calls may be written so far: the writer keeps ahead of the runs, not far.
    granted: AtomicU32,
    /// The writer shall open the log anew.
    reopen: AtomicBool,
    ended: AtomicU32,
    /// Copies that ended within a line, and were removed with their torn end.
    torn: AtomicU32,
    stop: AtomicBool,
}

fn live(seeds: u64, runs: u64) -> u64 {
    println!(
        "With a thread that writes, one that rotates and packs, and runs that do not wait for either, {runs} runs per seed:\n"
    );
    println!(
        "| seed | calls | renames | copytruncates | packs | runs | cut between copy and cut, not exported | gaps reported | of them without a cut or a torn copy | lost otherwise |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    let outcomes = crate::side_by_side(&(1..=seeds).collect::<Vec<_>>(), |seed| at_once(*seed, runs));
    let mut faults = 0;
    for (index, (outcome, needless)) in outcomes.iter().enumerate() {
        let kind = |step| outcome.kinds.get(&step).copied().unwrap_or(0);
        println!(
            "| {} | {} | {} | {} | {} | {} | {} | {} | {needless} | {} |",
            index + 1,
            outcome.calls,
            kind(Step::Rename),
            kind(Step::CopyTruncate),
            kind(Step::Gzip) + kind(Step::Zstd),
            outcome.runs,
            outcome.cut,
            outcome.gaps,
            outcome.faults.len()
        );
        faults += outcome.faults.len() as u64 + u64::from(*needless);
    }
    println!();
    outcomes.iter().flat_map(|(o, _)| &o.faults).for_each(|fault| println!("- {fault}"));
    println!(
        "A call that is cut between copytruncate's copying and cutting, with no run in between, leaves no trace: nobody can report it.\n"
    );
    faults
}

fn at_once(seed: u64, runs: u64) -> (Outcome, u32) {
    let graph = Graph::empty();
    let place = Place::new(&graph.endpoint(), "");
    let shared = Shared {
        directory: place.directory.path(),
        graph: &graph,
        writing: Mutex::new(()),
        next: AtomicU32::new(1),
        granted: AtomicU32::new(20),
        reopen: AtomicBool::new(false),
        ended: AtomicU32::new(0),
        torn: AtomicU32::new(0),
        stop: AtomicBool::new(false),
    };
    fs::write(shared.directory.join(LOG), "").unwrap();
    let (mut outcome, mut needless, mut seen) = (Outcome::default(), 0, 0);
    let cut = Mutex::new(BTreeSet::new());
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| write(&shared, &mut Dice::new(seed)));
        let rotator = scope.spawn(|| rotate(&shared, &mut Dice::new(seed + 1000), &cut));
        let mut run = |outcome: &mut Outcome| {
            let ended = place.callrec(&["run"]);
            outcome.runs += 1;
            shared.ended.fetch_add(1, Ordering::SeqCst);
            if ended.stderr.contains("is not found any more") {
                outcome.gaps += 1;
                let cut = cut.lock().unwrap().len() + shared.torn.load(Ordering::SeqCst) as usize;
                if cut == seen {
                    needless += 1;
                    eprintln!("seed {seed}, run {}: a gap without a cut: {}", outcome.runs, ended.stderr.trim());
                }
                seen = cut;
            } else if ended.code != 0 {
                outcome.faults.push(format!("seed {seed}: a run ended with {}: {}", ended.code, ended.stderr));
            }
            ended.stdout.contains("\"notifications_read\":0,")
        };
        for _ in 0..runs {
            shared.granted.fetch_add(12, Ordering::SeqCst);
            run(&mut outcome);
        }
        shared.stop.store(true, Ordering::SeqCst);
        writer.join().unwrap();
        let kinds = rotator.join().unwrap();
        (0..5).any(|_| run(&mut outcome));
        outcome.kinds = kinds;
    });
    let next = shared.next.load(Ordering::SeqCst);
    outcome.calls = next - 1;
    let cut = cut.into_inner().unwrap();
    let exported: BTreeSet<String> = place.column("calls", "call_id").into_iter().collect();
    outcome.cut = cut.iter().filter(|n| !exported.contains(&call_id(**n))).count();
    compare(seed, &place, next, &cut, &mut outcome);
    (outcome, needless)
}

/// Appends lines until the end, some of them in two writes.
fn write(shared: &Shared<'_>, dice: &mut Dice) {
    let open = || fs::OpenOptions::new().create(true).append(true).open(shared.directory.join(LOG)).unwrap();
    let mut log = open();
    while !shared.stop.load(Ordering::SeqCst) {
        if shared.next.load(Ordering::SeqCst) >= shared.granted.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        }
        if dice.below(3) == 0 && shared.reopen.swap(false, Ordering::SeqCst) {
            log = open();
        }
        let n = shared.next.load(Ordering::SeqCst);
        shared.graph.put(&record(&call_id(n), 1, days_ago(1), 1));
        let line = format!("{}\n", notification(&call_id(n), STATE));
        let _writing = shared.writing.lock().unwrap();
        let (begin, rest) = line.split_at(if dice.below(2) == 0 { line.len() / 2 } else { 0 });
        log.write_all(begin.as_bytes()).unwrap();
        if !begin.is_empty() {
            std::thread::sleep(Duration::from_millis(dice.below(3)));
        }
        log.write_all(rest.as_bytes()).unwrap();
        shared.next.fetch_add(1, Ordering::SeqCst);
    }
}

/// A rotated log, and after how many runs nothing can be unread in it.
struct Rotated {
    name: String,
    read_after: u32,
    torn: bool,
}

fn rotate(shared: &Shared<'_>, dice: &mut Dice, cut: &Mutex<BTreeSet<u32>>) -> BTreeMap<Step, u32> {
    let mut kinds = BTreeMap::new();
    let mut rotated: Vec<Rotated> = Vec::new();
    let path = |name: &str| shared.directory.join(name);
    while !shared.stop.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_millis(5 + dice.below(60)));
        let step = [Step::Rename, Step::CopyTruncate, Step::Gzip, Step::Zstd][usize::try_from(dice.below(4)).unwrap()];
        match step {
            // The writer is still in the file that was renamed last.
            Step::Rename | Step::CopyTruncate if shared.reopen.load(Ordering::SeqCst) => continue,
            Step::Rename => {
                shift(&path, &mut rotated, shared);
                fs::rename(path(LOG), path(&rotated[0].name)).unwrap();
                fs::OpenOptions::new().create(true).append(true).open(path(LOG)).unwrap();
                shared.reopen.store(true, Ordering::SeqCst);
            }
            Step::CopyTruncate => {
                shift(&path, &mut rotated, shared);
                let copied = usize::try_from(fs::copy(path(LOG), path(&rotated[0].name)).unwrap()).unwrap();
                std::thread::sleep(Duration::from_millis(dice.below(3)));
                let _writing = shared.writing.lock().unwrap();
                let bytes = fs::read(path(LOG)).unwrap();
                rotated[0].torn = bytes[..copied].last().is_some_and(|byte| *byte != b'\n');
                let whole = bytes[..copied].iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
                cut.lock().unwrap().extend(numbers(&bytes[whole..]));
                fs::OpenOptions::new().write(true).open(path(LOG)).unwrap().set_len(0).unwrap();
            }
            _ => {
                let packable = |one: &Rotated| !one.name.ends_with("gz") && !one.name.ends_with("zst");
                let Some(one) = rotated.iter_mut().skip(1).find(|one| packable(one)) else { continue };
                pack(&path, &mut one.name, step == Step::Zstd);
            }
        }
        *kinds.entry(step).or_default() += 1;
    }
    kinds
}

/// Makes `.1` free, and removes what is old and read.
fn shift(path: &impl Fn(&str) -> PathBuf, rotated: &mut Vec<Rotated>, shared: &Shared<'_>) {
    let runs = shared.ended.load(Ordering::SeqCst);
    while rotated.len() >= 6 && rotated.last().is_some_and(|oldest| oldest.read_after < runs) {
        let oldest = rotated.pop().unwrap();
        shared.torn.fetch_add(u32::from(oldest.torn), Ordering::SeqCst);
        fs::remove_file(path(&oldest.name)).unwrap();
    }
    for (position, one) in rotated.iter_mut().enumerate().rev() {
        let packed = [".gz", ".zst"].into_iter().find(|ending| one.name.ends_with(ending)).unwrap_or_default();
        let new = format!("{LOG}.{}{packed}", position + 2);
        fs::rename(path(&one.name), path(&new)).unwrap();
        one.name = new;
    }
    rotated.insert(0, Rotated { name: format!("{LOG}.1"), read_after: runs + 3, torn: false });
}

fn pack(path: &impl Fn(&str) -> PathBuf, name: &mut String, zstd: bool) {
    let bytes = fs::read(path(name)).unwrap();
    let new = format!("{name}.{}", if zstd { "zst" } else { "gz" });
    let mut out = Vec::new();
    if zstd {
        out = zstd::encode_all(&bytes[..], 1).unwrap();
    } else {
        let mut encoder = flate2::write::GzEncoder::new(&mut out, flate2::Compression::fast());
        encoder.write_all(&bytes).unwrap();
        encoder.finish().unwrap();
    }
    let mut file = fs::File::create(path(&new)).unwrap();
    for part in out.chunks(out.len() / 3 + 1) {
        file.write_all(part).unwrap();
        std::thread::sleep(Duration::from_millis(2));
    }
    fs::remove_file(path(name)).unwrap();
    *name = new;
}

/// The calls of lines, the last of which may be torn.
fn numbers(lines: &[u8]) -> Vec<u32> {
    let text = String::from_utf8_lossy(lines);
    text.split("\"id\":\"").skip(1).filter_map(|rest| rest.get(..8)?.parse().ok()).collect()
}
