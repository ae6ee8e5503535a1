//! A notification log that is written, renamed, cut and packed as logrotate
//! does it, and what a reader can know of it.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "shared by a test and the torture"
)]

use crate::support::{Ended, Graph, Place, STATE, call_id, days_ago, notification, record};
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

pub const LOG: &str = "events.jsonl";
/// Rotated logs that are kept.
const KEPT: usize = 5;

/// Kinds of steps, for counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    Lines,
    Torn,
    Rename,
    CopyTruncate,
    Cut,
    Gzip,
    Zstd,
    HalfPacked,
    Run,
}

/// A source of steps that depends on its seed alone.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 20) % limit
    }

    pub fn step(&mut self) -> Step {
        use Step::{CopyTruncate, Cut, Gzip, HalfPacked, Lines, Rename, Run, Torn, Zstd};
        let steps = [
            Lines,
            Lines,
            Lines,
            Lines,
            Torn,
            Torn,
            Rename,
            Rename,
            CopyTruncate,
            Cut,
            Gzip,
            Zstd,
            HalfPacked,
            Run,
            Run,
            Run,
        ];
        steps[usize::try_from(self.below(steps.len() as u64)).unwrap()]
    }
}

pub struct Rotating {
    directory: PathBuf,
    /// The number of the next call.
    pub next: u32,
    /// The other half of a line that was begun.
    rest: String,
    /// Names of rotated logs, youngest first.
    rotated: Vec<String>,
    /// A pack that stands half-written beside its log.
    half: Option<PathBuf>,
    /// Calls that only the log's own file names, and that no run has read yet.
    unread: Vec<u32>,
    /// Whether the last run has read something of the log's own file.
    known: bool,
    /// Calls whose only line was cut before a run had read it.
    pub lost: BTreeSet<u32>,
    /// Whether the next run must report a gap.
    pub gap: bool,
    /// Rotations since the last run: of a log that no run ever saw nothing is known.
    unseen: usize,
}

fn line(numbers: &[u32]) -> String {
    let items: Vec<_> = numbers.iter().map(|n| notification(&call_id(*n), STATE)).collect();
    format!("{}\n", serde_json::json!({"value": items}))
}

