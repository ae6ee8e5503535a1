//! The batches of a run: while one is flattened, archived and published on a
//! plain thread, the next is fetched.
//!
//! What is fetched ahead has no number and no intent on disk until the commit
//! before it is published, so that only the newest commit can be unpublished.

use crate::call_id::CallId;
use crate::clock::Clock;
use crate::config::{Config, Endpoint};
use crate::dataset::Dataset;
use crate::dataset::commit::Commit;
use crate::dataset::prepare::{self, Batch, Closed};
use crate::error::{Class, Error, Result};
use crate::fetch::{self, Limits};
use crate::graph::{Client, Outcome};
use crate::notifications::LogCursor;
use crate::progress::{self, Progress};
use crate::quarantine::{Content, Item, Kind};
use crate::redact;
use crate::shutdown::Shutdown;
use crate::simulator::{self, Simulator};
use crate::spool::{Ahead, Keep, Spool, Stamp};
use crate::summary::Summary;
use crate::worklist::{Verdict, Worklist};
use chrono::{DateTime, Utc};
use secrecy::ExposeSecret;
use std::collections::{HashSet, VecDeque};
use std::thread::ScopedJoinHandle;
use tokio::runtime::Runtime;
use tokio::time::Instant;

/// What was collected: all that the batches of a run begin with.
pub struct Work {
    /// The ids that are in no commit yet.
    pub list: Worklist,
    /// Where every log was read to.
    pub cursors: Vec<LogCursor>,
    /// What of the logs was refused.
    pub items: Vec<Item>,
    /// Ids whose spooled record may be older than what Graph has now.
    pub ask_again: HashSet<CallId>,
    /// Whether the log gave anything that a commit must remember.
    pub changed: bool,
}

/// What does not change during a run.
pub struct Pipeline<'a> {
    /// What asks Graph, if it was needed before.
    pub connected: Option<Connected>,
    /// The config.
    pub config: &'a Config,
    /// The clock.
    pub clock: Clock,
    /// The run.
    pub run_id: &'a str,
    /// Records that are stored without asking Graph.
    pub given: &'a [(CallId, Vec<u8>)],
    /// No request begins after this.
    pub deadline: Option<Instant>,
    /// Whether a bar is drawn.
    pub progress: progress::Mode,
}

