//! The order of the tables: an index of records, sorted by date, start and call
//! id, where the latest version of a call wins; and the records flattened in
//! that order on any number of threads, with the same result.

use super::pool::in_order;
pub use super::pool::{Hold, Pool, pool};
use super::runs::{Packed, take};
use super::sort::{Scratch, Sorted, Sorter};
use crate::arrow::array::RecordBatch;
use crate::error::{Error, Result};
use crate::files;
use crate::flatten::{Drift, Flattener, Head, Plan, Refused};
use chrono::NaiveDate;
use std::cmp::Ordering;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// JSON bytes that a thread flattens at a time.
const CHUNK_BYTES: u64 = 4 << 20;

/// Records of a chunk at most: where they are tiny, their entries take more
/// memory than their bytes.
const CHUNK_RECORDS: usize = 16 << 10;

/// Where a record's bytes are, and what decides its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its id in lower case, version and start.
    pub head: Head,
    /// The number of its file among the sources.
    pub source: usize,
    /// Where it begins in that file.
    pub offset: u64,
    /// Its length in bytes.
    pub length: u64,
}

impl Entry {
    /// What the tables are sorted by, after the date.
    fn key(&self) -> (i64, &str) {
        (self.head.start, &self.head.call_id)
    }

    /// The date of its partition.
    #[must_use]
    pub fn date(&self) -> NaiveDate {
        self.head.date()
    }
}

/// Sorts by date, start and call id.
pub fn sort(entries: &mut [Entry]) {
    entries.sort_by(|a, b| a.key().cmp(&b.key()));
}

/// Entries by call id; those of one call by version and length, and then as they
/// came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ById(pub Entry);

/// Entries in the order of the tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ByStart(pub Entry);

impl Ord for ById {
    fn cmp(&self, other: &Self) -> Ordering {
        fn key(ById(e): &ById) -> (&str, i64, u64, usize, u64) {
            (&e.head.call_id, e.head.version, e.length, e.source, e.offset)
        }
        key(self).cmp(&key(other)).then_with(|| self.0.head.start.cmp(&other.0.head.start))
    }
}

impl Ord for ByStart {
    fn cmp(&self, other: &Self) -> Ordering {
        let keys = |e: &Entry| (e.head.version, e.length, e.source, e.offset);
        self.0.key().cmp(&other.0.key()).then_with(|| keys(&self.0).cmp(&keys(&other.0)))
    }
}

impl PartialOrd for ById {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialOrd for ByStart {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Entry {
    fn pack(&self, bytes: &mut Vec<u8>) {
        for number in [self.source as u64, self.offset, self.length] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(self.head.version.to_le_bytes());
        bytes.extend(self.head.start.to_le_bytes());
        bytes.extend(self.head.call_id.as_bytes());
    }

    fn unpack(mut bytes: &[u8]) -> Option<Self> {
        let bytes = &mut bytes;
        let source = usize::try_from(u64::from_le_bytes(take(bytes)?)).ok()?;
        let (offset, length) = (u64::from_le_bytes(take(bytes)?), u64::from_le_bytes(take(bytes)?));
        let (version, start) = (i64::from_le_bytes(take(bytes)?), i64::from_le_bytes(take(bytes)?));
        let call_id = String::from_utf8(bytes.to_vec()).ok()?;
        Some(Self { head: Head { call_id, version, start }, source, offset, length })
    }

    /// With what the allocator adds.
    fn on_heap(&self) -> usize {
        self.head.call_id.capacity() + 16
    }
}

macro_rules! packed_as_entry {
    ($of:ident) => {
        impl Packed for $of {
            fn pack(&self, bytes: &mut Vec<u8>) {
                self.0.pack(bytes);
            }

            fn unpack(bytes: &[u8]) -> Option<Self> {
                Entry::unpack(bytes).map($of)
            }

            fn on_heap(&self) -> usize {
                self.0.on_heap()
            }
        }
    };
}
packed_as_entry!(ById);
packed_as_entry!(ByStart);

/// The highest version of every call, in the order of the tables. Of two records
/// with the same version the longer one stays, then the one that `greater` says:
/// a choice that does not depend on the order in which they came. `takes` says
/// which of the latest are wanted.
///
/// # Errors
/// Those of `greater`; any failure of the file system, by class I/O.
pub fn latest(
    entries: Sorter<ById>,
    scratch: &Scratch,
    mut greater: impl FnMut(&Entry, &Entry) -> Result<bool>,
    takes: impl Fn(&Entry) -> bool,
) -> Result<Sorted<ByStart>> {
    let mut latest = Sorter::new(scratch, "start");
    let mut push = |entry: Entry| if takes(&entry) { latest.push(ByStart(entry)) } else { Ok(()) };
    let mut kept: Option<Entry> = None;
    for entry in entries.finish()? {
        let ById(entry) = entry?;
        let replaces = match &kept {
            Some(kept) if kept.head.call_id == entry.head.call_id => {
                let rank = |e: &Entry| (e.head.version, e.length);
                rank(&entry) > rank(kept) || greater(&entry, kept)?
            }
            _ => {
                kept.take().map_or(Ok(()), &mut push)?;
                true
            }
        };
        if replaces {
            kept = Some(entry);
        }
    }
    kept.map_or(Ok(()), push)?;
    latest.finish()
}

/// Reads records from their files, one file open at a time.
pub struct SourceReader<'a> {
    sources: &'a [PathBuf],
    open: Option<(usize, File)>,
}

impl<'a> SourceReader<'a> {
    /// A reader of these files.
    #[must_use]
    pub const fn new(sources: &'a [PathBuf]) -> Self {
        Self { sources, open: None }
    }

