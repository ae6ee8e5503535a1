//! The scheduled job: collect, fetch, flatten, publish. The only module that
//! knows every stage.

use crate::call_id::CallId;
use crate::clock::Clock;
use crate::config::{Config, Endpoint};
use crate::crash_point::crash_point;
use crate::dataset::Dataset;
use crate::dataset::commit::Kind;
use crate::dataset::layout::Layout;
use crate::dataset::prepare::{self, Batch, Closed};
use crate::dataset::{maintain, rebuild};
use crate::error::{Class, Error, Result};
use crate::fetch::{self, Limits};
use crate::graph::{Client, Outcome};
use crate::notifications::{self, Collected, LogCursor};
use crate::progress::Progress;
use crate::quarantine::{Content, Item, Kind as ItemKind};
use crate::redact;
use crate::schema::Catalogue;
use crate::shutdown::Shutdown;
use crate::simulator::{self, Simulator};
use crate::spool::{Spool, Stamp};
use crate::summary::Summary;
use crate::worklist::{Origin, Verdict, Worklist};
use secrecy::ExposeSecret;
use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;
use tokio::time::Instant;

/// What the command line says of a run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Ids named by hand; if there are any, no log is read.
    pub named: Vec<(CallId, Origin)>,
    /// Records that are stored without asking Graph (quarantine retry).
    pub given: Vec<(CallId, Vec<u8>)>,
    /// Only say what would be done.
    pub dry_run: bool,
    /// No request begins after this.
    pub max_runtime: Option<Duration>,
    /// The id of the run.
    pub run_id: String,
    /// Whether a bar is drawn.
    pub progress: crate::progress::Mode,
}

/// What a dry run found.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Plan {
    /// Ids that are due.
    pub ids_due: u64,
    /// Ids that are pending, due or not.
    pub pending: u64,
    /// Requests at least: two per id.
    pub requests_at_least: u64,
    /// Seconds at least, at the published rate.
    pub seconds_at_least: f64,
}

/// How a run ended.
pub struct Ended {
    /// What it did.
    pub summary: Summary,
    /// What ended it early.
    pub error: Option<Error>,
    /// What a dry run found.
    pub plan: Option<Plan>,
    /// Ids named by hand that are still pending.
    pub unsettled: HashSet<CallId>,
}

/// Runs the job once. The summary is whole also when an error ended it.
pub fn run(config: &Config, options: &Options) -> Ended {
    let begun = Instant::now();
    let mut run = Run {
        config,
        options,
        clock: config.clock(),
        summary: Summary { run_id: options.run_id.clone(), ..Summary::default() },
        has_gap: false,
        named_pending: HashSet::new(),
        unfinished: false,
        unread: false,
        plan: None,
        signal: None,
    };
    let error = run.all(begun).err();
    let Run { mut summary, has_gap, unfinished, signal, plan, named_pending, .. } = run;
    // If several apply, the first of 130/143, 78, 77, 74, 75, 3 counts.
    let class = error.as_ref().map(Error::class);
    let (code, status) = match (signal, class) {
        (Some(code), _) => (code, "interrupted"),
        (None, Some(class)) if class != Class::Temporary => (class.exit_code(), "failed"),
        (None, Some(_)) => (75, "temporary"),
        (None, None) if unfinished => (75, "temporary"),
        (None, None) if has_gap || summary.quarantined > 0 => (3, "attention"),
        (None, None) => (0, "done"),
    };
    summary.exit_code = code;
    status.clone_into(&mut summary.status);
    summary.duration_seconds = begun.elapsed().as_secs_f64();
    Ended { summary, error, plan, unsettled: named_pending }
}

struct Run<'a> {
    config: &'a Config,
    options: &'a Options,
    clock: Clock,
    summary: Summary,
    has_gap: bool,
    unfinished: bool,
    /// Whether a part of the logs is left to the next run.
    unread: bool,
    named_pending: HashSet<CallId>,
    plan: Option<Plan>,
    signal: Option<u8>,
}

/// What was collected: all that the batches of a run begin with.
struct Work {
    list: Worklist,
    cursors: Vec<LogCursor>,
    items: Vec<Item>,
    /// Ids whose spooled record may be older than what Graph has now.
    ask_again: HashSet<CallId>,
    /// Whether the log gave anything that a commit must remember.
    changed: bool,
}

