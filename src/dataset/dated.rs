//! The archive's latest records, date by date, as often as they are asked for.

use super::order::{self, ById, ByStart, Entry};
use super::runs::{RunReader, RunWriter};
use super::sort::{Scratch, Sorter};
use crate::error::{Error, Result};
use crate::flatten;
use crate::raw;
use chrono::NaiveDate;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The entries in the order of the tables.
pub struct Dated {
    entries: Entries,
    dates: BTreeMap<NaiveDate, Stretch>,
}

enum Entries {
    /// Few of them.
    Held(Vec<ByStart>),
    /// More: the file that has them.
    File(PathBuf),
}

/// The entries of a date.
struct Stretch {
    /// The place of the first: of those held the number, of a file the byte.
    begin: u64,
    count: u64,
}

impl Dated {
    /// The highest version of every call of the archive's `segments`, of `only` one
    /// date where one is named. What does not fit into memory goes to `scratch`.
    ///
    /// # Errors
    /// Any failure of the file system, by class I/O; by class configuration when
    /// the archive holds what has no head.
    pub fn of_archive(segments: &[PathBuf], only: Option<NaiveDate>, scratch: &Scratch) -> Result<Self> {
        let mut entries = Sorter::new(scratch, "id");
        for (source, path) in segments.iter().enumerate() {
            raw::read_segment(path, |offset, record| {
                let head = flatten::head(record).map_err(|refused| {
                    Error::config(format!("{} holds a record that cannot be read: {refused}", path.display()))
                        .hint("restore that file from a backup, or move it away to keep the rows that the tables have")
                })?;
                entries.push(ById(Entry { head, source, offset, length: record.len() as u64 }))
            })?;
        }
        // A commit takes a call only in a higher version than the archive has, so
        // that two records with one version are the same one.
        let greater = |_: &Entry, _: &Entry| Ok(false);
        let latest = order::latest(entries, scratch, greater, |entry| only.is_none_or(|date| entry.date() == date))?;
        let mut dates: BTreeMap<NaiveDate, Stretch> = BTreeMap::new();
        let mut add = |date, place| {
            dates.entry(date).or_insert(Stretch { begin: place, count: 0 }).count += 1;
        };
        let mut file = latest.is_on_disk().then(|| RunWriter::create(scratch.path("dated"))).transpose()?;
        let mut held = Vec::new();
        for entry in latest {
            let entry = entry?;
            let date = entry.0.date();
            if let Some(file) = &mut file {
                add(date, file.write(&entry)?);
            } else {
                add(date, held.len() as u64);
                held.push(entry);
            }
        }
        let entries = match file {
            Some(file) => Entries::File(file.finish()?.path),
            None => Entries::Held(held),
        };
        Ok(Self { entries, dates })
    }

    /// The dates that have an entry.
    pub fn dates(&self) -> impl Iterator<Item = NaiveDate> {
        self.dates.keys().copied()
    }

    /// The entries of `date`.
    ///
    /// # Errors
    /// Any failure of the file system, by class I/O.
    pub fn of(&self, date: NaiveDate) -> Result<impl Iterator<Item = Result<Entry>> + '_> {
        let stretch = self.dates.get(&date).unwrap_or(&Stretch { begin: 0, count: 0 });
        let (held, read) = match &self.entries {
            Entries::Held(all) => {
                let held = all.iter().skip(usize::try_from(stretch.begin).unwrap_or(usize::MAX));
                (Some(held.take(usize::try_from(stretch.count).unwrap_or(usize::MAX))), None)
            }
            Entries::File(path) => (None, Some(RunReader::open(path, stretch.begin, stretch.count)?)),
        };
        let held = held.into_iter().flatten().cloned().map(Ok);
        Ok(held.chain(read.into_iter().flatten()).map(|entry| entry.map(|ByStart(entry)| entry)))
    }
}