    /// The bytes of one record.
    ///
    /// # Errors
    /// Any failure of the file system, by class I/O.
    pub fn read(&mut self, entry: &Entry) -> Result<Vec<u8>> {
        self.read_at(entry.source, entry.offset, entry.length)
    }

    /// So many bytes of a source.
    ///
    /// # Errors
    /// Any failure of the file system, by class I/O.
    pub fn read_at(&mut self, source: usize, offset: u64, length: u64) -> Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        self.read_into(source, offset, &mut bytes)?;
        Ok(bytes)
    }

    fn read_into(&mut self, source: usize, offset: u64, bytes: &mut [u8]) -> Result<()> {
        let path = &self.sources[source];
        let mut file = match self.open.take() {
            Some((open, file)) if open == source => file,
            _ => files::open(path)?,
        };
        file.seek(SeekFrom::Start(offset))
            .and_then(|_| file.read_exact(bytes))
            .map_err(|e| Error::io("read", path, e))?;
        self.open = Some((source, file));
        Ok(())
    }
}

/// One chunk of consecutive entries, flattened.
pub struct Flattened {
    /// The entries of the chunk; there is one at least.
    pub entries: Vec<Entry>,
    /// A batch for every record table.
    pub batches: Vec<RecordBatch>,
    /// Those of the entries that were refused, and why.
    pub refused: Vec<(Entry, Refused)>,
    /// Kept by whatever still works on the batches: few chunks are at work at once.
    pub hold: Hold,
}

/// Flattens `entries` in their order and gives the chunks to `sink` in that
/// order. A chunk never holds entries for which `group` differs.
///
/// # Errors
/// Any failure of the file system, of `entries` or of `sink`.
pub fn flatten<G: PartialEq>(
    entries: impl Iterator<Item = Result<Entry>>,
    sources: &[PathBuf],
    plan: &Arc<Plan>,
    pool: &Pool,
    group: impl Fn(&Entry) -> G,
    mut sink: impl FnMut(Flattened) -> Result<()>,
) -> Result<Drift> {
    let workers: Mutex<Vec<Worker<'_>>> = Mutex::default();
    let work = |chunk: Vec<Entry>| {
        let worker = lock(&workers).pop();
        let mut worker = worker.unwrap_or_else(|| Worker::new(sources, plan));
        let flattened = worker.flatten(&chunk);
        lock(&workers).push(worker);
        flattened.map(|(batches, refused)| (chunk, batches, refused))
    };
    let outcome = in_order(pool, chunks(entries, group), work, |flattened, hold| {
        let (entries, batches, refused) = flattened?;
        sink(Flattened { entries, batches, refused, hold })
    });
    let mut drift = Drift::default();
    for worker in lock(&workers).iter_mut() {
        drift.merge(worker.flattener.take_drift());
    }
    outcome.map(|()| drift)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Chunks of one group each, with their bytes.
fn chunks<G: PartialEq>(
    mut entries: impl Iterator<Item = Result<Entry>>,
    group: impl Fn(&Entry) -> G,
) -> impl Iterator<Item = Result<(u64, Vec<Entry>)>> {
    let mut first = None;
    std::iter::from_fn(move || {
        let (mut chunk, mut bytes): (Vec<Entry>, u64) = (Vec::new(), 0);
        loop {
            let entry = match first.take().map(Ok).or_else(|| entries.next()) {
                Some(Ok(entry)) => entry,
                Some(Err(error)) => return Some(Err(error)),
                None => return (!chunk.is_empty()).then_some(Ok((bytes, chunk))),
            };
            let is_full = bytes >= CHUNK_BYTES || chunk.len() >= CHUNK_RECORDS;
            if chunk.first().is_some_and(|begin| is_full || group(begin) != group(&entry)) {
                first = Some(entry);
                return Some(Ok((bytes, chunk)));
            }
            bytes += entry.length;
            chunk.push(entry);
        }
    })
}

/// The batches of a chunk, and the entries that were refused.
type Chunk = (Vec<RecordBatch>, Vec<(Entry, Refused)>);

struct Worker<'a> {
    reader: SourceReader<'a>,
    /// As long as the longest record so far; that of a record that is a chunk by
    /// itself is given back.
    buffer: Vec<u8>,
    flattener: Flattener,
}