impl Rotating {
    /// The calls have numbers from 1 on.
    pub fn new(directory: &Path) -> Self {
        let rotating = Self {
            directory: directory.to_owned(),
            next: 1,
            rest: String::new(),
            rotated: Vec::new(),
            half: None,
            unread: Vec::new(),
            known: false,
            lost: BTreeSet::new(),
            gap: false,
            unseen: 0,
        };
        rotating.append("");
        rotating
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn append(&self, text: &str) {
        let mut log = fs::OpenOptions::new().create(true).append(true).open(self.path(LOG)).unwrap();
        log.write_all(text.as_bytes()).unwrap();
    }

    /// Ends a line that was begun.
    pub fn complete(&mut self) {
        let rest = std::mem::take(&mut self.rest);
        self.append(&rest);
    }

    fn numbers(&mut self, count: u32) -> Vec<u32> {
        let numbers: Vec<u32> = (self.next..self.next + count).collect();
        self.next += count;
        self.unread.extend(&numbers);
        numbers
    }

    /// Appends a line of so many calls.
    pub fn lines(&mut self, count: u32) {
        self.complete();
        let numbers = self.numbers(count);
        self.append(&line(&numbers));
    }

    /// Appends the first half of a line; what is written next begins with the other.
    pub fn torn(&mut self) {
        self.complete();
        let numbers = self.numbers(2);
        let text = line(&numbers);
        let (begin, rest) = text.split_at(text.len() / 2);
        self.append(begin);
        self.rest = rest.to_owned();
    }

    /// Makes `.1` free; the oldest goes.
    fn shift(&mut self) {
        if let Some(half) = self.half.take() {
            fs::remove_file(half).unwrap();
        }
        if self.rotated.len() == KEPT {
            let oldest = self.rotated.pop().unwrap();
            fs::remove_file(self.path(&oldest)).unwrap();
        }
        for position in (0..self.rotated.len()).rev() {
            let old = self.rotated[position].clone();
            let packed = [".gz", ".zst"].into_iter().find(|ending| old.ends_with(ending)).unwrap_or_default();
            let new = format!("{LOG}.{}{packed}", position + 2);
            fs::rename(self.path(&old), self.path(&new)).unwrap();
            self.rotated[position] = new;
        }
        self.rotated.insert(0, format!("{LOG}.1"));
        self.unseen += 1;
    }

    /// Whether a further rotation could take away what no run has seen.
    pub fn must_run(&self) -> bool {
        self.unseen + 1 >= KEPT
    }

    /// Renames the log; `late` is written to the old file after that, as by a
    /// writer that has not opened the new one yet.
    pub fn rename(&mut self, late: bool) {
        if late {
            self.complete();
        }
        self.shift();
        fs::rename(self.path(LOG), self.path(&self.rotated[0])).unwrap();
        let mut old = fs::OpenOptions::new().append(true).open(self.path(&self.rotated[0])).unwrap();
        old.write_all(std::mem::take(&mut self.rest).as_bytes()).unwrap();
        if late {
            let numbers = self.numbers(1);
            old.write_all(line(&numbers).as_bytes()).unwrap();
        }
        self.unread.clear();
        self.known = false;
        self.append("");
    }

    /// Copies the log and cuts it, with nothing written between.
    pub fn copy_truncate(&mut self) {
        self.complete();
        self.shift();
        fs::copy(self.path(LOG), self.path(&self.rotated[0])).unwrap();
        self.cut_file();
        self.unread.clear();
        self.known = false;
    }

    fn cut_file(&self) {
        fs::OpenOptions::new().write(true).open(self.path(LOG)).unwrap().set_len(0).unwrap();
    }

    /// Cuts the log without a copy, if a run has read something of it: of a log
    /// that was empty when it was read last nothing could be told.
    pub fn cut(&mut self) -> bool {
        if !self.known {
            return false;
        }
        self.complete();
        self.cut_file();
        self.lost.extend(std::mem::take(&mut self.unread));
        (self.gap, self.known) = (true, false);
        true
    }

    /// Packs a rotated log, as a rule not the youngest (delaycompress); half of
    /// the pack only if `half`, which stays beside the log until the next step.
    pub fn pack(&mut self, zstd: bool, half: bool, delay: bool) -> bool {
        if let Some(half) = self.half.take() {
            fs::remove_file(half).unwrap();
        }
        let plain = |name: &String| !name.ends_with("gz") && !name.ends_with("zst");
        let skip = usize::from(delay);
        let Some(position) = self.rotated.iter().skip(skip).position(plain).map(|at| at + skip) else { return false };
        let name = self.rotated[position].clone();
        let bytes = fs::read(self.path(&name)).unwrap();
        let packed = if zstd { zstd::encode_all(&bytes[..], 1).unwrap() } else { gzip(&bytes) };
        let new = format!("{name}.{}", if zstd { "zst" } else { "gz" });
        if half {
            fs::write(self.path(&new), &packed[..packed.len() / 2]).unwrap();
            self.half = Some(self.path(&new));
        } else {
            fs::write(self.path(&new), packed).unwrap();
            fs::remove_file(self.path(&name)).unwrap();
            self.rotated[position] = new;
        }
        true
    }

    /// A run has ended.
    pub fn ran(&mut self) {
        // A line that is torn is not read yet.
        let torn = if self.rest.is_empty() { Vec::new() } else { self.unread.split_off(self.unread.len() - 2) };
        let read_some = fs::metadata(self.path(LOG)).unwrap().len() > 0 && !(self.only_torn());
        self.unread = torn;
        self.known = self.known || read_some;
        self.gap = false;
        self.unseen = 0;
    }

    /// Whether the log holds nothing but the first half of a line.
    fn only_torn(&self) -> bool {
        !self.rest.is_empty() && !fs::read(self.path(LOG)).unwrap().contains(&b'\n')
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Takes one step, but a run; whether it changed something.
pub fn take(log: &mut Rotating, step: Step, dice: &mut Dice) -> bool {
    match step {
        Step::Lines => log.lines(u32::try_from(dice.below(3) + 1).unwrap()),
        Step::Torn => log.torn(),
        Step::Rename | Step::CopyTruncate if log.must_run() => return false,
        Step::Rename => log.rename(dice.below(2) == 0),
        Step::CopyTruncate => log.copy_truncate(),
        Step::Cut => return log.cut(),
        Step::Gzip | Step::Zstd => return log.pack(step == Step::Zstd, false, dice.below(4) > 0),
        Step::HalfPacked => return log.pack(dice.below(2) == 0, true, true),
        Step::Run => return false,
    }
    true
}

/// Takes so many steps, the last of them a run; `ended` judges how each run ended
/// after the steps so far. The log as it is then, and all steps.
pub fn play(
    graph: &Graph,
    place: &Place,
    seed: u64,
    steps: usize,
    mut ended: impl FnMut(&Rotating, &[Step], Ended),
) -> (Rotating, Vec<Step>) {
    let mut log = Rotating::new(place.directory.path());
    let (mut dice, mut served, mut history) = (Dice::new(seed), 0, Vec::new());
    for number in 0..steps {
        let is_last = number + 1 == steps;
        let step = if is_last { Step::Run } else { dice.step() };
        if step != Step::Run {
            if take(&mut log, step, &mut dice) {
                history.push(step);
            }
            continue;
        }
        history.push(Step::Run);
        if is_last {
            log.complete();
        }
        while served + 1 < log.next {
            served += 1;
            graph.put(&record(&call_id(served), 1, days_ago(1), 1));
        }
        ended(&log, &history, place.callrec(&["run"]));
        log.ran();
    }
    (log, history)
}
