//! Files that are synced on a thread of their own, so that nothing else waits for
//! the disk.

use super::parquet::{Ended, Written};
use crate::error::{Class, Error, Result};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};

/// Sets of files that wait to be synced, beside the one that is: their files are open.
const WAITING: usize = 2;

/// What was ended of one key, by table.
type Set<K, T> = (K, Vec<Option<T>>);

/// A thread that syncs, and where it takes the sets from.
type Thread<K> = (SyncSender<Set<K, Ended>>, JoinHandle<Result<Vec<Set<K, Written>>>>);

/// Syncs sets of files in the order in which they come.
pub(super) struct Syncing<K> {
    thread: Option<Thread<K>>,
}

impl<K> Default for Syncing<K> {
    fn default() -> Self {
        Self { thread: None }
    }
}

impl<K: Send + 'static> Syncing<K> {
    /// Leaves a set to be synced; waits only while others are before it.
    ///
    /// # Errors
    /// Any failure to sync one before it, or to start a thread, by class I/O.
    pub(super) fn push(&mut self, key: K, ended: Vec<Option<Ended>>) -> Result<()> {
        if self.thread.is_none() {
            let (sender, receiver) = sync_channel(WAITING);
            let thread = Builder::new()
                .name("callrec-sync".into())
                .spawn(move || sync(&receiver))
                .map_err(|e| Error::new(Class::Io, "Cannot start a thread").because(e))?;
            self.thread = Some((sender, thread));
        }
        match &self.thread {
            // The thread ends early only if it failed.
            Some((sender, _)) if sender.send((key, ended)).is_err() => self.finish().map(|_| ()),
            _ => Ok(()),
        }
    }

    /// All sets in their order, once they are synced.
    ///
    /// # Errors
    /// Any failure to sync, by class I/O.
    pub(super) fn finish(&mut self) -> Result<Vec<Set<K, Written>>> {
        let Some((sender, thread)) = self.thread.take() else { return Ok(Vec::new()) };
        drop(sender);
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

fn sync<K>(sets: &Receiver<Set<K, Ended>>) -> Result<Vec<Set<K, Written>>> {
    let mut written = Vec::new();
    for (key, ended) in sets {
        let tables = ended.into_iter().map(|table| table.map(Ended::sync).transpose());
        written.push((key, tables.collect::<Result<_>>()?));
    }
    Ok(written)
}

impl<K> Drop for Syncing<K> {
    fn drop(&mut self) {
        if let Some((sender, thread)) = self.thread.take() {
            drop(sender);
            // Where the work was given up, what it says is of no use.
            let _ = thread.join();
        }
    }
}
