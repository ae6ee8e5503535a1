//! What a commit puts in place: the mirror of `src/dataset/prepare.rs`,
//! `maintain.rs` and `rebuild.rs`.

use super::content::{CALLS, Commit, Content, Frame, Frames, Item, Noted, Pending, PutFile, Versions};
use super::disk::Disk;
use super::io::{Failed, Io};
use super::path::{Path, Table};
use super::publish::Work;
use super::rules::Rule;
use std::collections::{BTreeMap, BTreeSet};

/// The parts of a table: date, number, rows. Fails on one that cannot be read.
pub fn parts(disk: &Disk, table: Table) -> Result<Vec<(u8, u8, Versions)>, Failed> {
    let mut parts = Vec::new();
    for (path, item) in disk.all() {
        match (path, item) {
            (Path::Part(of, date, part), Item::File(Content::Rows(rows))) if of == table => {
                parts.push((date, part, *rows));
            }
            (Path::Part(of, ..), _) if of == table => return Err(Failed),
            _ => {}
        }
    }
    Ok(parts)
}

fn put(number: u8, table: Table, date: u8, part: u8, content: Content) -> PutFile {
    let (staged, path) = (Path::Staged(number, table, date, part), Path::Part(table, date, part));
    PutFile { table, staged, path, content }
}

/// A batch.
pub struct Batch {
    /// Its commit, with cursor and pending ids; the rest is filled in here.
    pub commit: Commit,
    /// The lines that were collected.
    pub intent: u8,
    /// What the spool holds already.
    pub spooled: Frames,
    /// What is appended to it.
    pub fetched: Vec<(usize, u8)>,
    /// Calls that stay pending although their record is stored.
    pub stay: [bool; CALLS],
    /// Whether another batch follows.
    pub has_next: bool,
}

/// What became of a call in a batch.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Became {
    Refused,
    Unchanged,
    Accepted,
}

/// Makes the files of a batch.
pub fn batch(io: &mut Io<'_>, batch: Batch) -> Result<Work, Failed> {
    let mut commit = batch.commit;
    let number = commit.number;
    let around = io.around;
    let before = ledger(&io.disk)?;
    let mut noted = before;
    let mut frames = batch.spooled.0.clone();
    frames.extend(batch.fetched.iter().map(|&(call, version)| Frame { call, version, whole: true }));
    let mut items: Versions = [0; CALLS];
    let mut segments: BTreeMap<u8, Versions> = BTreeMap::new();
    let mut rows: BTreeMap<(u8, u8), Versions> = BTreeMap::new();
    let mut deltas = BTreeSet::new();
    for call in 0..CALLS {
        let mut of_call = frames.iter().filter(|frame| frame.call == call);
        let Some(&first) = of_call.next() else { continue };
        let highest = of_call.fold(first, |a, b| if b.version >= a.version { *b } else { a });
        let frame = if highest != first && !io.keeps(Rule::HighestInBatch) { first } else { highest };
        let version = frame.version;
        let date = around.date(call, version);
        let stored: Vec<(u8, u8, u8)> = parts(&io.disk, Table::Calls)?
            .into_iter()
            .filter(|(_, _, rows)| rows[call] > 0)
            .filter(|(at, ..)| *at == date || io.keeps(Rule::AllDatesLookedUp))
            .map(|(date, part, rows)| (date, part, rows[call]))
            .collect();
        let not_higher = stored.iter().any(|(_, _, old)| *old >= version);
        let became = if !frame.whole {
            Became::Refused
        } else if not_higher && io.keeps(Rule::OnlyHigher) {
            Became::Unchanged
        } else if around.is_refused(call, version) {
            Became::Refused
        } else {
            Became::Accepted
        };
        if became == Became::Refused {
            items[call] = version;
            commit.refused.push((number, call, version));
            if !batch.stay[call] || !io.keeps(Rule::RefusedStaysPending) {
                commit.pending[call] = None;
            }
            noted[call] = Noted::Quarantined;
            continue;
        }
        if !batch.stay[call] {
            commit.pending[call] = None;
        }
        noted[call] = Noted::Exported(version);
        if became == Became::Unchanged {
            noted[call] = Noted::Exported(stored.iter().map(|(_, _, old)| *old).max().unwrap_or(version));
            continue;
        }
        segments.entry(date).or_default()[call] = version;
        let target = stored.iter().find(|(at, ..)| *at == date).map(|(_, part, _)| *part);
        rows.entry((date, target.unwrap_or(number))).or_default()[call] = version;
        if target.is_some() {
            deltas.extend(around.records().iter().map(|table| Path::Delta(number, *table)));
        }
        for (at, part, _) in stored {
            if target == Some(part) || io.keeps(Rule::OldRowsGo) {
                rows.entry((at, part)).or_default();
            }
        }
    }
    for call in 0..CALLS {
        if commit.pending[call].is_some() && matches!(noted[call], Noted::Unknown) {
            noted[call] = Noted::Pending;
        }
    }
    if items != [0; CALLS] {
        commit.files.push(put(number, Table::Quarantine, 0, number, Content::Rows(items)));
    }
    for (date, versions) in segments {
        commit.files.push(put(number, Table::Raw, date, number, Content::Rows(versions)));
    }
    for &table in around.records() {
        let mut files = Vec::new();
        for (&(date, part), new) in &rows {
            let path = Path::Part(table, date, part);
            let old = match io.disk.content(path) {
                Some(Content::Rows(old)) => Some(*old),
                Some(_) => return Err(Failed),
                None => None,
            };
            let mut left = old.unwrap_or_default();
            for call in 0..CALLS {
                let moved = rows.values().any(|new| new[call] > 0);
                if moved {
                    left[call] = new[call];
                }
            }
            if left != [0; CALLS] {
                files.push((old.is_some(), put(number, table, date, part, Content::Rows(left))));
            } else if old.is_some() {
                commit.removed.push(path);
            }
        }
        let both = files.iter().any(|(is_old, _)| *is_old) && files.iter().any(|(is_old, _)| !is_old);
        let old_last = !both || io.keeps(Rule::NewThenOld);
        files.sort_by_key(|(is_old, _)| *is_old == old_last);
        commit.files.extend(files.into_iter().map(|(_, file)| file));
    }
    if noted != before {
        commit.files.push(put(number, Table::Ledger, 0, 0, Content::Ledger(noted)));
    }
    Ok(Work {
        commit,
        intent: Some(batch.intent),
        fetched: batch.fetched,
        deltas: deltas.into_iter().collect(),
        has_next: batch.has_next,
    })
}

