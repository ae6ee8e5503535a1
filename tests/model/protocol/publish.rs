//! The stages of a commit, in the order that the rules give: the mirror of
//! `src/dataset/stage.rs`, `commit.rs` and `publish.rs`.

use super::content::{Commit, Content, Frame, Frames, Item, Written};
use super::disk::Change;
use super::io::{Failed, Io};
use super::path::{Path, Table};
use super::rules::Rule;
use std::collections::BTreeSet;

/// A stage of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Intent and frames.
    Spool,
    /// All files made and synced.
    Staging,
    /// The commit record: the commit point.
    Commit,
    /// Renames.
    Publish(Table),
    /// Files taken away.
    Remove,
    /// Every directory touched, and those above.
    Sync,
    /// `<n>.published`.
    Mark,
    /// The spool goes.
    CleanSpool(u8),
    /// Staging goes.
    CleanStaging(u8),
}

/// What the stages of a commit need.
pub struct Work {
    /// The commit.
    pub commit: Commit,
    /// The lines that were collected, if the commit has a spool.
    pub intent: Option<u8>,
    /// What is appended to the spool.
    pub fetched: Vec<(usize, u8)>,
    /// Files that the staged ones are made from.
    pub deltas: Vec<Path>,
    /// Whether another batch of this run follows.
    pub has_next: bool,
}

/// The stages in their order.
fn order(io: &Io<'_>, number: u8) -> Vec<Stage> {
    let all = [
        Stage::Spool,
        Stage::Staging,
        Stage::Commit,
        Stage::Publish(Table::Quarantine),
        Stage::Publish(Table::Raw),
        Stage::Publish(Table::Child),
        Stage::Publish(Table::Calls),
        Stage::Publish(Table::Ledger),
        Stage::Remove,
        Stage::Sync,
        Stage::Mark,
        Stage::CleanSpool(number),
        Stage::CleanStaging(number),
    ];
    let between = [
        Rule::SpoolThenStaging,
        Rule::StagingThenCommit,
        Rule::CommitThenQuarantine,
        Rule::QuarantineThenRaw,
        Rule::RawThenChildren,
        Rule::ChildrenThenCalls,
        Rule::CallsThenLedger,
        Rule::LedgerThenRemove,
        Rule::RemoveThenSync,
        Rule::SyncThenMark,
    ];
    let mut order = all.to_vec();
    for (at, rule) in between.into_iter().enumerate() {
        if !io.has(rule) {
            order.swap(at, at + 1);
        }
    }
    if !io.has(Rule::MarkThenClean) {
        order.swap(10, 11);
        order.swap(11, 12);
    }
    if !io.has(Rule::SpoolThenStagingCleaned) {
        order.swap(11, 12);
    }
    if !io.has(Rule::MergedThenInputs) {
        order.remove(8);
        order.insert(3, Stage::Remove);
    }
    order
}

/// Asks for the rules of order that matter to this commit.
fn note_order(io: &mut Io<'_>, commit: &Commit, has_spool: bool) {
    let has = |table| commit.files.iter().any(|file| file.table == table);
    let removes = !commit.removed.is_empty();
    let matters = [
        (has_spool, Rule::SpoolThenStaging),
        (true, Rule::StagingThenCommit),
        (has(Table::Quarantine), Rule::CommitThenQuarantine),
        (has(Table::Quarantine) && has(Table::Raw), Rule::QuarantineThenRaw),
        (has(Table::Raw) && has(Table::Child), Rule::RawThenChildren),
        (has(Table::Child), Rule::ChildrenThenCalls),
        (has(Table::Calls) && has(Table::Ledger), Rule::CallsThenLedger),
        (has(Table::Ledger) && removes, Rule::LedgerThenRemove),
        (removes, Rule::RemoveThenSync),
        (true, Rule::SyncThenMark),
        (true, Rule::MarkThenClean),
        (has_spool, Rule::SpoolThenStagingCleaned),
        (removes && !has_spool, Rule::MergedThenInputs),
    ];
    for (matters, rule) in matters {
        if matters {
            io.keeps(rule);
        }
    }
}