impl Run<'_> {
    fn all(&mut self, begun: Instant) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(|e| Error::new(Class::Io, "Cannot start the runtime").because(e))?;
        let layout = Layout::new(&self.config.root, self.config.modes);
        let mut dataset = Dataset::open(layout, Catalogue::embedded())?;
        dataset.check_tenant(self.config.tenant_id.map(|id| id.to_string()).as_deref())?;
        if dataset.needs_upgrade() && !self.options.dry_run {
            self.upgrade(&mut dataset)?;
        }
        let mut shutdown = runtime.block_on(async { Shutdown::listen() });
        let leftover = dataset.leftover()?;
        let mut work = self.collect(&dataset, leftover.as_ref())?;
        let only_named = !self.options.named.is_empty() || !self.options.given.is_empty();
        let mut queue: VecDeque<CallId> = self.due(&work, leftover.as_ref(), only_named).into();
        if self.options.dry_run {
            self.plan = Some(self.estimate(&work, queue.len()));
            return Ok(());
        }
        let outcome = self.batches(&runtime, &mut dataset, &mut work, leftover, &mut queue, begun, &mut shutdown);
        self.signal = shutdown.exit_code();
        let due = queue.len();
        self.report_pending(&work.list);
        self.unfinished = due > 0 || work.list.has_unfinished() || self.unread;
        let by_hand = self.options.named.iter().map(|(id, _)| *id).chain(self.options.given.iter().map(|(id, _)| *id));
        self.named_pending = by_hand.filter(|id| work.list.get(*id).is_some()).collect();
        outcome?;
        if self.signal.is_none() && dataset.leftover()?.is_none() {
            let policy = maintain::Policy::Scheduled { today: self.clock.today(), like: self.config.merge_parts };
            if let Some(commit) = maintain::merge(&mut dataset, policy, &self.options.run_id, self.clock.now())? {
                tracing::info!(files = commit.files.len(), "merged parts");
                self.summary.add_files(&commit);
            }
        }
        Ok(())
    }

    fn upgrade(&self, dataset: &mut Dataset) -> Result<()> {
        tracing::info!("the tables have another schema than this program: upgrading them first");
        rebuild::rebuild(dataset, Kind::Upgrade, &self.options.run_id, self.clock.now(), self.config.threads)?;
        Ok(())
    }

    /// Reads the logs, or takes the ids named by hand.
    fn collect(&mut self, dataset: &Dataset, leftover: Option<&Spool>) -> Result<Work> {
        let now = self.clock.now();
        let newest = dataset.newest();
        let from = newest.map(|c| c.cursors.clone()).unwrap_or_default();
        let mut list = Worklist::new(newest.map(|c| c.pending.clone()).unwrap_or_default());
        let (named, given) = (&self.options.named, &self.options.given);
        let mut work = if named.is_empty() && given.is_empty() {
            let collected = notifications::collect(&self.config.source, &from)?;
            let mut ask_again = HashSet::new();
            if let Some(spool) = leftover {
                // Notifications after what the killed run had collected.
                let later = notifications::collect(&self.config.source, spool.cursors())?;
                ask_again.extend(later.notifications.iter().map(|n| n.call_id));
            }
            let mut ids = HashSet::new();
            for notification in &collected.notifications {
                list.notified(notification, now);
                ids.insert(notification.call_id);
            }
            self.summary.ids_collected = ids.len() as u64;
            self.note(&collected);
            crash_point("collect::read")?;
            let changed = collected.read > 0
                || !collected.gaps.is_empty()
                || !collected.rejected.is_empty()
                || collected.cursors != from;
            let items = self.rejected(&collected);
            Work { list, cursors: collected.cursors, items, ask_again, changed }
        } else {
            Work { list, cursors: from, items: Vec::new(), ask_again: HashSet::new(), changed: false }
        };
        for (id, origin) in named.iter().copied().chain(given.iter().map(|(id, _)| (*id, Origin::Quarantine))) {
            work.list.named(id, origin, now);
            work.ask_again.insert(id);
        }
        let by_hand: HashSet<CallId> = named.iter().map(|(id, _)| *id).collect();
        self.summary.ids_collected += by_hand.len() as u64;
        for frame in leftover.map(Spool::frames).unwrap_or_default() {
            work.list.spooled(frame.stamp.call_id, now);
        }
        Ok(work)
    }

    fn note(&mut self, collected: &Collected) {
        self.summary.notifications_read = collected.read;
        self.summary.notifications_skipped =
            collected.skipped.iter().map(|(reason, n)| ((*reason).to_owned(), *n)).collect();
        if collected.more {
            self.unread = true;
            tracing::warn!(
                refused = collected.rejected.len(),
                "so much of the logs was refused that the rest is left to the next run; `callrec quarantine list` says what it was"
            );
        }
        for gap in &collected.gaps {
            self.has_gap = true;
            tracing::error!(file = %gap.file.display(), reason = gap.reason.code(), "a part of this log was not read and is not found any more: calls that only it names are missing");
        }
    }

    fn rejected(&self, collected: &Collected) -> Vec<Item> {
        let now = self.clock.now();
        collected
            .rejected
            .iter()
            .map(|rejected| {
                let reason = rejected.reason.code();
                tracing::warn!(file = %rejected.file.display(), offset = rejected.offset, reason, "a part of the log went to quarantine");
                Item {
                    item: String::new(),
                    kind: ItemKind::Notification,
                    call_id: None,
                    file: Some(rejected.file.display().to_string()),
                    offset: Some(rejected.offset),
                    reason: reason.to_owned(),
                    at: now,
                    content: Content::new(&rejected.bytes),
                }
            })
            .collect()
    }

    /// Ids that Graph is asked for: what the spool has is spared, unless it may
    /// be older than what Graph has now.
    fn due(&self, work: &Work, leftover: Option<&Spool>, only_named: bool) -> Vec<CallId> {
        let spooled: HashSet<CallId> =
            leftover.map(Spool::frames).unwrap_or_default().iter().map(|f| f.stamp.call_id).collect();
        let given: HashSet<CallId> = self.options.given.iter().map(|(id, _)| *id).collect();
        let mut due = work.list.due(self.clock.now(), only_named);
        due.retain(|id| !given.contains(id) && (!spooled.contains(id) || work.ask_again.contains(id)));
        // The first batch begins with what the spool holds.
        due.sort_by_key(|id| !spooled.contains(id));
        due
    }

    fn estimate(&self, work: &Work, due: usize) -> Plan {
        let requests = 2 * due as u64;
        let rate = match &self.config.endpoint {
            Endpoint::Graph(settings) => settings.requests_per_20s,
            Endpoint::Simulator(_) => 1500,
        };
        Plan {
            ids_due: due as u64,
            pending: work.list.pending().count() as u64,
            requests_at_least: requests,
            seconds_at_least: requests as f64 * 20.0 / f64::from(rate),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the one place where all stages meet")]
    fn batches(
        &mut self,
        runtime: &tokio::runtime::Runtime,
        dataset: &mut Dataset,
        work: &mut Work,
        leftover: Option<Spool>,
        queue: &mut VecDeque<CallId>,
        begun: Instant,
        shutdown: &mut Shutdown,
    ) -> Result<()> {
        if queue.is_empty() && leftover.is_none() && self.options.given.is_empty() && !work.changed {
            return Ok(());
        }
        let deadline = self.options.max_runtime.map(|limit| begun + limit);
        let graph = if queue.is_empty() { None } else { Some(runtime.block_on(self.connect(deadline))?) };
        let progress = Progress::new(self.options.progress, queue.len() as u64);
        let mut first = true;
        loop {
            let mut batch = FetchedBatch::default();
            let mut spool = Spool::begin(&dataset.layout.spools(), dataset.next_number(), &work.cursors)?;
            if first {
                for (id, record) in &self.options.given {
                    let version = crate::flatten::head(record).map_or(0, |head| head.version);
                    spool.append(Stamp { call_id: *id, version, fetched_at: self.clock.now() }, record)?;
                }
            }
            first = false;
            let mut fatal = None;
            if let Some((_, client)) = &graph {
                let limits = Limits {
                    records: self.config.batch_records,
                    close_at: Instant::now() + self.config.batch_time,
                    deadline,
                };
                let now = self.clock.now();
                let sink = |id: CallId, outcome: Outcome| {
                    progress.answered();
                    batch.take(id, outcome, &mut spool, now)
                };
                let begun = Instant::now();
                fatal = runtime.block_on(fetch::fetch(client, queue, limits, shutdown, sink)).err();
                let seconds = begun.elapsed().as_secs_f64();
                self.summary.fetch_seconds += seconds;
                tracing::info!(records = batch.fetched, seconds, "fetched a batch");
                let counts = client.counts();
                self.summary.requests = counts.requests;
                self.summary.throttled = counts.throttled;
            }
            self.summary.fetched += batch.fetched;
            if fatal.as_ref().is_some_and(|e| e.class() == Class::Io) {
                break Err(fatal.unwrap_or_else(|| Error::temporary("The batch ended early")));
            }
            self.commit(dataset, work, batch, &spool, queue)?;
            if let Some(error) = fatal {
                break Err(error);
            }
            let out_of_time = deadline.is_some_and(|deadline| Instant::now() >= deadline);
            if queue.is_empty() || shutdown.is_requested() || out_of_time {
                break Ok(());
            }
        }
    }

    async fn connect(&self, deadline: Option<Instant>) -> Result<(Option<Simulator>, Client)> {
        let (simulator, settings) = match &self.config.endpoint {
            Endpoint::Graph(settings) => (None, (**settings).clone()),
            Endpoint::Simulator(simulated) => {
                let simulator = simulator::start(simulated.simulator.clone(), self.clock).await?;
                let settings = simulated.client(simulator.endpoint(), simulator.authority());
                (Some(simulator), settings)
            }
        };
        let client = Client::new(settings, self.clock)?.with_deadline(deadline);
        Ok((simulator, client))
    }

    fn commit(
        &mut self,
        dataset: &mut Dataset,
        work: &mut Work,
        mut batch: FetchedBatch,
        spool: &Spool,
        queue: &VecDeque<CallId>,
    ) -> Result<()> {
        let now = self.clock.now();
        let spooled: HashMap<CallId, usize> =
            spool.frames().iter().enumerate().map(|(n, frame)| (frame.stamp.call_id, n)).collect();
        let mut closed = Vec::new();
        // Spooled by a killed run and to be asked for again, but not in this batch.
        let mut stay_pending: HashSet<CallId> = queue.iter().copied().filter(|id| spooled.contains_key(id)).collect();
        for (id, answer) in std::mem::take(&mut batch.answers) {
            let kept = spooled.contains_key(&id);
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
        let commit = prepare::commit(
            dataset,
            Batch {
                spool,
                worklist: &mut work.list,
                stay_pending: &stay_pending,
                closed,
                items,
                cursors: work.cursors.clone(),
                run_id: &self.options.run_id,
                now,
                tenant_id: self.config.tenant_id.map(|id| id.to_string()),
                threads: self.config.threads,
            },
        )?;
        self.summary.add(&commit);
        Ok(())
    }

    fn report_pending(&mut self, list: &Worklist) {
        self.summary.pending = list.pending().count() as u64;
        self.summary.oldest_pending =
            list.pending().map(|p| p.first_seen).min().map(|at| at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true));
    }
}

fn answer_item(id: CallId, reason: &str, bytes: &[u8], at: chrono::DateTime<chrono::Utc>) -> Item {
    tracing::warn!(call_id = %id, reason, "an id went to quarantine");
    Item {
        item: String::new(),
        kind: ItemKind::Answer,
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

#[derive(Default)]
struct FetchedBatch {
    fetched: u64,
    answers: Vec<(CallId, Answer)>,
    items: Vec<Item>,
}

impl FetchedBatch {
    fn take(
        &mut self,
        id: CallId,
        outcome: Outcome,
        spool: &mut Spool,
        now: chrono::DateTime<chrono::Utc>,
    ) -> Result<()> {
        let answer = match outcome {
            Outcome::Record { bytes, version } => {
                self.fetched += 1;
                return spool.append(Stamp { call_id: id, version, fetched_at: now }, &bytes);
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
