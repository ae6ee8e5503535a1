//! How much of Graph's answers is in memory at once: small records side by
//! side, the larger the fewer, the largest one after the other.
//!
//! A record begins small. One whose answer or lists grow further waits for the
//! next larger room and holds all its rooms until it is dropped. Nobody waits for
//! a smaller room than the one that he holds, so the waits end.

use super::throttle::TooLate;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

/// Bytes of one answer, and of all lists of a record, that need no room.
const SMALL: usize = 1 << 20;
/// Bytes for which a room is enough, and how many rooms there are.
const SIZES: [(usize, usize); 3] = [(4 << 20, 6), (16 << 20, 3), (usize::MAX, 1)];

/// The rooms of a client.
#[derive(Clone, Debug)]
pub(super) struct Rooms([(usize, Arc<Semaphore>); 3]);

impl Rooms {
    pub(super) fn new() -> Self {
        Self(SIZES.map(|(size, rooms)| (size, Arc::new(Semaphore::new(rooms)))))
    }

    /// For a record that is small so far.
    pub(super) fn small(&self) -> Room {
        Room { rooms: self.clone(), limit: AtomicUsize::new(SMALL), held: Mutex::default() }
    }
}

/// The room of one record. To be kept for as long as the record is in memory.
#[derive(Debug)]
pub struct Room {
    rooms: Rooms,
    limit: AtomicUsize,
    held: Mutex<Vec<OwnedSemaphorePermit>>,
}

impl Room {
    /// Bytes that one answer, and all lists together, may have at present.
    pub(super) fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// Waits until there is room for more than `size` bytes.
    ///
    /// # Errors
    /// When the deadline passes.
    pub(super) async fn grow_beyond(&self, size: usize, deadline: Option<Instant>) -> Result<(), TooLate> {
        // Both lists of a record wait here in turn.
        let mut held = self.held.lock().await;
        for (limit, rooms) in &self.rooms.0 {
            if self.limit() > size {
                break;
            }
            if *limit <= self.limit() {
                continue;
            }
            let acquire = rooms.clone().acquire_owned();
            let permit = match deadline {
                Some(deadline) => timeout_at(deadline, acquire).await.map_err(|_| TooLate::Deadline)?,
                None => acquire.await,
            };
            // The semaphores are never closed.
            held.extend(permit);
            self.limit.store(*limit, Ordering::Relaxed);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const LARGE: usize = SIZES[1].0;

    #[tokio::test]
    async fn one_of_the_largest_at_a_time() {
        let rooms = Rooms::new();
        let (one, other) = (rooms.small(), rooms.small());
        one.grow_beyond(LARGE, None).await.expect("there is room");
        assert_eq!(one.limit(), usize::MAX);
        let soon = Some(Instant::now() + Duration::from_millis(5));
        assert_eq!(other.grow_beyond(LARGE, soon).await, Err(TooLate::Deadline));
        assert_eq!(other.limit(), LARGE, "it has the room that it got");
        drop(one);
        other.grow_beyond(LARGE, None).await.expect("there is room again");
    }

    #[tokio::test]
    async fn both_lists_of_a_record_share_its_room() {
        let rooms = Rooms::new();
        let room = rooms.small();
        let (one, other) = tokio::join!(room.grow_beyond(LARGE, None), room.grow_beyond(LARGE, None));
        assert_eq!((one, other), (Ok(()), Ok(())));
        assert_eq!(rooms.small().limit(), SMALL);
    }
}
