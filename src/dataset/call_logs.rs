//! The tables of telephony logs, and their archives.
//!
//! The table of a date is a function of the archive of that date: of rows with one
//! key the one that was archived last counts. So all forms of a row stand under one
//! date; where a row moved to another, its older forms move with it.

mod alerts;
mod verify;

pub use alerts::{Pending, pending, purge_alerts};
pub use verify::{Verified, verify};

use super::Dataset;
use super::commit::{Commit, Kind, LogCounts};
use super::layout::{self, Layout, Part};
use super::lookup;
use super::parquet::PartWriter;
use super::prepare;
use super::stage::Stage;
use crate::arrow::array::AsArray;
use crate::call_logs::{self, Emergency, Head};
use crate::crash_point::crash_point;
use crate::error::{Error, Result};
use crate::files;
use crate::flatten::Drift;
use crate::quarantine::{self, Content, Item};
use crate::raw::{self, SegmentWriter};
use crate::schema::{Log, Table};
use chrono::{DateTime, NaiveDate, Utc};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// Rows that are flattened at once.
const SLICE: usize = 8_192;

/// What was collected, in the order in which it was served.
#[derive(Debug, Default)]
pub struct Collected {
    /// Rows as one line of JSON each, by table.
    pub rows: BTreeMap<String, Vec<Vec<u8>>>,
    /// The last date that was asked for, by table.
    pub through: BTreeMap<String, NaiveDate>,
}

/// The rows of a date by their keys: in the table, the last form of each.
type Rows = HashMap<String, (Head, Vec<u8>)>;

/// Commits what was collected; `None` if the dataset has all of it. With `alerts`
/// new emergency calls are kept to be told of.
///
/// # Errors
/// By class temporary when fetched records wait; any failure of the file system,
/// by class I/O: the tables are then as they were.
pub fn commit(
    dataset: &mut Dataset,
    collected: &Collected,
    emergency: &Emergency,
    run_id: &str,
    now: DateTime<Utc>,
    tenant_id: Option<String>,
    alerts: bool,
) -> Result<(Option<Commit>, BTreeMap<String, LogCounts>)> {
    dataset.check_no_spool()?;
    let (layout, tables) = (dataset.layout.clone(), dataset.tables.clone());
    let mut commit = dataset.begin_commit(Kind::Logs, run_id, now);
    let before = commit.logs.clone();
    let mut logs = before.clone().unwrap_or_default();
    logs.schema.clone_from(&tables.catalogue.logs_hash);
    let other_numbers = logs.emergency_numbers != emergency.numbers();
    logs.emergency_numbers = emergency.numbers().to_vec();
    for (table, date) in &collected.through {
        let through = logs.through.entry(table.clone()).or_insert(*date);
        *through = (*through).max(*date);
    }
    let mut stage = Stage::begin(&layout, &tables, commit.number)?;
    let mut drift = Drift::default();
    let mut items = Vec::new();
    let mut emergencies = Vec::new();
    for (number, table) in tables.catalogue.logs.iter().enumerate() {
        let mut work = Work::new(table)?;
        if let Some(lines) = collected.rows.get(&table.name) {
            work.take(lines, now, &mut items);
            work.find_moved(&layout)?;
            crash_point("logs::looked_up")?;
            work.archive(&mut stage, &mut commit.removed)?;
            crash_point("logs::archived")?;
            if alerts {
                emergencies.extend(work.emergencies(&tables.logs[number].schema, emergency)?);
            }
            commit.counts.logs.insert(table.name.clone(), work.counts);
        }
        if other_numbers && table.column("is_emergency").is_some() {
            work.touched.extend(dates(&layout, &table.name)?);
        }
        for date in std::mem::take(&mut work.touched) {
            let rows = work.rows.remove(&date).map_or_else(|| work.stored(&layout, date), Ok)?;
            let made = Made { table, number, emergency, date };
            made.stage(&mut stage, dataset, rows, &mut drift, &mut commit.removed)?;
            crash_point("logs::part")?;
        }
    }
    commit.tenant_id = tenant_id.or(commit.tenant_id);
    alerts::stage(&mut stage, emergencies, &commit)?;
    forget_known(&layout, &mut items)?;
    let counts = commit.counts.logs.clone();
    if stage.files.is_empty() && commit.removed.is_empty() && items.is_empty() && before.as_ref() == Some(&logs) {
        files::remove_directory(&layout.staging(commit.number))?;
        return Ok((None, counts));
    }
    commit.quarantined = prepare::stage_quarantine(&mut stage, &mut items)?;
    commit.counts.quarantined = commit.quarantined.len() as u64;
    commit.counts.schema_drift = drift.counts();
    commit.logs = Some(logs);
    commit.files = stage.finish()?;
    crash_point("logs::staged")?;
    dataset.commit(commit.clone())?;
    Ok((Some(commit), counts))
}

