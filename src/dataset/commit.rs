//! Commit records: what was read, written, superseded and left to do.
//!
//! The newest one is the whole state. Writing it is the commit point.

use super::layout::Layout;
use crate::crash_point::crash_point;
use crate::error::{Error, Result};
use crate::files::{self, PRIVATE};
use crate::notifications::LogCursor;
use crate::worklist::Pending;
use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The form of the records that this program writes.
const FORMAT: u32 = 1;
/// How many commit records are kept.
const KEPT: u64 = 1000;

/// What a commit was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A batch of a run.
    Batch,
    /// Parts were merged.
    Merge,
    /// Tables were made again from the archive.
    Rebuild,
    /// Tables were brought to a new schema.
    Upgrade,
    /// Calls were taken out.
    Purge,
    /// Items left the quarantine.
    Quarantine,
    /// Telephony logs were collected.
    Logs,
}

/// A file that the commit puts in place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutFile {
    /// The table, `raw` or `quarantine`.
    pub table: String,
    /// Where it is staged, below the root.
    pub staged: String,
    /// Where it goes, below the root.
    pub path: String,
    /// Its rows.
    pub rows: u64,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its SHA-256 in hex.
    pub sha256: String,
}

/// A call whose stored version was replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Superseded {
    /// The call.
    pub call_id: String,
    /// The version that was stored.
    pub version: i64,
    /// The date it stood under.
    pub call_date: NaiveDate,
}

/// An item of the quarantine that the commit adds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    /// Its name in the quarantine.
    pub item: String,
    /// The call, where it is known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub call_id: Option<String>,
    /// Why.
    pub reason: String,
}

/// Figures of a commit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Calls that the tables did not have.
    pub exported_new: u64,
    /// Calls that got a higher version.
    pub exported_updated: u64,
    /// Records whose version the tables had.
    pub unchanged: u64,
    /// Ids given up.
    pub expired: u64,
    /// Items that went to quarantine.
    pub quarantined: u64,
    /// Rows written, by table.
    pub rows: BTreeMap<String, u64>,
    /// Drift by path.
    #[serde(default)]
    pub schema_drift: BTreeMap<String, u64>,
    /// Rows of telephony logs, by table.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub logs: BTreeMap<String, LogCounts>,
}

/// What became of the rows of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogCounts {
    /// Rows that Graph served, those that it served twice too.
    pub served: u64,
    /// Rows that the table did not have.
    pub new: u64,
    /// Rows that replaced an older form.
    pub changed: u64,
    /// Rows that the table had.
    pub unchanged: u64,
}

/// Where the telephony logs stand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logs {
    /// The hash of the catalogue of their tables.
    pub schema: String,
    /// The emergency numbers that the tables were made with.
    pub emergency_numbers: Vec<String>,
    /// The last date that was asked for, by table.
    pub through: BTreeMap<String, NaiveDate>,
}

/// One commit record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Commit {
    /// The form of this record.
    pub format: u32,
    /// Its number, from 1.
    pub number: u64,
    /// What it was made for.
    pub kind: Kind,
    /// The run that made it.
    pub run_id: String,
    /// The clock when it was made.
    pub committed_at: DateTime<Utc>,
    /// The version of the program.
    pub program: String,
    /// The hash of the catalogue.
    pub schema: String,
    /// The tenant whose calls these are.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tenant_id: Option<String>,
    /// Where every log was read to.
    pub cursors: Vec<LogCursor>,
    /// All ids that are in no commit yet.
    pub pending: Vec<Pending>,
    /// Files put in place, in this order.
    pub files: Vec<PutFile>,
    /// Files taken away afterwards, below the root.
    pub removed: Vec<String>,
    /// Calls that were replaced.
    pub superseded: Vec<Superseded>,
    /// Items added to the quarantine.
    pub quarantined: Vec<Quarantined>,
    /// Figures.
    pub counts: Counts,
    /// Where the telephony logs stand, once one was collected.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub logs: Option<Logs>,
}