impl Pipeline<'_> {
    /// Fetches and commits `queue` batch by batch. Ids that were not asked for
    /// stay in it.
    ///
    /// # Errors
    /// What ends the run. Batches that were fetched before are committed, unless
    /// the file system failed.
    pub fn run(
        &self,
        runtime: &Runtime,
        dataset: &mut Dataset,
        work: &mut Work,
        queue: &mut VecDeque<CallId>,
        shutdown: &mut Shutdown,
        summary: &mut Summary,
    ) -> Result<()> {
        let made = match &self.connected {
            None if !queue.is_empty() => Some(runtime.block_on(connect(self.config, self.clock, self.deadline))?),
            _ => None,
        };
        let client = self.connected.as_ref().or(made.as_ref()).map(|(_, client)| client);
        let progress = Progress::new(self.progress, queue.len() as u64);
        let spools = dataset.layout.spools();
        let mut spool = Spool::begin(&spools, dataset.next_number(), &work.cursors)?;
        for (id, record) in self.given {
            let version = crate::flatten::head(record).map_or(0, |head| head.version);
            spool.append(Stamp { call_id: *id, version, fetched_at: self.clock.now() }, record)?;
        }
        let mut batch = Fetched::default();
        let now = self.clock.now();
        let sink = |id, outcome| {
            progress.answered();
            batch.take(id, outcome, &mut spool, now)
        };
        let mut fatal = self.fetch(runtime, client, queue, shutdown, summary, sink);
        loop {
            summary.fetched += batch.fetched;
            if let Some(error) = fatal.take_if(|e| e.class() == Class::Io) {
                return Err(error);
            }
            // Spooled by a killed run and to be asked for again, but not in this batch.
            let spooled = spooled(&spool);
            let later: HashSet<CallId> = queue.iter().copied().filter(|id| spooled.contains(id)).collect();
            let out_of_time = self.deadline.is_some_and(|deadline| Instant::now() >= deadline);
            if fatal.is_some() || queue.is_empty() || shutdown.is_requested() || out_of_time {
                summary.add(&self.commit(dataset, work, batch, &spool, later)?);
                return fatal.map_or(Ok(()), Err);
            }
            let (number, cursors) = (spool.number() + 1, work.cursors.clone());
            let mut next = Fetched::default();
            let mut keep = Some(Place::Ahead(Ahead::begin(&spools)?));
            let span = tracing::Span::current();
            let committed = std::thread::scope(|scope| {
                let committing = scope.spawn(|| span.in_scope(|| self.commit(dataset, work, batch, &spool, later)));
                let mut before = Before { thread: Some(committing), ended: None };
                let now = self.clock.now();
                let sink = |id, outcome| {
                    progress.answered();
                    match before.look() {
                        None => {}
                        Some(Ok(_)) => adopt(&mut keep, &spools, number, &cursors)?,
                        // It says why.
                        Some(Err(_)) => return Err(Error::temporary("The batch before failed")),
                    }
                    keep.as_mut().map_or(Ok(()), |keep| next.take(id, outcome, keep, now))
                };
                fatal = self.fetch(runtime, client, queue, shutdown, summary, sink);
                before.wait()
            });
            summary.add(&committed?);
            if next.is_empty() && (fatal.is_some() || shutdown.is_requested()) {
                Ahead::discard(&spools)?;
                return fatal.map_or(Ok(()), Err);
            }
            adopt(&mut keep, &spools, number, &cursors)?;
            let Some(Place::Spool(following)) = keep else { return Ok(()) };
            (spool, batch) = (following, next);
        }
    }

    /// Fetches one batch; what ended it too early.
    fn fetch(
        &self,
        runtime: &Runtime,
        client: Option<&Client>,
        queue: &mut VecDeque<CallId>,
        shutdown: &mut Shutdown,
        summary: &mut Summary,
        sink: impl FnMut(CallId, Outcome) -> Result<()>,
    ) -> Option<Error> {
        let client = client?;
        let limits = Limits {
            records: self.config.batch_records,
            close_at: Instant::now() + self.config.batch_time,
            deadline: self.deadline,
        };
        let (begun, due) = (Instant::now(), queue.len());
        let ended = runtime.block_on(fetch::fetch(client, queue, limits, shutdown, sink));
        let seconds = begun.elapsed().as_secs_f64();
        summary.fetch_seconds += seconds;
        tracing::info!(ids = due.saturating_sub(queue.len()), seconds, "fetched a batch");
        let counts = client.counts();
        summary.requests = counts.requests;
        summary.throttled = counts.throttled;
        ended.err()
    }

    /// Settles what Graph answered, and commits the batch. Ids of `later` are
    /// still to be asked for.
    fn commit(
        &self,
        dataset: &mut Dataset,
        work: &mut Work,
        mut batch: Fetched,
        spool: &Spool,
        later: HashSet<CallId>,
    ) -> Result<Commit> {
        let now = self.clock.now();
        let spooled = spooled(spool);
        let mut closed = Vec::new();
        let mut stay_pending = later;
        for (id, answer) in std::mem::take(&mut batch.answers) {
            let kept = spooled.contains(&id);
            let (verdict, reason) = match answer {
                Answer::NotFound => (work.list.not_found(id, now), "not-found".to_owned()),
                Answer::Forbidden => (work.list.forbidden(id, batch.fetched > 0), "forbidden".to_owned()),
                Answer::Unavailable(reason) => {
                    work.list.unavailable(id, &reason);
                    (Verdict::Pending, reason)
                }
                Answer::Unusable(reason, bytes) => {
                    // Graph knows the client state too: it sends it.
                    let state = self.config.source.client_state.as_ref().map_or("", |state| state.expose_secret());
                    let bytes = redact::without(&bytes, &redact::forms(state), bytes.len());
                    batch.items.push(answer_item(id, &reason, &bytes, now));
                    (Verdict::Quarantine, reason)
                }
            };
            if kept {
                // An earlier version was spooled: it is stored, and the id stays.
                stay_pending.insert(id);
                continue;
            }
            if verdict == Verdict::Pending {
                continue;
            }
            if reason == "forbidden" {
                batch.items.push(answer_item(id, &reason, b"", now));
            }
            if let Some(pending) = work.list.settle(id) {
                closed.push(Closed { pending, verdict, reason });
            }
        }
        let mut items = std::mem::take(&mut work.items);
        items.append(&mut batch.items);
        prepare::commit(
            dataset,
            Batch {
                spool,
                worklist: &mut work.list,
                stay_pending: &stay_pending,
                closed,
                items,
                cursors: work.cursors.clone(),
                run_id: self.run_id,
                now,
                tenant_id: self.config.tenant_id.map(|id| id.to_string()),
                threads: self.config.threads,
            },
        )
    }
}