/// The rows of one table on their way into it.
struct Work<'a> {
    table: &'a Table,
    log: &'a Log,
    archive: String,
    /// The rows of the dates that were served, as the tables will have them.
    rows: BTreeMap<NaiveDate, Rows>,
    /// Keys of rows that are new under their date, or have another form.
    changed: BTreeMap<NaiveDate, Vec<String>>,
    /// Of these, those that the date did not have.
    new: BTreeSet<String>,
    /// Where else such a row stands.
    moved: BTreeMap<NaiveDate, BTreeMap<String, NaiveDate>>,
    touched: BTreeSet<NaiveDate>,
    /// The older forms of rows that have changed.
    older: HashMap<String, Vec<u8>>,
    counts: LogCounts,
}

impl<'a> Work<'a> {
    fn new(table: &'a Table) -> Result<Self> {
        Ok(Self {
            table,
            log: log_of(table)?,
            archive: layout::archive_of(&table.name),
            rows: BTreeMap::new(),
            changed: BTreeMap::new(),
            new: BTreeSet::new(),
            moved: BTreeMap::new(),
            touched: BTreeSet::new(),
            older: HashMap::new(),
            counts: LogCounts::default(),
        })
    }

    fn stored(&self, layout: &Layout, date: NaiveDate) -> Result<Rows> {
        archived(layout, &self.table.name, self.log, date)
    }

    /// Compares what was served with what is stored under the same dates.
    fn take(&mut self, lines: &[Vec<u8>], now: DateTime<Utc>, items: &mut Vec<Item>) {
        self.counts.served = lines.len() as u64;
        let mut served: HashMap<String, (Head, &[u8])> = HashMap::new();
        for line in lines {
            match call_logs::head(line, self.log) {
                Ok(head) => drop(served.insert(head.key.clone(), (head, line))),
                Err(refused) => items.push(Item {
                    item: String::new(),
                    kind: quarantine::Kind::Answer,
                    call_id: None,
                    file: None,
                    offset: None,
                    reason: refused.to_string(),
                    at: now,
                    content: Content::new(line),
                }),
            }
        }
        for (key, (head, line)) in served {
            let date = head.date();
            self.changed.entry(date).or_default().push(key.clone());
            self.rows.entry(date).or_default().insert(key, (head, line.to_vec()));
        }
    }

    /// Leaves only what is new or changed, and finds the rows that stand under
    /// another date.
    fn find_moved(&mut self, layout: &Layout) -> Result<()> {
        for (date, served) in &mut self.rows {
            let mut stored = archived(layout, &self.table.name, self.log, *date)?;
            let keys = self.changed.entry(*date).or_default();
            if self.log.daily && *served == stored {
                self.counts.unchanged += keys.len() as u64;
                keys.clear();
                continue;
            }
            let before = keys.clone();
            keys.retain(|key| match (stored.get(key), served.get(key)) {
                (Some((_, old)), Some((_, new))) if old == new => {
                    self.counts.unchanged += 1;
                    false
                }
                (Some((_, old)), _) => {
                    self.older.insert(key.clone(), old.clone());
                    self.counts.changed += 1;
                    true
                }
                (None, _) => {
                    self.new.insert(key.clone());
                    true
                }
            });
            if self.log.daily {
                // A day of a report is replaced whole.
                *keys = before;
                self.touched.insert(*date);
                continue;
            }
            if !keys.is_empty() {
                self.touched.insert(*date);
            }
            stored.extend(std::mem::take(served));
            *served = stored;
        }
        let ids: HashSet<&str> = self.new.iter().map(String::as_str).collect();
        let mut places: Vec<(String, NaiveDate)> = Vec::new();
        if let [_] = self.log.key.as_slice() {
            lookup::search_by("id", layout, &self.table.name, &ids, Some(&["id"]), |part, batch| {
                let column = batch.column_by_name("id").and_then(|column| column.as_string_opt::<i32>());
                let found = column.into_iter().flat_map(|column| column.iter().flatten());
                places.extend(found.filter(|id| ids.contains(id)).map(|id| (id.to_owned(), part.date)));
                Ok(())
            })?;
        }
        let dates: HashMap<&str, NaiveDate> =
            self.changed.iter().flat_map(|(date, keys)| keys.iter().map(|key| (key.as_str(), *date))).collect();
        for (key, from) in places {
            if let Some(to) = dates.get(key.as_str()).filter(|to| **to != from) {
                self.moved.entry(from).or_default().insert(key, *to);
            }
        }
        let moved: u64 = self.moved.values().map(|keys| keys.len() as u64).sum();
        self.counts.changed += moved;
        self.counts.new = (self.new.len() as u64).saturating_sub(moved);
        Ok(())
    }