impl<'a> Worker<'a> {
    fn new(sources: &'a [PathBuf], plan: &Arc<Plan>) -> Self {
        Self { reader: SourceReader::new(sources), buffer: Vec::new(), flattener: Flattener::new(plan.clone()) }
    }

    fn flatten(&mut self, chunk: &[Entry]) -> Result<Chunk> {
        let mut refused = Vec::new();
        for entry in chunk {
            let length = usize::try_from(entry.length).unwrap_or(usize::MAX);
            if self.buffer.len() < length {
                self.buffer.resize(length, 0);
            }
            let record = &mut self.buffer[..length];
            self.reader.read_into(entry.source, entry.offset, record)?;
            if let Err(reason) = self.flattener.push(record) {
                refused.push((entry.clone(), reason));
            }
        }
        if self.buffer.len() as u64 > CHUNK_BYTES {
            self.buffer = Vec::new();
        }
        Ok((self.flattener.flush()?, refused))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    /// Stands for the bytes of a record; some are the same.
    fn content(entry: &Entry) -> u64 {
        entry.offset % 3
    }

    fn greater(a: &Entry, b: &Entry) -> Result<bool> {
        assert_eq!((a.head.version, a.length), (b.head.version, b.length), "only then are records read");
        Ok(content(a) > content(b))
    }

    /// The latest of every call, with all of them in memory.
    fn in_memory(entries: &[Entry]) -> Vec<Entry> {
        let mut latest: HashMap<&str, &Entry> = HashMap::new();
        for entry in entries {
            let rank = |e: &Entry| (e.head.version, e.length, content(e));
            let kept = latest.entry(&entry.head.call_id).or_insert(entry);
            if rank(entry) > rank(kept) {
                *kept = entry;
            }
        }
        let mut latest: Vec<Entry> = latest.into_values().cloned().collect();
        sort(&mut latest);
        latest
    }

    prop_compose! {
        fn entry()(id in 0_u8..12, version in -1_i64..3, start in -2_i64..9, length in 1_u64..3) -> Entry {
            let head = Head { call_id: format!("{}{id}", "é".repeat(id.into())), version, start };
            Entry { head, source: 0, offset: 0, length }
        }
    }

    proptest! {
        #[test]
        fn the_external_sort_gives_what_a_sort_in_memory_gives(
            mut entries in prop::collection::vec(entry(), 0..120), held in 1_usize..3000, at_once in 2_usize..5,
        ) {
            for (number, entry) in entries.iter_mut().enumerate() {
                (entry.source, entry.offset) = (number / 40, number as u64 % 40);
            }
            let home = tempfile::tempdir().unwrap();
            let scratch = Scratch::with_bounds(home.path(), held, at_once);
            let mut sorter = Sorter::new(&scratch, "id");
            // In which order they are pushed must not matter.
            entries.iter().rev().try_for_each(|entry| sorter.push(ById(entry.clone()))).unwrap();
            let sorted = latest(sorter, &scratch, greater, |_| true).unwrap();
            let sorted: Vec<Entry> = sorted.map(|entry| entry.unwrap().0).collect();
            prop_assert_eq!(sorted, in_memory(&entries));
            prop_assert_eq!(files::list(home.path()).unwrap().len(), 0, "no run is left");
        }

        #[test]
        fn chunks_hold_all_entries_and_one_group_each(entries in prop::collection::vec(entry(), 0..60)) {
            let group = |entry: &Entry| entry.head.start / 3;
            let chunks: Vec<_> = chunks(entries.iter().cloned().map(Ok), group).map(Result::unwrap).collect();
            for (bytes, chunk) in &chunks {
                prop_assert!(chunk.iter().all(|entry| group(entry) == group(&chunk[0])));
                prop_assert_eq!(*bytes, chunk.iter().map(|entry| entry.length).sum::<u64>());
            }
            prop_assert!(chunks.windows(2).all(|pair| group(&pair[0].1[0]) != group(&pair[1].1[0])));
            prop_assert_eq!(chunks.into_iter().flat_map(|(_, chunk)| chunk).collect::<Vec<_>>(), entries);
        }
    }

    #[test]
    fn a_chunk_is_full_of_bytes_or_of_records() {
        let head = Head { call_id: "a".into(), version: 1, start: 0 };
        let lengths = |length, count| {
            let entry = Entry { head: head.clone(), source: 0, offset: 0, length };
            let entries = std::iter::repeat_n(entry, count).map(Ok);
            chunks(entries, |_| ()).map(|chunk| chunk.unwrap().1.len()).collect::<Vec<_>>()
        };
        assert_eq!(lengths(CHUNK_BYTES, 3), [1, 1, 1]);
        assert_eq!(lengths(CHUNK_BYTES - 1, 3), [2, 1]);
        assert_eq!(lengths(1, CHUNK_RECORDS + 1), [CHUNK_RECORDS, 1]);
    }
}
