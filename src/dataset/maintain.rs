//! Merges parts, so that readers open few files: a commit of its own that
//! begins only when the newest one is published and no spool is there.

use super::Dataset;
use super::commit::{Commit, Kind};
use super::format::Format;
use super::layout::{self, LEDGER, Layout, Part};
use super::merge::Input;
use super::stage::Stage;
use crate::crash_point::crash_point;
use crate::error::Result;
use crate::files;
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Days after which updates have come and a date is sealed.
const SEALED_AFTER: TimeDelta = TimeDelta::days(2);

/// Which parts are merged.
#[derive(Clone, Copy, Debug)]
pub enum Policy {
    /// All parts of every date: the merged layout.
    All,
    /// What a run does by itself: all parts of dates that are sealed today, and
    /// of others as soon as there are so many of like size.
    Scheduled {
        /// The present date.
        today: NaiveDate,
        /// How many parts of like size are merged.
        like: usize,
    },
}

/// Tables whose parts of one date have the same names and are merged together,
/// so that a call's rows always stand in parts of one name.
struct Family {
    tables: Vec<(String, Arc<Format>)>,
}

impl Family {
    fn all(dataset: &Dataset) -> [Self; 2] {
        let records = dataset.tables.children_first().map(|(_, name, format)| (name.to_owned(), format.clone()));
        [Self { tables: records.collect() }, Self { tables: vec![(LEDGER.to_owned(), dataset.tables.ledger.clone())] }]
    }

    /// For every date the part names with their bytes over all tables.
    fn names(&self, layout: &Layout) -> Result<BTreeMap<NaiveDate, BTreeMap<String, u64>>> {
        let mut dates: BTreeMap<NaiveDate, BTreeMap<String, u64>> = BTreeMap::new();
        for (table, _) in &self.tables {
            for Part { date, name, path } in layout.parts(table)? {
                let bytes = files::size(&path)?;
                *dates.entry(date).or_default().entry(name).or_default() += bytes;
            }
        }
        Ok(dates)
    }
}

/// Merges what `policy` says; the commit, if there was anything to do.
///
/// # Errors
/// Any failure of the file system, by class I/O: the tables are then as they
/// were.
pub fn merge(dataset: &mut Dataset, policy: Policy, run_id: &str, now: DateTime<Utc>) -> Result<Option<Commit>> {
    dataset.check_no_spool()?;
    let mut commit = dataset.begin_commit(Kind::Merge, run_id, now);
    let (layout, tables) = (dataset.layout.clone(), dataset.tables.clone());
    let mut stage = Stage::begin(&layout, &tables, commit.number)?;
    let merged = layout::part_name(commit.number);
    for family in Family::all(dataset) {
        for (date, names) in family.names(&layout)? {
            let Some(chosen) = choose(policy, date, &names) else { continue };
            for (table, format) in &family.tables {
                let mut inputs = Vec::new();
                for name in &chosen {
                    let relative = layout::relative(table, date, name);
                    let path = layout.path(&relative);
                    if files::exists(&path)? {
                        inputs.push(Input { path, without: None });
                        commit.removed.push(relative);
                    }
                }
                stage.merge(table, format, date, &merged, &inputs)?;
                crash_point("merge::part")?;
            }
        }
    }
    if stage.files.is_empty() && commit.removed.is_empty() {
        files::remove_directory(&layout.staging(commit.number))?;
        return Ok(None);
    }
    commit.files = stage.finish()?;
    crash_point("merge::staged")?;
    dataset.commit(commit.clone())?;
    Ok(Some(commit))
}

fn choose(policy: Policy, date: NaiveDate, names: &BTreeMap<String, u64>) -> Option<BTreeSet<String>> {
    let all = || Some(names.keys().cloned().collect());
    match policy {
        _ if names.len() < 2 => None,
        Policy::All => all(),
        Policy::Scheduled { today, .. } if today - date >= SEALED_AFTER => all(),
        Policy::Scheduled { like, .. } => {
            let mut classes: BTreeMap<u32, BTreeSet<String>> = BTreeMap::new();
            for (name, bytes) in names {
                // Four times the bytes are another size.
                classes.entry(bytes.max(&1).ilog2() / 2).or_default().insert(name.clone());
            }
            classes.into_values().find(|names| names.len() >= like.max(2))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(sizes: &[u64]) -> BTreeMap<String, u64> {
        sizes.iter().enumerate().map(|(n, size)| (layout::part_name(n as u64), *size)).collect()
    }

    #[test]
    fn like_sizes_are_merged_and_sealed_dates_whole() {
        let day: NaiveDate = "2026-11-03".parse().unwrap();
        let at = |days| Policy::Scheduled { today: day + TimeDelta::days(days), like: 3 };
        assert_eq!(choose(at(0), day, &names(&[100, 100])), None);
        assert_eq!(choose(at(0), day, &names(&[100, 90_000, 101, 102])).unwrap().len(), 3);
        assert_eq!(choose(at(1), day, &names(&[100, 90_000])), None);
        assert_eq!(choose(at(2), day, &names(&[100, 90_000])).unwrap().len(), 2);
        assert_eq!(choose(at(2), day, &names(&[100])), None);
        assert_eq!(choose(Policy::All, day, &names(&[1, 900])).unwrap().len(), 2);
    }
}
