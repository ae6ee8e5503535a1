//! The steps of a run on the disk. After each the process may be killed, and
//! the power may go: every world that this leaves is noted.

use super::content::{CALLS, Content, Item};
use super::disk::{Change, Disk};
use super::path::{Path, Table};
use super::rules::{Rule, Set};
use super::world::Configuration;
use std::fmt;

/// What must never be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    /// A notified call is nowhere, or what was spooled is gone.
    Lost,
    /// A row set, an archived version or an item stands twice.
    Doubled,
    /// A later version was served and an earlier one stored.
    Stale,
    /// A file in place cannot be read, or tables do not agree.
    Torn,
    /// Every run ends with an error.
    Wedged,
    /// A reader of one moment misses a call.
    Missed,
}

impl Fault {
    /// What a table says of it.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Lost => "the model loses something",
            Self::Doubled => "the model doubles something",
            Self::Stale => "the model keeps a stale version",
            Self::Torn => "the model tears a file or a version",
            Self::Wedged => "the model gets stuck",
            Self::Missed => "a reader misses a call in the model",
        }
    }
}

/// What ended a run early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed;

/// What an action did, and where it was ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Label {
    /// Which command ran, if any.
    pub command: &'static str,
    /// How it ended.
    pub end: End,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    /// By itself.
    Done,
    /// By itself, with an error.
    Error,
    /// Killed after its n-th step, which was this.
    Killed(u16, Change),
    /// Killed after its n-th step, a sync of this.
    KilledAfterSync(u16, Path),
    /// By a power loss after its n-th step.
    PowerLost(u16),
    /// Not a command: the next event.
    Event,
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let command = self.command;
        match &self.end {
            End::Done => write!(f, "{command}"),
            End::Error => write!(f, "{command}, which ends with an error"),
            End::Killed(step, change) => write!(f, "{command}, killed after step {step}: {change:?}"),
            End::KilledAfterSync(step, path) => write!(f, "{command}, killed after step {step}: sync of {path:?}"),
            End::PowerLost(step) => write!(f, "{command}, power lost after step {step}"),
            End::Event => write!(f, "{command}"),
        }
    }
}

/// What a run may leave behind, besides where it is to end.
pub struct Left {
    /// How it was ended.
    pub end: End,
    /// The instant.
    pub instant: u8,
    /// The disk.
    pub disk: Disk,
    /// What is wrong already.
    pub fault: Option<Fault>,
}

/// A running process and its disk.
pub struct Io<'a> {
    /// The world.
    pub around: &'a Configuration,
    /// The disk.
    pub disk: Disk,
    /// Events that happened.
    pub instant: u8,
    /// Whether the next event comes before the n-th request.
    pub during: &'a [bool],
    /// What kills and power losses leave.
    pub left: Vec<Left>,
    /// Rules that were asked for where they matter.
    pub asked: Set,
    /// Clean-ups that a swap puts off.
    pub put_off: Vec<super::publish::Stage>,
    off: Set,
    steps: u16,
    is_quiet: bool,
    has_new: bool,
    missed: bool,
}

impl<'a> Io<'a> {
    /// A process that begins; a quiet one is never ended from outside.
    pub fn new(around: &'a Configuration, disk: Disk, instant: u8, off: Set, is_quiet: bool) -> Self {
        Self {
            around,
            disk,
            instant,
            during: &[],
            left: Vec::new(),
            asked: Set::default(),
            put_off: Vec::new(),
            off,
            steps: 0,
            is_quiet,
            has_new: false,
            missed: false,
        }
    }

    /// Whether the rule holds, at a place where it matters.
    pub const fn keeps(&mut self, rule: Rule) -> bool {
        self.asked.add(rule);
        !self.off.has(rule)
    }

    /// Whether the rule holds, at a place where it may matter or not.
    pub const fn has(&self, rule: Rule) -> bool {
        !self.off.has(rule)
    }

    /// Whether a reader missed a call.
    pub const fn missed(&self) -> bool {
        self.missed
    }