    /// Stages the new segments, and those that rows move out of.
    fn archive(&mut self, stage: &mut Stage<'_>, removed: &mut Vec<String>) -> Result<()> {
        let layout = stage.layout().clone();
        // Older forms come before the newer one.
        let mut older: BTreeMap<NaiveDate, Vec<Vec<u8>>> = BTreeMap::new();
        for (from, keys) in std::mem::take(&mut self.moved) {
            if !self.rows.contains_key(&from) {
                let stored = self.stored(&layout, from)?;
                self.rows.insert(from, stored);
            }
            if let Some(rows) = self.rows.get_mut(&from) {
                let moved = rows.extract_if(|key, _| keys.contains_key(key));
                self.older.extend(moved.map(|(key, (_, line))| (key, line)));
            }
            self.touched.insert(from);
            for segment in segments(&layout, &self.archive, from)? {
                let (mut kept, mut taken) = (Vec::new(), 0);
                each_row(&segment, self.log, |head, line| {
                    match keys.get(&head.key) {
                        Some(to) => {
                            taken += 1;
                            older.entry(*to).or_default().push(line.to_vec());
                        }
                        None => kept.push(line.to_vec()),
                    }
                    Ok(())
                })?;
                let relative = layout::relative(&self.archive, from, &segment.name);
                if taken > 0 && kept.is_empty() {
                    removed.push(relative);
                } else if taken > 0 {
                    self.segment(stage, &relative, kept.iter().map(Vec::as_slice))?;
                }
            }
        }
        for (date, keys) in &self.changed {
            let relative = layout::relative(&self.archive, *date, &layout::segment_name(stage.number()));
            let rows = self.rows.get(date);
            let mut new: Vec<&(Head, Vec<u8>)> = keys.iter().filter_map(|key| rows?.get(key)).collect();
            new.sort_unstable();
            let lines = older.get(date).into_iter().flatten().chain(new.iter().map(|(_, line)| line));
            let lines: Vec<&[u8]> = lines.map(Vec::as_slice).collect();
            if !lines.is_empty() {
                self.segment(stage, &relative, lines.into_iter())?;
            }
        }
        Ok(())
    }

    fn segment<'b>(&self, stage: &mut Stage<'_>, relative: &str, lines: impl Iterator<Item = &'b [u8]>) -> Result<()> {
        let mut writer = SegmentWriter::create(&stage.path(relative)?)?;
        for line in lines {
            writer.write(line)?;
        }
        let rows = writer.finish()?;
        stage.put(&self.archive, relative, rows)
    }
}

/// The part of one date.
struct Made<'a> {
    table: &'a Table,
    number: usize,
    emergency: &'a Emergency,
    date: NaiveDate,
}

impl Made<'_> {
    /// Stages the part in the place of that which is there.
    fn stage(
        &self,
        stage: &mut Stage<'_>,
        dataset: &Dataset,
        rows: Rows,
        drift: &mut Drift,
        removed: &mut Vec<String>,
    ) -> Result<()> {
        let name = &self.table.name;
        let there = dataset.layout.parts_of(name, self.date)?;
        // Under the same name it is replaced by one rename.
        let keeps = there.first().filter(|_| !rows.is_empty()).map(|part| part.name.clone());
        for part in there.iter().filter(|part| Some(&part.name) != keeps.as_ref()) {
            removed.push(layout::relative(name, self.date, &part.name));
        }
        if rows.is_empty() {
            return Ok(());
        }
        let part = keeps.unwrap_or_else(|| layout::part_name(stage.number()));
        let relative = layout::relative(name, self.date, &part);
        let path = stage.path(&relative)?;
        let modes = stage.modes(name);
        let format = &dataset.tables.logs[self.number];
        let mut writer = PartWriter::create(&path, format, modes)?;
        let mut rows: Vec<(Head, Vec<u8>)> = rows.into_values().collect();
        rows.sort_unstable();
        for slice in rows.chunks(SLICE) {
            let lines = slice.iter().map(|(_, line)| line.as_slice());
            writer.write(call_logs::batch(lines, self.table, &format.schema, self.emergency, drift)?)?;
        }
        let written = writer.finish()?;
        stage.put(name, &relative, written.rows)
    }
}

