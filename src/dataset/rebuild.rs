//! Makes the record tables again from the archive, in the merged layout.
//!
//! The highest version of a call over all dates is picked before any is
//! written. Calls whose archive is gone keep the rows that they have.

use super::Dataset;
use super::call_logs;
use super::commit::{self, Commit, Kind};
use super::dated::Dated;
use super::layout::{self, LEDGER, RAW};
use super::merge::{Input, merge};
use super::order::{self, Entry, Pool};
use super::others::{Noted, Others};
use super::parquet::Written;
use super::parts::{PartSet, Successive};
use super::sort::Scratch;
use super::stage::Stage;
use super::tables::Tables;
use crate::crash_point::crash_point;
use crate::error::{Error, Result};
use crate::files::{self, PRIVATE};
use crate::raw;
use chrono::{DateTime, NaiveDate, Utc};
use std::collections::btree_map::Entry::Vacant;
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
    let scratch = Scratch::new(stage.path("index")?);
    let archive = Dated::of_archive(&segments, None, &scratch)?;
    let mut present: BTreeMap<NaiveDate, BTreeSet<String>> = BTreeMap::new();
    for table in &tables.catalogue.tables {
        for part in layout.parts(&table.name)? {
            present.entry(part.date).or_default().insert(part.name);
        }
    }
    // The parts that stand, in the order in which they are merged below.
    let mut old = Vec::new();
    for (&date, names) in &present {
        for (_, table, _) in tables.children_first() {
            for relative in names.iter().map(|name| layout::relative(table, date, name)) {
                let path = layout.path(&relative);
                if files::exists(&path)? {
                    commit.removed.push(relative);
                    old.push((date, table, path));
                }
            }
        }
    }
    let noted = Noted { layout: &layout, files: commit::named_files(&layout)? };
    let parts = old.iter().map(|(date, _, path)| (*date, path.as_path()));
    let mut others = Others::find(parts, &archive, &scratch, &noted)?;
    let mut old = old.into_iter().enumerate().peekable();
    let name = layout::part_name(commit.number);
    let pool = order::pool(threads)?;
    let dates: BTreeSet<NaiveDate> = archive.dates().chain(present.into_keys()).collect();
    let records = Records { stage: &stage, tables: &tables, segments: &segments, archive: &archive, pool: &pool };
    let drift = &mut commit.counts.schema_drift;
    let mut made: Vec<(NaiveDate, &str, u64)> = Vec::new();
    let mut alone = Successive::default();
    for date in dates {
        let mut kept: Vec<Vec<(PathBuf, HashSet<String>)>> = tables.formats.iter().map(|_| Vec::new()).collect();
        for (number, table, _) in tables.children_first() {
            while let Some((part, (.., path))) = old.next_if(|(_, (of, in_table, _))| (*of, *in_table) == (date, table))
            {
                let archived = others.archived_beside_others(part, &path, &noted)?;
                kept[number].extend(archived.map(|archived| (path, archived)));
            }
        }
        if kept.iter().all(Vec::is_empty) {
            let name = &name;
            records.flatten(date, &mut alone, move |table| layout::relative(table, date, name), drift)?;
            continue;
        }
        let flattened = records.flatten_beside(date, drift)?;
        for (number, table, format) in tables.children_first() {
            let archived =
                flattened[number].as_ref().map(|written| Input { path: written.path.clone(), without: None });
            let kept = kept[number].iter();
            let inputs: Vec<Input<'_>> = kept
                .map(|(path, archived)| Input { path: path.clone(), without: Some(archived) })
                .chain(archived)
                .collect();
            let merged = stage.merged(table, format, date, &name, &inputs)?;
            made.extend(merged.map(|written| (date, table, written.rows)));
        }
    }
    for (date, flattened) in alone.finish()? {
        let of_tables = tables.catalogue.tables.iter().zip(flattened);
        made.extend(of_tables.filter_map(|(table, written)| Some((date, table.name.as_str(), written?.rows))));
    }
    for (date, table, rows) in made {
        stage.put(table, &layout::relative(table, date, &name), rows)?;
    }
    call_logs::rebuild(&mut stage, dataset, &mut commit)?;
    // Parts that were lost are no longer missed.
    let is_table = |table: &str| tables.catalogue.table(table).or_else(|| tables.catalogue.log(table)).is_some();
    for file in noted.files.into_values().filter(|file| is_table(&file.table)) {
        let is_staged = stage.files.iter().any(|staged| staged.path == file.path);
        if !is_staged && !files::exists(&layout.path(&file.path))? {
            commit.removed.push(file.path);
        }
    }
    if kind == Kind::Upgrade {
        for part in layout.parts(LEDGER)? {
            let inputs = [Input { path: part.path.clone(), without: None }];
            stage.merge(LEDGER, &tables.ledger, part.date, &part.name, &inputs)?;
        }
    }
    for made in ["unpacked", "index"] {
        files::remove_directory(&layout.staging(commit.number).join(made))?;
    }
    commit.files = stage.finish()?;
    let is_record = |table: &str| tables.catalogue.table(table).is_some();
    for file in commit.files.iter().filter(|f| is_record(&f.table)) {
        *commit.counts.rows.entry(file.table.clone()).or_default() += file.rows;
    }
    crash_point("rebuild::staged")?;
    dataset.commit(commit.clone())?;
    Ok(commit)
}

