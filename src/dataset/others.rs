//! Which rows of the tables are of calls that the archive does not have.
//!
//! A part mostly holds what the archive has under the same date, in the same
//! order: both are read side by side. Only for the calls that this leaves, of
//! which there mostly are none, the whole archive is asked.

use super::commit::PutFile;
use super::dated::Dated;
use super::layout::{LEDGER, Layout};
use super::parquet;
use super::runs::{Packed, take};
use super::sort::{Scratch, Sorted, Sorter};
use crate::arrow::array::{Array, AsArray};
use crate::arrow::datatypes::TimestampMicrosecondType;
use crate::error::{Error, Result};
use crate::files;
use ::parquet::arrow::ProjectionMask;
use ::parquet::errors::ParquetError;
use chrono::NaiveDate;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::iter::Peekable;
use std::path::Path;

const START: &str = "call_start_date_time";

/// A call for which the archive is asked, and the calls that it has.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Asked {
    call_id: String,
    /// Where it stands in the parts; `None`, which comes first, in the archive.
    place: Option<Place>,
}

/// A call of a part: the number of the part, and that of the call in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    part: u64,
    call: u64,
}

impl Packed for Place {
    fn pack(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.part.to_le_bytes());
        bytes.extend(self.call.to_le_bytes());
    }

    fn unpack(mut bytes: &[u8]) -> Option<Self> {
        let bytes = &mut bytes;
        Some(Self { part: u64::from_le_bytes(take(bytes)?), call: u64::from_le_bytes(take(bytes)?) })
    }

    fn on_heap(&self) -> usize {
        0
    }
}

impl Packed for Asked {
    fn pack(&self, bytes: &mut Vec<u8>) {
        bytes.push(u8::from(self.place.is_some()));
        self.place.unwrap_or(Place { part: 0, call: 0 }).pack(bytes);
        bytes.extend(self.call_id.as_bytes());
    }

    fn unpack(mut bytes: &[u8]) -> Option<Self> {
        let [is_placed] = take(&mut bytes)?;
        let place = take::<16>(&mut bytes).and_then(|place| Place::unpack(&place))?;
        let call_id = String::from_utf8(bytes.to_vec()).ok()?;
        Some(Self { call_id, place: (is_placed == 1).then_some(place) })
    }

    fn on_heap(&self) -> usize {
        self.call_id.capacity() + 16
    }
}

/// The calls of parts that the archive does not have.
pub struct Others {
    /// In the order of the parts.
    places: Peekable<Sorted<Place>>,
    damaged: BTreeSet<u64>,
}

impl Others {
    /// Looks through `parts`, of which each is numbered by its place among them.
    ///
    /// # Errors
    /// Any failure of the file system, by class I/O. A part that cannot be read as
    /// Parquet has no further calls.
    pub fn find<'p>(
        parts: impl Iterator<Item = (NaiveDate, &'p Path)>,
        archive: &Dated,
        scratch: &Scratch,
        noted: &Noted<'_>,
    ) -> Result<Self> {
        let mut asked = Sorter::new(scratch, "asked");
        let mut damaged = BTreeSet::new();
        for (part, (date, path)) in (0..).zip(parts) {
            let mut entries = archive.of(date)?.peekable();
            let outcome = each_call(path, |call, start, call_id| {
                let key = start.map(|start| (start, call_id));
                while let Some(entry) = entries.next_if(|e| {
                    e.as_ref().map_or(true, |e| key.is_some_and(|key| (e.head.start, e.head.call_id.as_str()) < key))
                }) {
                    entry?;
                }
                let is_next = entries.peek().and_then(|e| e.as_ref().ok()).is_some_and(|e| e.head.call_id == call_id);
                if is_next {
                    return Ok(());
                }
                asked.push(Asked { call_id: call_id.to_owned(), place: Some(Place { part, call }) })
            });
            match outcome {
                Err(error) if is_damage(&error) || noted.is_changed(path).unwrap_or_default() => damaged.insert(part),
                other => other.map(|()| false)?,
            };
        }
        let mut places = Sorter::new(scratch, "others");
        if !asked.is_empty() {
            for date in archive.dates() {
                for entry in archive.of(date)? {
                    asked.push(Asked { call_id: entry?.head.call_id, place: None })?;
                }
            }
            let mut archived: Option<String> = None;
            for asked in asked.finish()? {
                let Asked { call_id, place } = asked?;
                match place {
                    None => archived = Some(call_id),
                    Some(place) if archived.as_ref() != Some(&call_id) => places.push(place)?,
                    Some(_) => {}
                }
            }
        }
        Ok(Self { places: places.finish()?.peekable(), damaged })
    }

