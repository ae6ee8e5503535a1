//! Parts that are written while further records are flattened: each table has a
//! lane, whose work is done in order on the threads of a pool.

use super::order::{Hold, Pool};
use super::parquet::{Ended, PartWriter, Written};
use super::syncing::Syncing;
use super::tables::Tables;
use crate::arrow::array::RecordBatch;
use crate::error::{Error, Result};
use crate::files::Modes;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

/// The path of the part of a table.
type PathOf<'a> = Box<dyn Fn(&str) -> Result<PathBuf> + 'a>;

/// Writers for one part of every record table.
pub struct PartSet<'a> {
    tables: &'a Tables,
    path: PathOf<'a>,
    modes: Modes,
    pool: Pool,
    lanes: Vec<Option<Arc<Lane>>>,
}

impl<'a> PartSet<'a> {
    /// `path` gives the path of the part of a table, its directory made. Rows are
    /// encoded and written on the threads of `pool`.
    pub fn new(tables: &'a Tables, modes: Modes, pool: &Pool, path: impl Fn(&str) -> Result<PathBuf> + 'a) -> Self {
        let lanes = tables.formats.iter().map(|_| None).collect();
        Self { tables, path: Box::new(path), modes, pool: pool.clone(), lanes }
    }

    /// Appends a batch for every table; `hold` is let go when all are written.
    ///
    /// # Errors
    /// Any failure to begin a file, by class I/O. What fails later is told when the
    /// set is ended.
    pub fn write(&mut self, batches: Vec<RecordBatch>, hold: &Hold) -> Result<()> {
        for (number, batch) in batches.into_iter().enumerate() {
            if batch.num_rows() == 0 {
                continue;
            }
            if self.lanes[number].is_none() {
                let path = (self.path)(&self.tables.catalogue.tables[number].name)?;
                let writer = PartWriter::create(&path, &self.tables.formats[number], self.modes)?;
                self.lanes[number] = Some(Arc::new(Lane::new(writer)));
            }
            let Some(lane) = &self.lanes[number] else { continue };
            lane.push(Step::Write(batch, hold.clone()), &self.pool);
        }
        Ok(())
    }

    /// Ends all files behind what was appended, and does not wait for it.
    fn close(self) -> Closing {
        let close = |lane: Arc<Lane>| {
            let (sender, receiver) = channel();
            lane.push(Step::Finish(sender), &self.pool);
            receiver
        };
        Closing { tables: self.lanes.into_iter().map(|lane| lane.map(close)).collect() }
    }
}

/// Parts that are being ended.
struct Closing {
    tables: Vec<Option<Receiver<Result<Ended>>>>,
}

impl Closing {
    /// Waits, and gives for every table what was written, if anything: not synced yet.
    fn ended(self) -> Result<Vec<Option<Ended>>> {
        let ended: Vec<_> =
            self.tables.into_iter().map(|table| table.map(|t| t.recv().unwrap_or_else(|_| Err(panicked())))).collect();
        ended.into_iter().map(Option::transpose).collect()
    }
}

/// A panic would end the whole process, as the threads are not the caller's.
fn caught<T>(step: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(step)).unwrap_or_else(|_| Err(panicked()))
}

fn panicked() -> Error {
    Error::temporary("Writing a part ended without saying why").hint("run again; report it if it comes again")
}

/// Part sets one after the other: the files of one are ended and synced while the
/// next is written.
pub struct Successive<'a, K> {
    open: Option<(K, PartSet<'a>)>,
    closing: Option<(K, Closing)>,
    syncing: Syncing<K>,
}

impl<K> Default for Successive<'_, K> {
    fn default() -> Self {
        Self { open: None, closing: None, syncing: Syncing::default() }
    }
}

impl<'a, K: PartialEq + Send + 'static> Successive<'a, K> {
    /// Appends batches to the set of `key`, which `begin` makes where another one
    /// is open.
    ///
    /// # Errors
    /// Any failure to begin or end a file, by class I/O.
    pub fn write(
        &mut self,
        key: K,
        begin: impl FnOnce(&K) -> PartSet<'a>,
        batches: Vec<RecordBatch>,
        hold: &Hold,
    ) -> Result<()> {
        if self.open.as_ref().is_none_or(|(present, _)| *present != key) {
            self.close()?;
            let parts = begin(&key);
            self.open = Some((key, parts));
        }
        self.open.as_mut().map_or(Ok(()), |(_, parts)| parts.write(batches, hold))
    }

    fn close(&mut self) -> Result<()> {
        if let Some((key, parts)) = self.closing.take() {
            self.syncing.push(key, parts.ended()?)?;
        }
        self.closing = self.open.take().map(|(key, parts)| (key, parts.close()));
        Ok(())
    }

    /// Ends the last set; for each key, in their order, what was written of every
    /// table, if anything.
    ///
    /// # Errors
    /// Any failure of the file system, by class I/O.
    pub fn finish(mut self) -> Result<Vec<(K, Vec<Option<Written>>)>> {
        // First the open set becomes the one that is closing, then that is waited for.
        self.close()?;
        self.close()?;
        self.syncing.finish()
    }
}

enum Step {
    Write(RecordBatch, Hold),
    Finish(Sender<Result<Ended>>),
}

struct Lane {
    waiting: Mutex<Waiting>,
    /// None once it has failed or is finished.
    writer: Mutex<Result<Option<PartWriter>>>,
}

#[derive(Default)]
struct Waiting {
    steps: VecDeque<Step>,
    /// Whether a thread works on this lane.
    busy: bool,
}

impl Lane {
    fn new(writer: PartWriter) -> Self {
        Self { waiting: Mutex::default(), writer: Mutex::new(Ok(Some(writer))) }
    }

    fn push(self: &Arc<Self>, step: Step, pool: &Pool) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.steps.push_back(step);
        if !std::mem::replace(&mut waiting.busy, true) {
            let lane = Arc::clone(self);
            pool.spawn(move || lane.work());
        }
    }

    fn work(&self) {
        loop {
            let step = {
                let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                let Some(step) = waiting.steps.pop_front() else {
                    waiting.busy = false;
                    return;
                };
                step
            };
            let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
            match step {
                Step::Write(batch, hold) => {
                    if let Ok(Some(open)) = &mut *writer
                        && let Err(error) = caught(|| open.write(batch))
                    {
                        *writer = Err(error);
                    }
                    drop(hold);
                }
                Step::Finish(sender) => {
                    let ended = match std::mem::replace(&mut *writer, Ok(None)) {
                        Ok(Some(open)) => caught(|| open.end()),
                        Ok(None) => Err(panicked()),
                        Err(error) => Err(error),
                    };
                    // Nobody waits where the work was given up.
                    let _ = sender.send(ended);
                }
            }
        }
    }
}