/// The records of the archive, and where tables are made of them.
struct Records<'a> {
    stage: &'a Stage<'a>,
    tables: &'a Tables,
    segments: &'a [PathBuf],
    archive: &'a Dated,
    pool: &'a Pool,
}

impl<'a> Records<'a> {
    /// Flattens the records of a date, behind those that `parts` has. `relative`
    /// gives the path of the part of a table in staging.
    fn flatten(
        &self,
        date: NaiveDate,
        parts: &mut Successive<'a, NaiveDate>,
        relative: impl Fn(&str) -> String + Copy + 'a,
        schema_drift: &mut BTreeMap<String, u64>,
    ) -> Result<()> {
        let Self { stage, tables, pool, .. } = *self;
        let mut unpacked: Vec<PathBuf> = Vec::new();
        let mut numbers: BTreeMap<usize, usize> = BTreeMap::new();
        for entry in self.archive.of(date)? {
            if let Vacant(number) = numbers.entry(entry?.source) {
                let path = stage.path(&format!("unpacked/{}", unpacked.len()))?;
                raw::unpack_segment(&self.segments[*number.key()], &path)?;
                number.insert(unpacked.len());
                unpacked.push(path);
            }
        }
        let entries = self.archive.of(date)?.map(|entry| entry.map(|e| Entry { source: numbers[&e.source], ..e }));
        let begin = |_: &NaiveDate| {
            PartSet::new(tables, stage.layout().modes, pool, move |table| {
                crash_point("rebuild::part")?;
                stage.path(&relative(table))
            })
        };
        let drift = order::flatten(
            entries,
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
                parts.write(date, begin, flattened.batches, &flattened.hold)
            },
        )?;
        for (path, count) in drift.counts() {
            *schema_drift.entry(path).or_default() += count;
        }
        for path in unpacked {
            files::remove_if_there(&path)?;
        }
        Ok(())
    }

    /// The same of one date, to files that are read again; by table what was written.
    fn flatten_beside(
        &self,
        date: NaiveDate,
        schema_drift: &mut BTreeMap<String, u64>,
    ) -> Result<Vec<Option<Written>>> {
        let mut parts = Successive::default();
        let relative = move |table: &str| format!("delta/{table}/{date}.parquet");
        self.flatten(date, &mut parts, relative, schema_drift)?;
        let written = parts.finish()?.pop().map(|(_, tables)| tables);
        Ok(written.unwrap_or_else(|| self.tables.formats.iter().map(|_| None).collect()))
    }
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
    let archive = Dated::of_archive(&segments, Some(date), &Scratch::new(stage.path("index")?))?;
    let pool = order::pool(threads)?;
    let records = Records { stage: &stage, tables, segments: &segments, archive: &archive, pool: &pool };
    let made = records.flatten_beside(date, &mut BTreeMap::new())?;
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