    /// If part `number` at `path` has calls that the archive does not have: its calls
    /// that the archive has. Parts are asked for in the order of their numbers.
    ///
    /// A damaged part can show calls that never were: what neither the archive nor
    /// the ledger knows counts as had by the archive, so that it is left out.
    ///
    /// # Errors
    /// Any failure of the file system, by class I/O; by class configuration where a
    /// part that cannot be read to its end has calls that only the ledger knows.
    pub fn archived_beside_others(
        &mut self,
        number: usize,
        path: &Path,
        noted: &Noted<'_>,
    ) -> Result<Option<HashSet<String>>> {
        let part = number as u64;
        let Self { places, damaged } = self;
        let is_unreadable = damaged.contains(&part);
        skip_to(places, Place { part, call: 0 })?;
        if !matches!(places.peek(), Some(Ok(place)) if place.part == part) {
            if is_unreadable {
                tracing::warn!(part = %path.display(), "this part is damaged: what it held and the archive has not is gone");
            }
            return Ok(None);
        }
        let (mut archived, mut others) = (HashSet::new(), HashSet::new());
        let outcome = each_call(path, |call, _, call_id| {
            let wanted = Place { part, call };
            skip_to(places, wanted)?;
            let is_other = matches!(places.peek(), Some(Ok(place)) if *place == wanted);
            if is_other { &mut others } else { &mut archived }.insert(call_id.to_owned());
            Ok(())
        });
        if !is_unreadable {
            outcome?;
            if !noted.is_changed(path)? {
                return Ok(Some(archived));
            }
        }
        let unknown = noted.unknown(&others)?;
        tracing::warn!(part = %path.display(), calls = unknown.len(), "this part is damaged: calls of it that neither the archive nor the ledger knows are left out");
        if unknown.len() == others.len() {
            return Ok(None);
        }
        if is_unreadable {
            return Err(Error::config(format!("{} is damaged, and the archive lacks calls of it", path.display()))
                .hint("restore that file from a backup, or move it away: then those calls are gone; and run again"));
        }
        archived.extend(unknown.into_iter().map(str::to_owned));
        Ok(Some(archived))
    }
}

/// What tells whether a part is as it was written.
pub struct Noted<'a> {
    /// Where the ledger lies.
    pub layout: &'a Layout,
    /// The files that commits have put, by their path below the root.
    pub files: BTreeMap<String, PutFile>,
}

impl Noted<'_> {
    /// Whether a part is not what its commit wrote. One that no commit names is believed.
    fn is_changed(&self, path: &Path) -> Result<bool> {
        let below = path.strip_prefix(self.layout.root()).unwrap_or(path);
        let names: Vec<_> = below.iter().map(|name| name.to_string_lossy()).collect();
        let Some(file) = self.files.get(&names.join("/")) else { return Ok(false) };
        Ok(files::digest(path)?.is_some_and(|(_, sha256)| sha256 != file.sha256))
    }

    /// Those of the calls that the ledger does not have.
    fn unknown<'c>(&self, calls: &'c HashSet<String>) -> Result<HashSet<&'c str>> {
        let mut unknown: HashSet<&str> = calls.iter().map(String::as_str).collect();
        for part in self.layout.parts(LEDGER)? {
            each_call(&part.path, |_, _, call_id| {
                unknown.remove(call_id);
                Ok(())
            })?;
        }
        Ok(unknown)
    }
}

fn skip_to(places: &mut Peekable<Sorted<Place>>, wanted: Place) -> Result<()> {
    while let Some(before) = places.next_if(|place| place.as_ref().map_or(true, |place| *place < wanted)) {
        before?;
    }
    Ok(())
}

fn is_damage(error: &Error) -> bool {
    let source = std::error::Error::source(error).and_then(|e| e.downcast_ref::<ParquetError>());
    source.is_some_and(|e| !matches!(e, ParquetError::External(_)))
}