/// The client, and the simulator if it is in this process.
pub type Connected = (Option<Simulator>, Client);

/// Sends nothing yet.
///
/// # Errors
/// By class configuration, when the settings are not usable; by class I/O, when the
/// simulator cannot start.
pub async fn connect(config: &Config, clock: Clock, deadline: Option<Instant>) -> Result<Connected> {
    let (simulator, settings) = match &config.endpoint {
        Endpoint::Graph(settings) => (None, (**settings).clone()),
        Endpoint::Simulator(simulated) => {
            let simulator = simulator::start(simulated.simulator.clone(), clock).await?;
            let settings = simulated.client(simulator.endpoint(), simulator.authority());
            (Some(simulator), settings)
        }
    };
    let client = Client::new(settings, clock)?.with_deadline(deadline);
    Ok((simulator, client))
}

fn spooled(spool: &Spool) -> HashSet<CallId> {
    spool.frames().iter().map(|frame| frame.stamp.call_id).collect()
}

/// The commit that is made while the next batch is fetched.
struct Before<'scope> {
    thread: Option<ScopedJoinHandle<'scope, Result<Commit>>>,
    ended: Option<Result<Commit>>,
}

impl Before<'_> {
    /// How it ended, if it has.
    fn look(&mut self) -> Option<&Result<Commit>> {
        if let Some(thread) = self.thread.take_if(|thread| thread.is_finished()) {
            self.ended = Some(joined(thread));
        }
        self.ended.as_ref()
    }

    fn wait(self) -> Result<Commit> {
        let ended = self.ended.or_else(|| self.thread.map(joined));
        ended.unwrap_or_else(|| Err(Error::temporary("The batch before was not made")))
    }
}

fn joined(thread: ScopedJoinHandle<'_, Result<Commit>>) -> Result<Commit> {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Where the records of the next batch are kept.
enum Place {
    Ahead(Ahead),
    Spool(Spool),
}

impl Keep for Place {
    fn append(&mut self, stamp: Stamp, record: &[u8]) -> Result<()> {
        match self {
            Self::Ahead(ahead) => ahead.append(stamp, record),
            Self::Spool(spool) => spool.append(stamp, record),
        }
    }
}

/// The commit before is published: what was fetched ahead gets its number.
fn adopt(place: &mut Option<Place>, spools: &std::path::Path, number: u64, cursors: &[LogCursor]) -> Result<()> {
    *place = match place.take() {
        Some(Place::Ahead(ahead)) => Some(Place::Spool(Spool::adopt(spools, number, cursors, ahead)?)),
        other => other,
    };
    Ok(())
}

fn answer_item(id: CallId, reason: &str, bytes: &[u8], at: DateTime<Utc>) -> Item {
    tracing::warn!(call_id = %id, reason, "an id went to quarantine");
    Item {
        item: String::new(),
        kind: Kind::Answer,
        call_id: Some(id.to_string()),
        file: None,
        offset: None,
        reason: reason.to_owned(),
        at,
        content: Content::new(bytes),
    }
}

enum Answer {
    NotFound,
    Forbidden,
    Unavailable(String),
    Unusable(String, Vec<u8>),
}

/// What came of the requests of a batch, beside the records that are kept.
#[derive(Default)]
struct Fetched {
    fetched: u64,
    answers: Vec<(CallId, Answer)>,
    items: Vec<Item>,
}

impl Fetched {
    fn is_empty(&self) -> bool {
        self.fetched == 0 && self.answers.is_empty()
    }

    fn take(&mut self, id: CallId, outcome: Outcome, keep: &mut impl Keep, now: DateTime<Utc>) -> Result<()> {
        let answer = match outcome {
            Outcome::Record { bytes, version } => {
                self.fetched += 1;
                return keep.append(Stamp { call_id: id, version, fetched_at: now }, &bytes);
            }
            Outcome::NotFound => Answer::NotFound,
            Outcome::Forbidden => Answer::Forbidden,
            Outcome::Unavailable { reason } => Answer::Unavailable(reason),
            Outcome::Unusable { reason, bytes } => Answer::Unusable(reason, bytes),
        };
        self.answers.push((id, answer));
        Ok(())
    }
}