    /// Takes a step.
    pub fn step(&mut self, change: Change) {
        let shown = |change: &Change| match change {
            Change::Rename(_, path) | Change::Remove(path) => {
                matches!(path, Path::Part(Table::Calls | Table::Child, ..))
            }
            _ => false,
        };
        let seen = shown(&change).then(|| seen(&self.disk));
        self.disk.step(change.clone());
        if let Some(before) = seen {
            let after = self::seen(&self.disk);
            let is_there = |mask: [u8; 2], other: [u8; 2]| (0..2).all(|table| mask[table] & !other[table] == 0);
            self.missed |= !is_there(before, after);
        }
        self.steps += 1;
        if self.is_quiet || change.paths().all(|path| self.is_dropped(&self.disk, path)) {
            return;
        }
        self.has_new = true;
        self.killed(End::Killed(self.steps, change));
    }

    /// A disk that a kill in the middle of a step leaves.
    pub fn also(&mut self, disk: Disk, change: Change) {
        if !self.is_quiet {
            let end = End::Killed(self.steps + 1, change);
            let disk = self.at_rest(disk);
            self.left.push(Left { end, instant: self.instant, disk, fault: None });
        }
    }

    /// The disk once no process runs, without what the next start drops unread.
    pub fn at_rest(&self, mut disk: Disk) -> Disk {
        let mut dropped: Vec<Path> = disk.all().map(|(path, _)| path).filter(|path| path.number().is_some()).collect();
        dropped.extend(disk.unsynced_numbered());
        dropped.sort_unstable();
        dropped.dedup();
        dropped.retain(|path| self.is_dropped(&disk, *path));
        if !dropped.is_empty() {
            disk.forget(|path| dropped.binary_search(&path).is_ok());
        }
        disk
    }

    /// Whether the next start drops `path` unread: the work for a commit that is
    /// published or was not written, and a spool without a whole record. Not
    /// where a rule that drops it is off.
    fn is_dropped(&self, disk: &Disk, path: Path) -> bool {
        let Some(number) = path.number() else { return false };
        let (record, mark) = (Path::Record(number), Path::Mark(number));
        match path {
            Path::Record(_) | Path::Mark(_) => false,
            Path::Temporary(_) => !disk.moves_from(|from| from == path),
            _ if path.is_spool() && disk.is_durable(record) => self.has(Rule::OtherSpoolsGo),
            _ if path.is_spool() => {
                let is_usable = |intent: Option<&Content>, frames: Option<&Content>| {
                    matches!(intent, Some(Content::Intent(_)))
                        && matches!(frames, Some(Content::Frames(frames)) if frames.0.first().is_some_and(|f| f.whole))
                };
                let (intent, frames) = (Path::Intent(number), Path::Frames(number));
                let is_used = is_usable(disk.content(intent), disk.content(frames))
                    || is_usable(disk.durable_content(intent), disk.durable_content(frames));
                !is_used && self.has(Rule::IntentNeeded)
            }
            _ => {
                let is_done = disk.is_durable(record) && disk.is_durable(mark);
                let drops = [Rule::StagingDropped, Rule::StagingEmptied, Rule::RebuildReadsCommitted];
                let is_left = disk.get(record).is_none() && drops.into_iter().all(|rule| self.has(rule));
                let is_staged = |from: Path| from.work_of() == Some(number) && !from.is_spool();
                (is_done || is_left) && !disk.moves_from(is_staged)
            }
        }
    }

    fn killed(&mut self, end: End) {
        let fault = self.missed.then_some(Fault::Missed);
        self.left.push(Left { end, instant: self.instant, disk: self.at_rest(self.disk.clone()), fault });
    }

    /// Syncs `path`, unless this rule is off.
    pub fn sync(&mut self, rule: Rule, path: Path) {
        if !self.disk.has_unsynced(path) || !self.keeps(rule) {
            return;
        }
        // What a power loss leaves is the most right before a sync.
        self.power_lost();
        self.disk.sync(path);
        self.has_new = self.disk.may_lose_directories();
        self.steps += 1;
        if !self.is_quiet && !self.is_dropped(&self.disk, path) {
            self.killed(End::KilledAfterSync(self.steps, path));
        }
    }

