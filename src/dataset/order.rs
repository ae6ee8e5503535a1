//! The order of the tables: an index of records, sorted by date, start and call
//! id, where the latest version of a call wins; and the records flattened in
//! that order on any number of threads, with the same result.

use crate::arrow::array::RecordBatch;
use crate::error::{Error, Result};
use crate::files;
use crate::flatten::{Drift, Flattener, Head, Plan, Refused};
use chrono::NaiveDate;
use std::cmp::Ordering;
use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

/// JSON bytes that a thread flattens at a time.
const CHUNK_BYTES: u64 = 4 << 20;

/// JSON bytes that all threads together flatten at a time: of chunks that are
/// single large records fewer are in memory at once.
const BYTES_AT_ONCE: u64 = 64 << 20;

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

/// Leaves the highest version of every call. Of two records with the same
/// version the longer one stays, then the one that `greater` says: a choice that
/// does not depend on the order in which they came.
///
/// # Errors
/// Those of `greater`.
pub fn latest(entries: Vec<Entry>, mut greater: impl FnMut(&Entry, &Entry) -> Result<bool>) -> Result<Vec<Entry>> {
    let mut kept: Vec<Entry> = Vec::with_capacity(entries.len());
    let mut places: HashMap<String, usize> = HashMap::with_capacity(entries.len());
    for entry in entries {
        let Some(&place) = places.get(&entry.head.call_id) else {
            places.insert(entry.head.call_id.clone(), kept.len());
            kept.push(entry);
            continue;
        };
        let rank = |e: &Entry| (e.head.version, e.length);
        let replaces = match rank(&entry).cmp(&rank(&kept[place])) {
            Ordering::Greater => true,
            Ordering::Less => false,
            Ordering::Equal => greater(&entry, &kept[place])?,
        };
        if replaces {
            kept[place] = entry;
        }
    }
    Ok(kept)
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
        let path = &self.sources[entry.source];
        let mut file = match self.open.take() {
            Some((source, file)) if source == entry.source => file,
            _ => files::open(path)?,
        };
        let mut bytes = vec![0; usize::try_from(entry.length).unwrap_or(usize::MAX)];
        file.seek(SeekFrom::Start(entry.offset))
            .and_then(|_| file.read_exact(&mut bytes))
            .map_err(|e| Error::io("read", path, e))?;
        self.open = Some((entry.source, file));
        Ok(bytes)
    }
}

/// One chunk of consecutive entries, flattened.
pub struct Flattened {
    /// The entries of the chunk, by number.
    pub entries: std::ops::Range<usize>,
    /// A batch for every record table.
    pub batches: Vec<RecordBatch>,
    /// Entries that were refused, and why.
    pub refused: Vec<(usize, Refused)>,
}

/// Flattens `entries` in their order and gives the chunks to `sink` in that
/// order. A chunk never holds entries for which `group` differs.
///
/// # Errors
/// Any failure of the file system or of `sink`.
pub fn flatten<G: PartialEq>(
    entries: &[Entry],
    sources: &[PathBuf],
    plan: &Arc<Plan>,
    threads: usize,
    group: impl Fn(&Entry) -> G,
    mut sink: impl FnMut(Flattened) -> Result<()>,
) -> Result<Drift> {
    let chunks = chunks(entries, group);
    let largest = chunks.iter().map(|chunk| entries[chunk.clone()].iter().map(|e| e.length).sum::<u64>()).max();
    let at_once = usize::try_from(BYTES_AT_ONCE / largest.unwrap_or(1).max(1)).unwrap_or(usize::MAX);
    let threads = threads.min(chunks.len()).min(at_once).max(1);
    let mut drift = Drift::default();
    if threads == 1 {
        let mut worker = Worker::new(entries, sources, plan);
        for chunk in chunks {
            sink(worker.flatten(chunk)?)?;
        }
        drift.merge(worker.flattener.take_drift());
        return Ok(drift);
    }
    std::thread::scope(|scope| {
        let mut results: Vec<Receiver<Result<Flattened>>> = Vec::new();
        let mut workers = Vec::new();
        for thread in 0..threads {
            let (sender, receiver) = sync_channel(1);
            let mine: Vec<_> = chunks.iter().skip(thread).step_by(threads).cloned().collect();
            workers.push(scope.spawn(move || {
                let mut worker = Worker::new(entries, sources, plan);
                for chunk in mine {
                    let result = worker.flatten(chunk);
                    let failed = result.is_err();
                    if sender.send(result).is_err() || failed {
                        break;
                    }
                }
                worker.flattener.take_drift()
            }));
            results.push(receiver);
        }
        let mut outcome = Ok(());
        for number in 0..chunks.len() {
            let Ok(result) = results[number % threads].recv() else { break };
            outcome = result.and_then(&mut sink);
            if outcome.is_err() {
                break;
            }
        }
        drop(results);
        for worker in workers {
            match worker.join() {
                Ok(part) => drift.merge(part),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        outcome.map(|()| drift)
    })
}

fn chunks<G: PartialEq>(entries: &[Entry], group: impl Fn(&Entry) -> G) -> Vec<std::ops::Range<usize>> {
    let mut chunks = Vec::new();
    let (mut begin, mut bytes) = (0, 0);
    for (index, entry) in entries.iter().enumerate() {
        if index > begin && (bytes >= CHUNK_BYTES || group(&entries[begin]) != group(entry)) {
            chunks.push(begin..index);
            (begin, bytes) = (index, 0);
        }
        bytes += entry.length;
    }
    if begin < entries.len() {
        chunks.push(begin..entries.len());
    }
    chunks
}

struct Worker<'a> {
    entries: &'a [Entry],
    reader: SourceReader<'a>,
    flattener: Flattener,
}

impl<'a> Worker<'a> {
    fn new(entries: &'a [Entry], sources: &'a [PathBuf], plan: &Arc<Plan>) -> Self {
        Self { entries, reader: SourceReader::new(sources), flattener: Flattener::new(plan.clone()) }
    }

    fn flatten(&mut self, chunk: std::ops::Range<usize>) -> Result<Flattened> {
        let mut refused = Vec::new();
        for index in chunk.clone() {
            let record = self.reader.read(&self.entries[index])?;
            if let Err(reason) = self.flattener.push(&record) {
                refused.push((index, reason));
            }
        }
        Ok(Flattened { entries: chunk, batches: self.flattener.flush()?, refused })
    }
}
