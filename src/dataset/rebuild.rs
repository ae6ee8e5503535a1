//! Makes the record tables again from the archive, in the merged layout.
//!
//! The highest version of a call over all dates is picked before any is
//! written. Calls whose archive is gone keep the rows that they have.

use super::Dataset;
use super::commit::{self, Commit, Kind};
use super::layout::{self, LEDGER, RAW};
use super::merge::{Input, merge};
use super::order::{self, Entry, Pool};
use super::parquet::{self, Written};
use super::parts::PartSet;
use super::stage::Stage;
use crate::arrow::array::AsArray;
use crate::crash_point::crash_point;
use crate::error::{Error, Result};
use crate::files::{self, PRIVATE};
use crate::flatten;
use crate::raw;
use ::parquet::arrow::ProjectionMask;
use ::parquet::errors::ParquetError;
use chrono::{DateTime, NaiveDate, Utc};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::PathBuf;

/// Rebuilds all dates. `kind` is [`Kind::Rebuild`], or [`Kind::Upgrade`] when
/// the schema changed: then the ledger is rewritten too.
///
/// # Errors
/// Any failure of the file system, by class I/O; by class configuration when
/// the archive holds what flatten refuses.
pub fn rebuild(dataset: &mut Dataset, kind: Kind, run_id: &str, now: DateTime<Utc>, threads: usize) -> Result<Commit> {
    // No run may go before an upgrade, and none can where the tables are damaged:
    // neither waits for an empty spool.
    dataset.carry_spool()?;
    crash_point("rebuild::carried")?;
    let (layout, tables) = (dataset.layout.clone(), dataset.tables.clone());
    let mut commit = dataset.begin_commit(kind, run_id, now);
    let mut stage = Stage::begin(&layout, &tables, commit.number)?;
    let segments: Vec<PathBuf> = layout.parts(RAW)?.into_iter().map(|part| part.path).collect();
    let entries = latest_of(&segments)?;
    let mut by_date: BTreeMap<NaiveDate, Vec<Entry>> = BTreeMap::new();
    for entry in &entries {
        by_date.entry(entry.date()).or_default().push(entry.clone());
    }
    let archived: HashSet<String> = entries.into_iter().map(|e| e.head.call_id).collect();
    let mut present: BTreeMap<NaiveDate, BTreeSet<String>> = BTreeMap::new();
    for table in &tables.catalogue.tables {
        for part in layout.parts(&table.name)? {
            present.entry(part.date).or_default().insert(part.name);
        }
    }
    let name = layout::part_name(commit.number);
    let pool = order::pool(threads)?;
    let dates: BTreeSet<NaiveDate> = by_date.keys().chain(present.keys()).copied().collect();
    for date in dates {
        let entries = by_date.remove(&date).unwrap_or_default();
        let old = present.remove(&date).unwrap_or_default();
        let made = flatten_date(&stage, dataset, date, &segments, entries, &pool, &mut commit.counts.schema_drift)?;
        for (number, table, format) in tables.children_first() {
            let parts: Vec<String> = old.iter().map(|n| layout::relative(table, date, n)).collect();
            let mut inputs: Vec<Input<'_>> = Vec::new();
            for relative in parts {
                let path = layout.path(&relative);
                if !files::exists(&path)? {
                    continue;
                }
                commit.removed.push(relative);
                if keeps_rows(&path, &archived)? {
                    inputs.push(Input { path, without: Some(&archived) });
                }
            }
            let made = made[number].as_ref().map(|written| Input { path: written.path.clone(), without: None });
            inputs.extend(made);
            stage.merge(table, format, date, &name, &inputs)?;
            crash_point("rebuild::part")?;
        }
    }
    // Parts that were lost are no longer missed.
    let is_record = |table: &str| tables.catalogue.table(table).is_some();
    let named = commit::named_files(&layout)?.into_values().filter(|file| is_record(&file.table));
    for file in named {
        if !files::exists(&layout.path(&file.path))? {
            commit.removed.push(file.path);
        }
    }
    if kind == Kind::Upgrade {
        for part in layout.parts(LEDGER)? {
            let inputs = [Input { path: part.path.clone(), without: None }];
            stage.merge(LEDGER, &tables.ledger, part.date, &part.name, &inputs)?;
        }
    }
    files::remove_directory(&layout.staging(commit.number).join("unpacked"))?;
    commit.files = stage.finish()?;
    for file in commit.files.iter().filter(|f| f.table != LEDGER) {
        *commit.counts.rows.entry(file.table.clone()).or_default() += file.rows;
    }
    crash_point("rebuild::staged")?;
    dataset.commit(commit.clone())?;
    Ok(commit)
}

/// The latest version of every archived call, in the order of the tables.
fn latest_of(segments: &[PathBuf]) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for (source, path) in segments.iter().enumerate() {
        raw::read_segment(path, |offset, record| {
            let head = flatten::head(record).map_err(|refused| {
                Error::config(format!("{} holds a record that cannot be read: {refused}", path.display()))
                    .hint("restore that file from a backup, or move it away to keep the rows that the tables have")
            })?;
            entries.push(Entry { head, source, offset, length: record.len() as u64 });
            Ok(())
        })?;
    }
    // A commit takes a call only in a higher version than the archive has, so
    // that two records with one version are the same one.
    let mut entries = order::latest(entries, |_, _| Ok(false))?;
    order::sort(&mut entries);
    Ok(entries)
}