/// Makes all tables of logs again from their archives, as a part of `commit`.
///
/// # Errors
/// Any failure of the file system, by class I/O; by class configuration when an
/// archive holds what is no row.
pub fn rebuild(stage: &mut Stage<'_>, dataset: &Dataset, commit: &mut Commit) -> Result<()> {
    let Some(logs) = &mut commit.logs else { return Ok(()) };
    logs.schema.clone_from(&dataset.tables.catalogue.logs_hash);
    let emergency = Emergency::new(&logs.emergency_numbers);
    let mut drift = Drift::default();
    for (number, table) in dataset.tables.catalogue.logs.iter().enumerate() {
        for date in dates(&dataset.layout, &table.name)? {
            let rows = archived(&dataset.layout, &table.name, log_of(table)?, date)?;
            let made = Made { table, number, emergency: &emergency, date };
            made.stage(stage, dataset, rows, &mut drift, &mut commit.removed)?;
        }
    }
    for (path, count) in drift.counts() {
        *commit.counts.schema_drift.entry(path).or_default() += count;
    }
    Ok(())
}

/// Parts and segments of dates before `date`, which is all that `purge` takes of logs.
///
/// # Errors
/// Any failure of the file system, by class I/O.
pub fn before(dataset: &Dataset, date: NaiveDate) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for table in &dataset.tables.catalogue.logs {
        for name in [table.name.clone(), layout::archive_of(&table.name)] {
            let parts = dataset.layout.parts(&name)?.into_iter().filter(|part| part.date < date);
            found.extend(parts.map(|part| layout::relative(&name, part.date, &part.name)));
        }
    }
    Ok(found)
}

fn log_of(table: &Table) -> Result<&Log> {
    table.log.as_ref().ok_or_else(|| Error::config(format!("{} is no table of a log", table.name)))
}

/// The dates that the archive of a table has.
fn dates(layout: &Layout, table: &str) -> Result<BTreeSet<NaiveDate>> {
    Ok(layout.parts(&layout::archive_of(table))?.into_iter().map(|part| part.date).collect())
}

/// The segments of a date in the order in which they were written.
fn segments(layout: &Layout, archive: &str, date: NaiveDate) -> Result<Vec<Part>> {
    let mut parts = layout.parts_of(archive, date)?;
    // Names have six digits, until there are more.
    parts.sort_by_key(|part| (part.name.len(), part.name.clone()));
    Ok(parts)
}

/// The rows of a date, each in the form that was archived last.
fn archived(layout: &Layout, table: &str, log: &Log, date: NaiveDate) -> Result<Rows> {
    let mut rows = Rows::new();
    for segment in segments(layout, &layout::archive_of(table), date)? {
        if log.daily {
            // A day of a report was archived whole.
            rows.clear();
        }
        each_row(&segment, log, |head, line| {
            rows.insert(head.key.clone(), (head, line.to_vec()));
            Ok(())
        })?;
    }
    Ok(rows)
}

fn each_row(segment: &Part, log: &Log, mut each: impl FnMut(Head, &[u8]) -> Result<()>) -> Result<()> {
    raw::read_segment(&segment.path, |offset, line| {
        let head = call_logs::head(line, log).map_err(|refused| {
            Error::config(format!("{} at {offset} holds what is no row: {refused}", segment.path.display()))
                .hint("restore that file from a backup")
        })?;
        each(head, line)
    })
}

/// Leaves out rows that are in the quarantine from an earlier collection.
fn forget_known(layout: &Layout, items: &mut Vec<Item>) -> Result<()> {
    if items.is_empty() {
        return Ok(());
    }
    let mut known: HashSet<Vec<u8>> = HashSet::new();
    for (_, there) in quarantine::read(&layout.quarantine())? {
        known.extend(there.iter().filter(|item| item.reason.starts_with("log-row-")).map(|item| item.content.bytes()));
    }
    items.retain(|item| known.insert(item.content.bytes()));
    Ok(())
}