    /// Notes what a power loss leaves now.
    pub fn power_lost(&mut self) {
        if self.is_quiet || !self.has_new || !self.disk.is_dirty() {
            return;
        }
        self.has_new = false;
        let disk = &self.disk;
        let is_settled = |change: &Change| change.paths().all(|path| self.is_dropped(disk, path));
        let losses = disk.power_losses(is_settled);
        for disk in losses {
            let fault = is_torn(&disk).then_some(Fault::Torn);
            let disk = self.at_rest(disk);
            self.left.push(Left { end: End::PowerLost(self.steps), instant: self.instant, disk, fault });
        }
    }

    /// Makes a directory and what is missing above it, and syncs every new
    /// entry into its parent.
    pub fn create_directory(&mut self, path: Path) {
        if self.disk.get(path).is_some() {
            return;
        }
        let Some(parent) = path.parent(self.disk.deep) else { return };
        self.create_directory(parent);
        self.step(Change::Put(path, Item::Directory));
        let rule = match parent {
            Path::State => Rule::MadeInState,
            Path::Spools => Rule::MadeInSpools,
            Path::Stagings => Rule::MadeInStagings,
            Path::Staging(_) => Rule::MadeInStaging,
            Path::StagedTable(..) => Rule::MadeInStagedTable,
            Path::Table(_) => Rule::MadeInTable,
            _ => Rule::MadeInRoot,
        };
        self.sync(rule, parent);
    }

    /// A new file with its content; fails if it is there.
    pub fn create(&mut self, path: Path, content: Content) -> Result<(), Failed> {
        if self.disk.get(path).is_some() {
            return Err(Failed);
        }
        self.step(Change::Put(path, Item::File(Content::Torn)));
        self.step(Change::Fill(path, content));
        Ok(())
    }

    /// Writes a file whole in one step.
    pub fn write_atomically(
        &mut self,
        path: Path,
        temporary: Path,
        content: Content,
        syncs: [Rule; 2],
    ) -> Result<(), Failed> {
        self.remove_if_there(temporary);
        self.create(temporary, content)?;
        self.sync(syncs[0], temporary);
        self.step(Change::Rename(temporary, path));
        if let Some(parent) = path.parent(self.disk.deep) {
            self.sync(syncs[1], parent);
        }
        Ok(())
    }

    /// Removes a file if it is there.
    pub fn remove_if_there(&mut self, path: Path) {
        if self.disk.get(path).is_some() {
            self.step(Change::Remove(path));
        }
    }

    /// Removes a spool, its files in either order.
    pub fn remove_spool(&mut self, number: u8) {
        let files = [Path::Intent(number), Path::IntentTemporary(number), Path::Frames(number)];
        if self.disk.get(Path::Frames(number)).is_some() && self.disk.get(Path::Intent(number)).is_some() {
            let change = Change::Remove(Path::Frames(number));
            let mut other = self.disk.clone();
            other.step(change.clone());
            self.also(other, change);
        }
        files.into_iter().for_each(|path| self.remove_if_there(path));
        self.remove_if_there(Path::Spool(number));
    }

    /// Removes a staging.
    pub fn remove_staging(&mut self, number: u8) {
        if self.disk.get(Path::Staging(number)).is_some() {
            self.step(Change::RemoveTree(Path::Staging(number)));
        }
    }
}

/// The calls that a reader finds in `calls` and in the child, as bits.
fn seen(disk: &Disk) -> [u8; 2] {
    let mut seen = [0; 2];
    for (path, item) in disk.all() {
        let (Path::Part(table @ (Table::Calls | Table::Child), ..), Item::File(Content::Rows(rows))) = (path, item)
        else {
            continue;
        };
        for call in 0..CALLS {
            seen[usize::from(table == Table::Calls)] |= u8::from(rows[call] > 0) << call;
        }
    }
    seen
}

/// Whether a file in place cannot be read.
fn is_torn(disk: &Disk) -> bool {
    disk.all().any(|(path, item)| matches!((path, item), (Path::Part(..), Item::File(Content::Torn))))
}