fn flatten_date(
    stage: &Stage<'_>,
    dataset: &Dataset,
    date: NaiveDate,
    segments: &[PathBuf],
    mut entries: Vec<Entry>,
    pool: &Pool,
    schema_drift: &mut BTreeMap<String, u64>,
) -> Result<Vec<Option<Written>>> {
    let tables = &dataset.tables;
    let mut unpacked: Vec<PathBuf> = Vec::new();
    let mut numbers: BTreeMap<usize, usize> = BTreeMap::new();
    for entry in &mut entries {
        let number = match numbers.get(&entry.source) {
            Some(&number) => number,
            None => {
                let path = stage.path(&format!("unpacked/{}", unpacked.len()))?;
                raw::unpack_segment(&segments[entry.source], &path)?;
                numbers.insert(entry.source, unpacked.len());
                unpacked.push(path);
                unpacked.len() - 1
            }
        };
        entry.source = number;
    }
    let mut parts = PartSet::new(tables, PRIVATE, pool, |table| stage.path(&format!("delta/{table}/{date}.parquet")));
    let drift = order::flatten(
        &entries,
        &unpacked,
        &tables.plan,
        pool,
        |_| (),
        |flattened| {
            if let Some((_, refused)) = flattened.refused.first() {
                return Err(Error::config(format!(
                    "The archive of {date} holds a record that flatten refuses: {refused}"
                ))
                .hint("this program cannot rebuild that date; use the version that wrote it"));
            }
            parts.write(flattened.batches, &flattened.hold)
        },
    )?;
    for (path, count) in drift.counts() {
        *schema_drift.entry(path).or_default() += count;
    }
    let written = parts.close().wait()?;
    for path in unpacked {
        files::remove_if_there(&path)?;
    }
    Ok(written)
}

/// For each of `tables`, whether its parts of `date` are what the archive gives,
/// byte for byte once both are in the merged layout. Leaves nothing behind.
///
/// # Errors
/// As [`rebuild`].
pub fn compare(
    dataset: &Dataset,
    date: NaiveDate,
    names: &BTreeSet<&str>,
    threads: usize,
) -> Result<Vec<(String, bool)>> {
    let (layout, tables) = (&dataset.layout, &dataset.tables);
    let stage = Stage::begin(layout, tables, dataset.next_number())?;
    let segments: Vec<PathBuf> = layout.parts(RAW)?.into_iter().map(|part| part.path).collect();
    let entries: Vec<Entry> = latest_of(&segments)?.into_iter().filter(|e| e.date() == date).collect();
    let made = flatten_date(&stage, dataset, date, &segments, entries, &order::pool(threads)?, &mut BTreeMap::new())?;
    let mut compared = Vec::new();
    for (number, table, format) in tables.children_first().filter(|(_, table, _)| names.contains(table)) {
        let parts: Vec<_> = layout.parts(table)?.into_iter().filter(|part| part.date == date).collect();
        let inputs: Vec<_> = parts.into_iter().map(|part| Input { path: part.path, without: None }).collect();
        let merged = stage.path(&format!("present/{table}.parquet"))?;
        merge(&inputs, &merged, format, PRIVATE)?;
        let made = match &made[number] {
            Some(written) => files::digest(&written.path)?,
            None => None,
        };
        compared.push((table.to_owned(), files::digest(&merged)? == made));
    }
    files::remove_directory(&layout.staging(stage.number()))?;
    Ok(compared)
}

/// As [`holds_others`]; a part that cannot be read as Parquet keeps none.
fn keeps_rows(path: &std::path::Path, archived: &HashSet<String>) -> Result<bool> {
    let is_damage = |error: &Error| {
        let source = std::error::Error::source(error).and_then(|e| e.downcast_ref::<ParquetError>());
        source.is_some_and(|e| !matches!(e, ParquetError::External(_)))
    };
    match holds_others(path, archived) {
        Err(error) if is_damage(&error) => {
            tracing::warn!(part = %path.display(), "this part is damaged: what it held and the archive has not is gone");
            Ok(false)
        }
        other => other,
    }
}

/// Whether a part has rows of calls that the archive does not have.
fn holds_others(path: &std::path::Path, archived: &HashSet<String>) -> Result<bool> {
    let builder = parquet::open(path)?;
    let mask = ProjectionMask::columns(builder.parquet_schema(), ["call_id"]);
    let reader = builder.with_projection(mask).build().map_err(|e| parquet::failed("read", path, e))?;
    for batch in reader {
        let batch = batch.map_err(|e| parquet::failed("read", path, e.into()))?;
        let others = batch.column(0).as_string::<i32>().iter().flatten().any(|id| !archived.contains(id));
        if others {
            return Ok(true);
        }
    }
    Ok(false)
}
