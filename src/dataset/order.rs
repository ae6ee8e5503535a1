//! The order of the tables: an index of records, sorted by date, start and call
//! id, where the latest version of a call wins; and the records flattened in
//! that order on any number of threads, with the same result.

use crate::arrow::array::RecordBatch;
use crate::error::{Class, Error, Result};
use crate::files;
use crate::flatten::{Drift, Flattener, Head, Plan, Refused};
use chrono::NaiveDate;
use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
        let mut bytes = Vec::new();
        self.read_into(entry, &mut bytes)?;
        Ok(bytes)
    }

    fn read_into(&mut self, entry: &Entry, bytes: &mut Vec<u8>) -> Result<()> {
        let path = &self.sources[entry.source];
        let mut file = match self.open.take() {
            Some((source, file)) if source == entry.source => file,
            _ => files::open(path)?,
        };
        bytes.resize(usize::try_from(entry.length).unwrap_or(usize::MAX), 0);
        file.seek(SeekFrom::Start(entry.offset))
            .and_then(|_| file.read_exact(bytes))
            .map_err(|e| Error::io("read", path, e))?;
        self.open = Some((entry.source, file));
        Ok(())
    }
}

/// Threads that flatten and write.
pub type Pool = Arc<rayon::ThreadPool>;

/// A pool of so many threads.
///
/// # Errors
/// By class I/O when the system gives no thread.
pub fn pool(threads: usize) -> Result<Pool> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads.max(1))
        .thread_name(|number| format!("callrec-{number}"))
        .build()
        .map(Arc::new)
        .map_err(|e| Error::new(Class::Io, "Cannot start threads").because(e))
}

/// One chunk of consecutive entries, flattened.
pub struct Flattened {
    /// The entries of the chunk, by number.
    pub entries: Range<usize>,
    /// A batch for every record table.
    pub batches: Vec<RecordBatch>,
    /// Entries that were refused, and why.
    pub refused: Vec<(usize, Refused)>,
    /// Kept by whatever still works on the batches: few chunks are at work at once.
    pub hold: Hold,
}

/// Says, when the last clone of it is dropped, that a chunk is done with.
#[derive(Clone)]
pub struct Hold {
    _dropped: Arc<Dropped>,
}

struct Dropped(Sender<Event>);

impl Drop for Dropped {
    fn drop(&mut self) {
        // Nobody listens where the work was given up.
        let _ = self.0.send(Event::Done);
    }
}

/// The batches of a chunk, and the entries that were refused.
type Chunk = (Vec<RecordBatch>, Vec<(usize, Refused)>);

enum Event {
    /// The number of the chunk, and what it gave, or the panic of its thread.
    Flattened(usize, std::thread::Result<Result<Chunk>>),
    Done,
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
    pool: &Pool,
    group: impl Fn(&Entry) -> G,
    mut sink: impl FnMut(Flattened) -> Result<()>,
) -> Result<Drift> {
    let chunks = chunks(entries, group);
    let largest = chunks.iter().map(|chunk| entries[chunk.clone()].iter().map(|e| e.length).sum::<u64>()).max();
    let at_once = usize::try_from(BYTES_AT_ONCE / largest.unwrap_or(1).max(1)).unwrap_or(usize::MAX);
    let at_once = at_once.min(pool.current_num_threads() + 1).max(1);
    let workers: Mutex<Vec<Worker<'_>>> = Mutex::default();
    let outcome = pool.in_place_scope(|scope| {
        let (sender, events) = channel();
        let (mut begun, mut at_work, mut turn) = (0, 0, 0);
        let mut waiting = BTreeMap::new();
        while turn < chunks.len() {
            while begun < chunks.len() && at_work < at_once {
                let (chunk, sender, workers, number) = (chunks[begun].clone(), sender.clone(), &workers, begun);
                scope.spawn(move |_| {
                    let worker = lock(workers).pop();
                    let mut worker = worker.unwrap_or_else(|| Worker::new(entries, sources, plan));
                    let flattened = catch_unwind(AssertUnwindSafe(|| worker.flatten(chunk)));
                    lock(workers).push(worker);
                    // Nobody listens where the work was given up.
                    let _ = sender.send(Event::Flattened(number, flattened));
                });
                begun += 1;
                at_work += 1;
            }
            match events.recv() {
                Ok(Event::Flattened(number, flattened)) => {
                    waiting.insert(number, flattened);
                }
                Ok(Event::Done) => at_work -= 1,
                Err(_) => break,
            }
            while let Some(flattened) = waiting.remove(&turn) {
                let (batches, refused) = flattened.unwrap_or_else(|panic| resume_unwind(panic))?;
                let hold = Hold { _dropped: Arc::new(Dropped(sender.clone())) };
                sink(Flattened { entries: chunks[turn].clone(), batches, refused, hold })?;
                turn += 1;
            }
        }
        Ok(())
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

fn chunks<G: PartialEq>(entries: &[Entry], group: impl Fn(&Entry) -> G) -> Vec<Range<usize>> {
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
    record: Vec<u8>,
    flattener: Flattener,
}

impl<'a> Worker<'a> {
    fn new(entries: &'a [Entry], sources: &'a [PathBuf], plan: &Arc<Plan>) -> Self {
        Self {
            entries,
            reader: SourceReader::new(sources),
            record: Vec::new(),
            flattener: Flattener::new(plan.clone()),
        }
    }

    fn flatten(&mut self, chunk: Range<usize>) -> Result<Chunk> {
        let mut refused = Vec::new();
        for index in chunk {
            self.reader.read_into(&self.entries[index], &mut self.record)?;
            if let Err(reason) = self.flattener.push(&self.record) {
                refused.push((index, reason));
            }
        }
        Ok((self.flattener.flush()?, refused))
    }
}
