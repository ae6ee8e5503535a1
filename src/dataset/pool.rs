//! Threads that flatten and write, and work on them whose results come in the
//! order of the jobs.

use crate::error::{Class, Error, Result};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

/// JSON bytes that all threads together work on at a time: of jobs that are
/// single large records fewer are in memory at once.
const BYTES_AT_ONCE: u64 = 64 << 20;

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

/// Kept by whatever still works on the result of a job: few jobs are at work at
/// once. Says, when the last clone of it is dropped, that the job is done with.
#[derive(Clone)]
pub struct Hold {
    _dropped: Arc<dyn Send + Sync>,
}

struct Dropped<R>(u64, Sender<Event<R>>);

impl<R> Drop for Dropped<R> {
    fn drop(&mut self) {
        // Nobody listens where the work was given up.
        let _ = self.1.send(Event::Done(self.0));
    }
}

enum Event<R> {
    /// The number of the job and its bytes, and what it gave, or the panic of its thread.
    Worked(usize, u64, std::thread::Result<R>),
    /// A job of so many bytes is done with.
    Done(u64),
}

/// Does `work` on the threads of `pool` and gives the results to `sink` in the
/// order of the jobs. Each job comes with the bytes that it takes up.
///
/// # Errors
/// That of the first job that is none, behind all jobs before it; those of `sink`.
pub fn in_order<J: Send, R: Send + 'static>(
    pool: &Pool,
    jobs: impl Iterator<Item = Result<(u64, J)>>,
    work: impl Fn(J) -> R + Sync,
    mut sink: impl FnMut(R, Hold) -> Result<()>,
) -> Result<()> {
    let (work, mut jobs) = (&work, jobs.fuse());
    let most = pool.current_num_threads() + 1;
    pool.in_place_scope(|scope| {
        let (sender, events) = channel();
        let (mut begun, mut at_work, mut bytes_at_work, mut turn) = (0, 0, 0, 0);
        let (mut next, mut failed) = (None, None);
        let mut waiting = BTreeMap::new();
        loop {
            loop {
                if next.is_none() && failed.is_none() {
                    match jobs.next() {
                        Some(Ok(job)) => next = Some(job),
                        Some(Err(error)) => failed = Some(error),
                        None => {}
                    }
                }
                let fits = |&mut (bytes, _): &mut (u64, J)| {
                    at_work == 0 || at_work < most && bytes_at_work + bytes <= BYTES_AT_ONCE
                };
                let Some((bytes, job)) = next.take_if(fits) else { break };
                let (sender, number) = (sender.clone(), begun);
                scope.spawn(move |_| {
                    let result = catch_unwind(AssertUnwindSafe(|| work(job)));
                    // Nobody listens where the work was given up.
                    let _ = sender.send(Event::Worked(number, bytes, result));
                });
                begun += 1;
                at_work += 1;
                bytes_at_work += bytes;
            }
            if next.is_none() && turn == begun {
                return failed.map_or(Ok(()), Err);
            }
            match events.recv() {
                Ok(Event::Worked(number, bytes, result)) => {
                    waiting.insert(number, (bytes, result));
                }
                Ok(Event::Done(bytes)) => {
                    at_work -= 1;
                    bytes_at_work -= bytes;
                }
                Err(_) => return Ok(()),
            }
            while let Some((bytes, result)) = waiting.remove(&turn) {
                let result = result.unwrap_or_else(|panic| resume_unwind(panic));
                turn += 1;
                sink(result, Hold { _dropped: Arc::new(Dropped(bytes, sender.clone())) })?;
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// The most bytes that were at work at once, and the results.
    fn run(jobs: Vec<Result<(u64, u64)>>) -> (u64, Vec<u64>, Result<()>) {
        let (at_work, most) = (AtomicU64::new(0), AtomicU64::new(0));
        let mut results = Vec::new();
        let outcome = in_order(
            &pool(4).unwrap(),
            jobs.into_iter().map(|job| job.map(|(bytes, number)| (bytes, (bytes, number)))),
            |(bytes, number)| {
                most.fetch_max(at_work.fetch_add(bytes, Ordering::SeqCst) + bytes, Ordering::SeqCst);
                std::thread::sleep(std::time::Duration::from_millis(number % 3));
                at_work.fetch_sub(bytes, Ordering::SeqCst);
                number
            },
            |number, _| {
                results.push(number);
                Ok(())
            },
        );
        (most.into_inner(), results, outcome)
    }

    #[test]
    fn results_come_in_order_and_few_large_jobs_are_at_work_at_once() {
        let (most, results, outcome) = run((0..50).map(|number| Ok((20 << 20, number))).collect());
        outcome.unwrap();
        assert_eq!(results, (0..50).collect::<Vec<_>>());
        assert!(most <= BYTES_AT_ONCE, "{most}");
    }

    #[test]
    fn a_job_over_the_limit_is_done_alone() {
        let (most, results, outcome) = run((0..5).map(|number| Ok((BYTES_AT_ONCE * 2, number))).collect());
        outcome.unwrap();
        assert_eq!((most, results.len()), (BYTES_AT_ONCE * 2, 5));
    }

    #[test]
    fn an_error_comes_behind_the_jobs_before_it() {
        let mut jobs: Vec<Result<(u64, u64)>> = (0..9).map(|number| Ok((1, number))).collect();
        jobs.push(Err(Error::config("no job")));
        jobs.push(Ok((1, 10)));
        let (_, results, outcome) = run(jobs);
        assert_eq!(results, (0..9).collect::<Vec<_>>());
        assert!(outcome.is_err());
    }
}