impl Commit {
    /// The commit `number`, which changes nothing after `newest`.
    #[must_use]
    pub fn after(
        newest: Option<&Self>,
        number: u64,
        kind: Kind,
        run_id: &str,
        schema: &str,
        now: DateTime<Utc>,
    ) -> Self {
        Self {
            format: FORMAT,
            number,
            kind,
            run_id: run_id.to_owned(),
            committed_at: now,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            // Only an upgrade brings every part to another schema.
            schema: newest.filter(|_| kind != Kind::Upgrade).map_or(schema, |c| &c.schema).to_owned(),
            tenant_id: newest.and_then(|c| c.tenant_id.clone()),
            cursors: newest.map(|c| c.cursors.clone()).unwrap_or_default(),
            pending: newest.map(|c| c.pending.clone()).unwrap_or_default(),
            files: Vec::new(),
            removed: Vec::new(),
            superseded: Vec::new(),
            quarantined: Vec::new(),
            counts: Counts::default(),
            logs: newest.and_then(|c| c.logs.clone()),
        }
    }

    /// Writes the record: the commit point.
    ///
    /// # Errors
    /// Any failure of the file system, by class I/O.
    pub fn write(&self, layout: &Layout) -> Result<()> {
        let mut bytes =
            serde_json::to_vec(self).map_err(|e| Error::config("Cannot write a commit record").because(e))?;
        bytes.push(b'\n');
        crash_point("commit::before")?;
        files::write_atomically_past(&record_path(layout, self.number), &bytes, PRIVATE, "commit::renaming")?;
        crash_point("commit::written")?;
        Ok(())
    }

    /// Whether all its steps are done.
    ///
    /// # Errors
    /// Any failure of the file system, by class I/O.
    pub fn is_published(&self, layout: &Layout) -> Result<bool> {
        files::exists(&mark_path(layout, self.number))
    }

    /// Says that all its steps are done.
    ///
    /// # Errors
    /// Any failure of the file system, by class I/O.
    pub fn mark_published(&self, layout: &Layout) -> Result<()> {
        files::write_atomically_past(&mark_path(layout, self.number), b"", PRIVATE, "publish::marking")
    }
}

fn record_path(layout: &Layout, number: u64) -> PathBuf {
    layout.commits().join(format!("{number:06}.json"))
}

fn mark_path(layout: &Layout, number: u64) -> PathBuf {
    layout.commits().join(format!("{number:06}.published"))
}

/// The numbers of all commit records, ascending.
///
/// # Errors
/// Any failure of the file system, by class I/O.
pub fn numbers(layout: &Layout) -> Result<Vec<u64>> {
    let mut numbers: Vec<u64> = files::list(&layout.commits())?
        .iter()
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .filter_map(|path| path.file_stem()?.to_str()?.parse().ok())
        .collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Reads one commit record.
///
/// # Errors
/// By class configuration when the record is damaged or of a later program.
pub fn read(layout: &Layout, number: u64) -> Result<Commit> {
    let path = record_path(layout, number);
    let bytes = files::read_if_there(&path)?.unwrap_or_default();
    let damaged = || {
        Error::config(format!("The commit record {} cannot be read", path.display()))
            .hint("restore it from a backup; the tables and the archive are not touched")
    };
    #[derive(Deserialize)]
    struct Form {
        format: u32,
    }
    let form: Form = serde_json::from_slice(&bytes).map_err(|e| damaged().because(e))?;
    if form.format > FORMAT {
        return Err(Error::config(format!(
            "The commit record {} was written by a later version of callrec",
            path.display()
        ))
        .hint("use that version or a later one"));
    }
    let commit: Commit = serde_json::from_slice(&bytes).map_err(|e| damaged().because(e))?;
    if commit.number != number {
        return Err(damaged());
    }
    Ok(commit)
}

/// The newest commit record.
///
/// # Errors
/// As [`read`].
pub fn newest(layout: &Layout) -> Result<Option<Commit>> {
    numbers(layout)?.last().map(|&number| read(layout, number)).transpose()
}

/// The files that kept commit records name and none has taken away, with their
/// SHA-256.
///
/// # Errors
/// As [`read`].
pub fn named_files(layout: &Layout) -> Result<BTreeMap<String, PutFile>> {
    let mut named = BTreeMap::new();
    for number in numbers(layout)? {
        let commit = read(layout, number)?;
        named.extend(commit.files.into_iter().map(|file| (file.path.clone(), file)));
        for path in &commit.removed {
            named.remove(path);
        }
    }
    Ok(named)
}

/// Removes records that are older than the last thousand: state is whole in
/// the newest, and all but the newest are published.
///
/// # Errors
/// Any failure of the file system, by class I/O.
pub fn prune(layout: &Layout, newest: u64) -> Result<()> {
    for number in numbers(layout)? {
        if number + KEPT > newest {
            break;
        }
        files::remove_if_there(&mark_path(layout, number))?;
        files::remove_if_there(&record_path(layout, number))?;
    }
    Ok(())
}