/// Does everything from the spool to the clean-up.
pub fn commit(io: &mut Io<'_>, work: &Work) -> Result<(), Failed> {
    note_order(io, &work.commit, work.intent.is_some());
    let mut renamed = BTreeSet::new();
    for stage in order(io, work.commit.number) {
        match stage {
            Stage::Spool => {
                if let Some(cursor) = work.intent {
                    spool(io, work.commit.number, cursor, &work.fetched)?;
                }
            }
            Stage::Staging => {
                stage_files(io, work)?;
                for stage in std::mem::take(&mut io.put_off) {
                    clean(io, stage);
                }
            }
            Stage::Commit => {
                let number = work.commit.number;
                let record = Content::Commit(Written::new(work.commit.clone()));
                let syncs = [Rule::RecordFile, Rule::RecordDirectory];
                io.write_atomically(Path::Record(number), Path::Temporary(number), record, syncs)?;
                if work.has_next && !io.keeps(Rule::BatchAfterPublish) {
                    return Ok(());
                }
            }
            _ => publish_stage(io, &work.commit, stage, &mut renamed)?,
        }
    }
    Ok(())
}

/// Publishes a commit whose record stands.
pub fn publish(io: &mut Io<'_>, commit: &Commit) -> Result<(), Failed> {
    let mut renamed = BTreeSet::new();
    for stage in order(io, commit.number) {
        if !matches!(stage, Stage::Spool | Stage::Staging | Stage::Commit) {
            publish_stage(io, commit, stage, &mut renamed)?;
        }
    }
    Ok(())
}

/// Begins the spool of a commit, or goes on with what is there, and appends.
pub fn spool(io: &mut Io<'_>, number: u8, cursor: u8, fetched: &[(usize, u8)]) -> Result<(), Failed> {
    let (intent, temporary) = (Path::Intent(number), Path::IntentTemporary(number));
    let syncs = [Rule::IntentFile, Rule::IntentDirectory];
    if leftover(io, number).is_some_and(|(_, frames)| !frames.0.is_empty()) {
        if !io.keeps(Rule::IntentKept) {
            io.write_atomically(intent, temporary, Content::Intent(cursor), syncs)?;
        }
    } else {
        io.remove_spool(number);
        io.create_directory(Path::Spool(number));
        io.write_atomically(intent, temporary, Content::Intent(cursor), syncs)?;
        io.create(Path::Frames(number), Content::Frames(Frames::default()))?;
    }
    for &(call, version) in fetched {
        append(io, number, call, version);
    }
    Ok(())
}

/// Appends a record that is not there. A kill or a power loss in between leaves
/// a bad frame.
fn append(io: &mut Io<'_>, number: u8, call: usize, version: u8) {
    let path = Path::Frames(number);
    let Some(Content::Frames(mut frames)) = io.disk.content(path).cloned() else { return };
    if frames.0.iter().any(|frame| frame.call == call && frame.version == version && frame.whole) {
        return;
    }
    frames.0.push(Frame { call, version, whole: true });
    if !io.keeps(Rule::FramesCut) {
        // Where bad frames are cut off they are as if they had not come.
        let mut bad = frames.clone();
        bad.0.last_mut().into_iter().for_each(|frame| frame.whole = false);
        io.step(Change::Fill(path, Content::Frames(bad)));
    }
    io.step(Change::Fill(path, Content::Frames(frames)));
}

/// What a killed run left for commit `number`: the intent's cursor and the
/// frames, cut at the first bad one. Without an intent, nothing.
pub fn leftover(io: &mut Io<'_>, number: u8) -> Option<(u8, Frames)> {
    let intent = match io.disk.content(Path::Intent(number)) {
        Some(Content::Intent(cursor)) => Some(*cursor),
        _ => None,
    };
    let path = Path::Frames(number);
    let present = match io.disk.content(path) {
        Some(Content::Frames(frames)) => Some(frames.clone()),
        _ => None,
    };
    let cursor = match intent {
        Some(cursor) => cursor,
        None if present.as_ref().is_some_and(|frames| !frames.0.is_empty()) && !io.keeps(Rule::IntentNeeded) => u8::MAX,
        None => {
            io.remove_spool(number);
            return None;
        }
    };
    if io.disk.get(path).is_none() {
        io.step(Change::Put(path, Item::File(Content::Torn)));
    }
    let present = present.unwrap_or_default();
    let good = present.good();
    if good == present || !io.keeps(Rule::FramesCut) {
        return Some((cursor, present));
    }
    io.step(Change::Fill(path, Content::Frames(good.clone())));
    Some((cursor, good))
}