/// What the ledger says. Fails if it cannot be read.
pub fn ledger(disk: &Disk) -> Result<[Noted; CALLS], Failed> {
    match disk.content(Path::Part(Table::Ledger, 0, 0)) {
        Some(Content::Ledger(noted)) => Ok(*noted),
        Some(_) => Err(Failed),
        None => Ok([Noted::Unknown; CALLS]),
    }
}

/// What a commit after `newest` begins with.
pub fn after(newest: &Commit) -> Commit {
    Commit {
        number: newest.number + 1,
        cursor: newest.cursor,
        pending: newest.pending,
        refused: newest.refused.clone(),
        ..Commit::default()
    }
}

fn work(commit: Commit) -> Work {
    Work { commit, intent: None, fetched: Vec::new(), deltas: Vec::new(), has_next: false }
}

/// The merge of all dates that have more than one part, if there are any.
pub fn merge(io: &mut Io<'_>, newest: &Commit) -> Result<Option<Work>, Failed> {
    let mut commit = after(newest);
    for date in 0..2 {
        let mut names = BTreeSet::new();
        for &table in io.around.records() {
            names.extend(parts(&io.disk, table)?.into_iter().filter(|(at, ..)| *at == date).map(|(_, part, _)| part));
        }
        let (Some(&first), true) = (names.first(), names.len() > 1) else { continue };
        let name = if io.keeps(Rule::MergeNumberIsNew) { commit.number } else { first };
        for &table in io.around.records() {
            let mut merged: Versions = [0; CALLS];
            for (_, part, rows) in parts(&io.disk, table)?.into_iter().filter(|(at, ..)| *at == date) {
                for call in 0..CALLS {
                    merged[call] = merged[call].max(rows[call]);
                }
                commit.removed.push(Path::Part(table, date, part));
            }
            commit.files.push(put(commit.number, table, date, name, Content::Rows(merged)));
        }
    }
    Ok((!commit.files.is_empty()).then(|| work(commit)))
}

/// All tables made again from the archive.
pub fn rebuild(io: &mut Io<'_>, newest: &Commit) -> Result<Work, Failed> {
    let mut commit = after(newest);
    let mut segments = parts(&io.disk, Table::Raw)?;
    let staged: Vec<(u8, u8, Versions)> = io
        .disk
        .all()
        .filter_map(|(path, item)| match (path, item) {
            (Path::Staged(_, Table::Raw, date, part), Item::File(Content::Rows(rows))) => Some((date, part, *rows)),
            _ => None,
        })
        .collect();
    if !io.keeps(Rule::RebuildReadsCommitted) {
        segments.extend(staged);
    }
    let mut made: [Versions; 2] = [[0; CALLS]; 2];
    for call in 0..CALLS {
        for &(date, _, rows) in &segments {
            let here = &mut made[usize::from(date)][call];
            *here = (*here).max(rows[call]);
        }
        let highest = made.iter().map(|rows| rows[call]).max().unwrap_or_default();
        if made.iter().all(|rows| rows[call] > 0) && io.keeps(Rule::RebuildOverAllDates) {
            for rows in &mut made {
                if rows[call] < highest {
                    rows[call] = 0;
                }
            }
        }
    }
    for &table in io.around.records() {
        for (date, rows) in made.iter().enumerate().filter(|(_, rows)| **rows != [0; CALLS]) {
            let date = u8::try_from(date).unwrap_or_default();
            commit.files.push(put(commit.number, table, date, commit.number, Content::Rows(*rows)));
        }
        let old = parts(&io.disk, table)?;
        commit.removed.extend(old.into_iter().map(|(date, part, _)| Path::Part(table, date, part)));
    }
    Ok(work(commit))
}

/// The ids that are pending once the log was read from `cursor` on.
pub fn collected(lines: &[usize], cursor: u8, mut pending: [Option<Pending>; CALLS]) -> [Option<Pending>; CALLS] {
    for &call in lines.iter().skip(usize::from(cursor)) {
        pending[call] = Some(Pending::Due);
    }
    pending
}
