//! One thread that writes: it takes all lines that wait, writes them in one go,
//! syncs once, and answers them all.

use super::counts::{Counts, add};
use super::files::LogFiles;
use crate::clock::Clock;
use crate::error::{Class, Error, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;

/// Most lines that wait, and most bytes of them.
const MOST_LINES: usize = 4096;
const MOST_BYTES: usize = 64 << 20;
/// A batch is closed when it has so many bytes.
const BATCH_BYTES: usize = 4 << 20;
/// How often a log that cannot be written is tried while nothing is posted.
const TRY_AGAIN: Duration = Duration::from_secs(1);

struct Post {
    line: Vec<u8>,
    notifications: u64,
    written: oneshot::Sender<()>,
}

/// Hands lines to the thread.
#[derive(Clone)]
pub(super) struct Writer {
    posts: SyncSender<Post>,
    waiting: Arc<AtomicUsize>,
}

impl Writer {
    /// Starts the thread. It ends when the last handle is dropped and all is written.
    pub(super) fn start(log: LogFiles, counts: Arc<Counts>, clock: Clock) -> Result<(Self, JoinHandle<()>)> {
        let (posts, receiver) = sync_channel(MOST_LINES);
        let waiting = Arc::new(AtomicUsize::new(0));
        let handle = Self { posts, waiting: waiting.clone() };
        let mut thread = Thread { log, counts, clock, waiting, receiver, synced: 0 };
        let thread = std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || thread.run())
            .map_err(|e| Error::new(Class::Io, "Cannot start the thread of the log").because(e))?;
        Ok((handle, thread))
    }

    /// Hands over a line. What comes back is told when it is on the disk, and
    /// dropped when it cannot be written; `None` if too much waits already.
    pub(super) fn write(&self, line: Vec<u8>, notifications: u64) -> Option<oneshot::Receiver<()>> {
        let length = line.len();
        let (written, answer) = oneshot::channel();
        if self.waiting.fetch_add(length, Ordering::AcqRel) + length > MOST_BYTES
            || self.posts.try_send(Post { line, notifications, written }).is_err()
        {
            self.waiting.fetch_sub(length, Ordering::AcqRel);
            return None;
        }
        Some(answer)
    }
}

struct Thread {
    log: LogFiles,
    counts: Arc<Counts>,
    clock: Clock,
    waiting: Arc<AtomicUsize>,
    receiver: Receiver<Post>,
    synced: u64,
}

impl Thread {
    fn run(&mut self) {
        loop {
            let failing = self.counts.failing.load(Ordering::Relaxed);
            match self.receiver.recv_timeout(if failing { TRY_AGAIN } else { Duration::from_secs(3600) }) {
                Ok(first) => self.batch(first),
                Err(RecvTimeoutError::Timeout) if failing => {
                    let recovered = self.log.recovered();
                    self.says(recovered);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Writes what waits.
    fn batch(&mut self, first: Post) {
        let (mut lines, mut posts, mut notifications) = (Vec::new(), Vec::new(), 0);
        let mut next = Some(first);
        while let Some(post) = next {
            self.waiting.fetch_sub(post.line.len(), Ordering::AcqRel);
            // One that was given up was answered with 503, and comes again.
            if !post.written.is_closed() {
                lines.extend_from_slice(&post.line);
                notifications += post.notifications;
                posts.push(post.written);
            }
            next = if lines.len() < BATCH_BYTES { self.receiver.try_recv().ok() } else { None };
        }
        if posts.is_empty() {
            return;
        }
        let now = self.clock.now();
        let appended = self.log.append(&lines, now);
        self.says(appended.is_ok());
        match appended {
            Ok(()) => {
                add(&self.counts.lines, posts.len() as u64);
                add(&self.counts.bytes, lines.len() as u64);
                add(&self.counts.notifications, notifications);
                if notifications > 0 {
                    self.counts.last_notification.store(now.timestamp(), Ordering::Relaxed);
                }
                for post in posts {
                    let _ = post.send(());
                }
            }
            Err(error) => {
                let failures = self.counts.write_failures.fetch_add(1, Ordering::Relaxed) + 1;
                if failures.is_power_of_two() {
                    tracing::error!(failures, "posts are answered with 503 until the log can be written: {error}");
                }
            }
        }
    }

    /// Notes whether the log can be written, and what it was synced.
    fn says(&mut self, writable: bool) {
        let failing = self.counts.failing.swap(!writable, Ordering::Relaxed);
        if failing && writable {
            tracing::info!("the notification log can be written again");
        }
        add(&self.counts.syncs, self.log.syncs - self.synced);
        self.synced = self.log.syncs;
    }
}