/// Gives every call of a part with its number, its start, if there is one, and its id.
fn each_call(path: &Path, mut each: impl FnMut(u64, Option<i64>, &str) -> Result<()>) -> Result<()> {
    let builder = parquet::open(path)?;
    let mask = ProjectionMask::columns(builder.parquet_schema(), ["call_id", START]);
    let reader = builder.with_projection(mask).build().map_err(|e| parquet::failed("read", path, e))?;
    let (mut before, mut call) = (String::new(), 0);
    for batch in reader {
        let batch = batch.map_err(|e| parquet::failed("read", path, e.into()))?;
        let ids = batch.column_by_name("call_id").and_then(|ids| ids.as_string_opt::<i32>()).ok_or_else(|| {
            Error::config(format!("{} is not a part that callrec wrote: it has no column call_id", path.display()))
                .hint("move it out of the table's directory, and run again")
        })?;
        let starts = batch.column_by_name(START).and_then(|c| c.as_primitive_opt::<TimestampMicrosecondType>());
        for (row, id) in ids.iter().enumerate() {
            let Some(id) = id.filter(|id| *id != before) else { continue };
            id.clone_into(&mut before);
            each(call, starts.filter(|s| s.is_valid(row)).map(|s| s.value(row)), id)?;
            call += 1;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arrow::array::{ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray};
    use crate::arrow::datatypes::{DataType, Field, Schema, TimeUnit};
    use crate::dataset::format::Format;
    use crate::dataset::parquet::PartWriter;
    use crate::files::PRIVATE;
    use crate::raw::SegmentWriter;
    use ::parquet::file::properties::WriterProperties;
    use std::path::PathBuf;
    use std::sync::Arc;

    const DAY: i64 = 86_400_000_000;

    fn date(day: i64) -> NaiveDate {
        chrono::DateTime::from_timestamp_micros(day * DAY).unwrap().date_naive()
    }

    fn part(path: &Path, calls: &[(&str, Option<i64>)]) {
        let starts = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let fields = vec![Field::new("call_id", DataType::Utf8, false), Field::new(START, starts, true)];
        let schema = Arc::new(Schema::new(fields));
        let ids: StringArray = calls.iter().map(|(id, _)| Some(*id)).collect();
        let starts: TimestampMicrosecondArray = calls.iter().map(|(_, start)| *start).collect();
        let columns: Vec<ArrayRef> = vec![Arc::new(ids), Arc::new(starts.with_timezone("UTC"))];
        let format = Format::of(schema.clone(), WriterProperties::default()).unwrap();
        let mut writer = PartWriter::create(path, &Arc::new(format), PRIVATE).unwrap();
        writer.write(RecordBatch::try_new(schema, columns).unwrap()).unwrap();
        writer.finish().unwrap();
    }

    #[test]
    fn calls_that_the_archive_has_under_any_date_are_no_others() {
        for (held, at_once) in [(1 << 20, 64), (1, 2)] {
            let home = tempfile::tempdir().unwrap();
            let segment = home.path().join("000001.ndjson.zst");
            let mut writer = SegmentWriter::create(&segment).unwrap();
            for (id, day) in [("b", 1), ("a", 1), ("c", 2), ("old", 1)] {
                let record = format!(r#"{{"id":"{id}","version":1,"startDateTime":"{}T00:00:00Z"}}"#, date(day));
                writer.write(record.as_bytes()).unwrap();
            }
            // Its latest version stands under another date.
            let record = format!(r#"{{"id":"old","version":2,"startDateTime":"{}T00:00:00Z"}}"#, date(2));
            writer.write(record.as_bytes()).unwrap();
            writer.finish().unwrap();
            let scratch = Scratch::with_bounds(home.path().join("index"), held, at_once);
            let archive = Dated::of_archive(std::slice::from_ref(&segment), None, &scratch).unwrap();
            let ids = |day| archive.of(date(day)).unwrap().map(|e| e.unwrap().head.call_id).collect::<Vec<_>>();
            assert_eq!(archive.dates().collect::<Vec<_>>(), [date(1), date(2)]);
            assert_eq!(
                (ids(1), ids(2), ids(3)),
                (vec!["a".into(), "b".into()], vec!["c".into(), "old".into()], vec![])
            );
            assert_eq!(ids(1), ["a", "b"], "as often as it is asked for");

            let (one, two) = (Some(DAY), Some(2 * DAY));
            let cases: [(i64, &[_], Option<&[&str]>); 9] = [
                (1, &[("a", one), ("a", one), ("b", one)], None),
                (1, &[("a", one), ("c", one), ("old", one)], None),
                (1, &[("a", one), ("x", one), ("x", one), ("y", two), ("old", two)], Some(&["a", "old"])),
                (1, &[("b", one), ("a", one)], None),
                (2, &[("a", one), ("c", two), ("y", two)], Some(&["a", "c"])),
                (2, &[("c", None), ("b", None)], None),
                (2, &[], None),
                (3, &[("p", one), ("q", two)], Some(&[])),
                (3, &[("p", None), ("a", None), ("q", None)], Some(&["a"])),
            ];
            let mut parts: Vec<(NaiveDate, PathBuf)> = Vec::new();
            for (number, (day, calls, _)) in cases.iter().enumerate() {
                let path = home.path().join(format!("{number}.parquet"));
                part(&path, calls);
                parts.push((date(*day), path));
            }
            let damaged = home.path().join("damaged.parquet");
            crate::files::write_atomically(&damaged, &[7; 100], PRIVATE).unwrap();
            parts.push((date(3), damaged.clone()));
            let named = parts.iter().map(|(date, path)| (*date, path.as_path()));
            let layout = Layout::new(home.path(), PRIVATE);
            let noted = Noted { layout: &layout, files: BTreeMap::new() };
            let mut others = Others::find(named, &archive, &scratch, &noted).unwrap();
            for (number, (_, calls, expected)) in cases.iter().enumerate() {
                let found = others.archived_beside_others(number, &parts[number].1, &noted).unwrap();
                let expected = expected.map(|ids| ids.iter().map(|id| (*id).to_owned()).collect::<HashSet<_>>());
                assert_eq!(found, expected, "{calls:?}");
            }
            assert_eq!(others.archived_beside_others(cases.len(), &damaged, &noted).unwrap(), None);
        }
    }
}
