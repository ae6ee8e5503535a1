//! How many connections there are, and which one goes when there are too many.

use super::counts::{Counts, add};
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::oneshot;

#[derive(Debug)]
struct Entry {
    /// Since when we wait for a request, or for the rest of one; `None` while one
    /// is being answered.
    waiting: Option<Instant>,
    /// Dropped to close the connection.
    _close: oneshot::Sender<()>,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    entries: HashMap<u64, Entry>,
}

/// The places for connections. When all are taken the connection that has kept us
/// waiting longest gives way to a new one, so that slow ones cannot hold them.
#[derive(Clone, Debug)]
pub(super) struct Slots {
    most: usize,
    open: Arc<Mutex<Open>>,
    counts: Arc<Counts>,
}

/// The place of one connection.
#[derive(Debug)]
pub(super) struct Slot {
    number: u64,
    slots: Slots,
}

impl Slots {
    pub(super) fn new(most: usize, counts: Arc<Counts>) -> Self {
        Self { most, open: Arc::default(), counts }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place, and what ends when it must be given up. `None` if all connections
    /// are being answered.
    pub(super) fn take(&self) -> Option<(Slot, oneshot::Receiver<()>)> {
        let mut open = self.open();
        if open.entries.len() >= self.most {
            add(&self.counts.evicted, 1);
            let waiting = open.entries.iter().filter_map(|(number, entry)| Some((entry.waiting?, *number)));
            let (_, slowest) = waiting.min()?;
            open.entries.remove(&slowest);
        } else {
            add(&self.counts.connections, 1);
        }
        let (close, closed) = oneshot::channel();
        let number = open.next;
        open.next += 1;
        open.entries.insert(number, Entry { waiting: Some(Instant::now()), _close: close });
        Some((Slot { number, slots: self.clone() }, closed))
    }
}

impl Slot {
    /// A request is whole and is being answered.
    pub(super) fn answers(&self) {
        self.waits_since(None);
    }

    /// The next request is awaited.
    pub(super) fn waits(&self) {
        self.waits_since(Some(Instant::now()));
    }

    fn waits_since(&self, waiting: Option<Instant>) {
        if let Some(entry) = self.slots.open().entries.get_mut(&self.number) {
            entry.waiting = waiting;
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.slots.open().entries.remove(&self.number).is_some() {
            self.slots.counts.connections.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_that_keeps_us_waiting_longest_gives_way() {
        let counts = Arc::new(Counts::default());
        let slots = Slots::new(2, counts.clone());
        let closes =
            |closed: &mut oneshot::Receiver<()>| closed.try_recv() == Err(oneshot::error::TryRecvError::Closed);
        let (first, mut of_first) = slots.take().unwrap();
        let (second, mut of_second) = slots.take().unwrap();
        first.answers();
        let (third, mut of_third) = slots.take().unwrap();
        assert!(!closes(&mut of_first) && closes(&mut of_second) && !closes(&mut of_third));
        third.answers();
        assert!(slots.take().is_none());
        first.waits();
        let (fourth, _of_fourth) = slots.take().unwrap();
        assert!(closes(&mut of_first) && !closes(&mut of_third));
        drop((first, second));
        assert_eq!(counts.connections.load(Ordering::Relaxed), 2);
        drop((third, fourth));
        assert_eq!(counts.connections.load(Ordering::Relaxed), 0);
        assert_eq!(counts.evicted.load(Ordering::Relaxed), 3);
    }
}