fn stage_files(io: &mut Io<'_>, work: &Work) -> Result<(), Failed> {
    let number = work.commit.number;
    if io.disk.get(Path::Staging(number)).is_some() && io.keeps(Rule::StagingEmptied) {
        io.remove_staging(number);
    }
    io.create_directory(Path::Staging(number));
    for &delta in &work.deltas {
        io.create(delta, Content::Mark)?;
        io.sync(Rule::DeltaFile, delta);
    }
    let deep = io.disk.deep;
    let mut directories = BTreeSet::new();
    for file in &work.commit.files {
        if let Some(parent) = file.staged.parent(deep) {
            io.create_directory(parent);
            directories.insert(parent);
        }
        io.create(file.staged, file.content.clone())?;
        let rule = match file.table {
            Table::Quarantine => Rule::StagedItems,
            Table::Raw => Rule::StagedRaw,
            Table::Child | Table::Calls => Rule::StagedPart,
            Table::Ledger => Rule::StagedLedger,
        };
        io.sync(rule, file.staged);
    }
    for directory in directories {
        let mut above = Some(directory);
        while let Some(path) = above.filter(|path| *path != Path::State) {
            let rule = match path {
                path if path == directory => Rule::FinishDate,
                Path::StagedTable(..) => Rule::FinishTable,
                Path::Staging(_) => Rule::FinishStaging,
                _ => Rule::FinishStagings,
            };
            io.sync(rule, path);
            above = path.parent(deep);
        }
    }
    Ok(())
}

fn publish_stage(io: &mut Io<'_>, commit: &Commit, stage: Stage, renamed: &mut BTreeSet<Path>) -> Result<(), Failed> {
    match stage {
        Stage::Publish(table) => {
            for file in commit.files.iter().filter(|file| file.table == table) {
                let Some(directory) = file.path.parent(io.disk.deep) else { continue };
                io.create_directory(directory);
                if io.disk.get(file.staged).is_some() {
                    io.step(Change::Rename(file.staged, file.path));
                    renamed.insert(directory);
                    continue;
                }
                if !io.keeps(Rule::FoundInPlace) {
                    return Err(Failed);
                }
                let agrees = io.disk.content(file.path) == Some(&file.content);
                if !agrees && (io.keeps(Rule::HashAgrees) || io.disk.get(file.path).is_none()) {
                    return Err(Failed);
                }
            }
        }
        Stage::Remove => {
            for &path in &commit.removed {
                if io.disk.get(path).is_some() {
                    renamed.extend(path.parent(io.disk.deep));
                }
                io.remove_if_there(path);
            }
        }
        Stage::Sync => sync_touched(io, commit, renamed),
        Stage::Mark => {
            let number = commit.number;
            let syncs = [Rule::MarkFile, Rule::MarkDirectory];
            io.write_atomically(Path::Mark(number), Path::Temporary(number), Content::Mark, syncs)?;
            if io.disk.is_durable(Path::Mark(number)) && io.disk.is_durable(Path::Record(number)) {
                // State is whole in the newest: the model keeps no older ones.
                io.disk.forget(|path| matches!(path, Path::Record(n) | Path::Mark(n) if n < number));
            }
        }
        Stage::CleanSpool(_) | Stage::CleanStaging(_) if !io.keeps(Rule::CleanThenStaging) => io.put_off.push(stage),
        _ => clean(io, stage),
    }
    Ok(())
}

/// Does the clean-ups that were put off.
pub fn clean_up(io: &mut Io<'_>) {
    for stage in std::mem::take(&mut io.put_off) {
        clean(io, stage);
    }
}

/// Removes what the commit needed.
pub fn clean(io: &mut Io<'_>, stage: Stage) {
    match stage {
        Stage::CleanSpool(number) => io.remove_spool(number),
        Stage::CleanStaging(number) => io.remove_staging(number),
        _ => {}
    }
}

/// Syncs every directory touched, and those above.
fn sync_touched(io: &mut Io<'_>, commit: &Commit, renamed: &BTreeSet<Path>) {
    let deep = io.disk.deep;
    let paths = commit.files.iter().map(|file| file.path).chain(commit.removed.iter().copied());
    let touched: BTreeSet<Path> = paths.filter_map(|path| path.parent(deep)).collect();
    for directory in touched {
        if !renamed.contains(&directory) && !io.keeps(Rule::FoundDoneSynced) {
            continue;
        }
        let mut above = Some(directory);
        while let Some(path) = above {
            let rule = match path {
                Path::Dated(Table::Raw, _) => Rule::PublishedRaw,
                Path::Dated(Table::Ledger, _) => Rule::PublishedLedger,
                Path::Dated(..) => Rule::PublishedDate,
                Path::Items => Rule::PublishedItems,
                Path::Table(_) => Rule::PublishedTable,
                Path::State => Rule::PublishedState,
                _ => Rule::PublishedRoot,
            };
            io.sync(rule, path);
            above = path.parent(deep);
        }
    }
}
