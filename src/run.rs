//! The scheduled job: collect, fetch, flatten, publish.

mod ended;
mod plan;
mod record;

pub use ended::Ended;
pub use plan::Plan;

use crate::alerts::{self, Receiver, Told};
use crate::call_id::CallId;
use crate::clock::Clock;
use crate::config::{Config, Endpoint};
use crate::crash_point::crash_point;
use crate::dataset::Dataset;
use crate::dataset::commit::Kind;
use crate::dataset::layout::Layout;
use crate::dataset::{maintain, rebuild};
use crate::error::{Class, Error, Result};
use crate::files::{self, PRIVATE};
use crate::log_run::Collection;
use crate::notifications::{self, Collected};
use crate::pipeline::{self, Connected, Pipeline, Work};
use crate::quarantine::{Content, Item, Kind as ItemKind};
use crate::reconcile;
use crate::schema::Catalogue;
use crate::shutdown::Shutdown;
use crate::spool::Spool;
use crate::subscribe::{self, How, Made};
use crate::summary::Summary;
use crate::worklist::{Origin, Worklist};
use chrono::NaiveDate;
use std::collections::{HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::time::Instant;

/// What the command line says of a run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Ids named by hand; if there are any, no log is read.
    pub named: Vec<(CallId, Origin)>,
    /// Records that are stored without asking Graph (quarantine retry).
    pub given: Vec<(CallId, Vec<u8>)>,
    /// Whether calls that Graph lists are asked for too.
    pub reconcile: Option<reconcile::Request>,
    /// Where the calls are named of which no notification was read.
    pub missed_file: Option<PathBuf>,
    /// Only say what would be done.
    pub dry_run: bool,
    /// No request begins after this.
    pub max_runtime: Option<Duration>,
    /// The id of the run.
    pub run_id: String,
    /// Who is told of emergency calls.
    pub alerts: Option<Receiver>,
    /// Whether a bar is drawn.
    pub progress: crate::progress::Mode,
}

/// Runs the job once. The summary is whole also when an error ended it.
pub fn run(config: &Config, options: &Options) -> Ended {
    end(config, options, record::command(options), |run, held, begun| run.all(held, begun))
}

/// Collects the telephony logs of some days, the first and the last included, and
/// nothing else.
pub fn logs(config: &Config, dates: (NaiveDate, NaiveDate), options: &Options) -> Ended {
    end(config, options, "logs", |run, held, begun| run.only_logs(held, begun, dates))
}

fn end(
    config: &Config,
    options: &Options,
    command: &'static str,
    work: impl FnOnce(&mut Run<'_>, &mut Option<Dataset>, Instant) -> Result<()>,
) -> Ended {
    let (begun, started_at) = (Instant::now(), config.clock().now());
    let mut run = Run {
        config,
        options,
        clock: config.clock(),
        summary: Summary { tenant: config.tenant.clone(), run_id: options.run_id.clone(), ..Summary::default() },
        has_gap: false,
        named_pending: HashSet::new(),
        unfinished: false,
        unread: false,
        plan: None,
        signal: None,
    };
    // The lock is held until the row of the run is written.
    let mut held = None;
    let error = work(&mut run, &mut held, begun).err();
    let waits = options.alerts.is_some() && run.summary.alerts_pending.is_some_and(|calls| calls > 0);
    if waits {
        tracing::error!(
            calls = run.summary.alerts_pending,
            "the receiver of --alert-url was not told of these emergency calls: the next run tries again"
        );
    }
    let Run { mut summary, has_gap, unfinished, signal, plan, named_pending, .. } = run;
    // If several apply, the first of 130/143, 78, 77, 74, 75, 3 counts.
    let class = error.as_ref().map(Error::class);
    let (code, status) = match (signal, class) {
        (Some(code), _) => (code, "interrupted"),
        (None, Some(class)) => (class.exit_code(), class.status()),
        (None, None) if unfinished => (75, "temporary"),
        (None, None) if has_gap || waits || summary.quarantined > 0 => (3, "attention"),
        (None, None) => (0, "done"),
    };
    summary.exit_code = code;
    status.clone_into(&mut summary.status);
    summary.duration_seconds = begun.elapsed().as_secs_f64();
    let at = config.clock().now();
    if let Some(dataset) = held.filter(|_| !options.dry_run) {
        record::record(&dataset, command, (started_at, at), &mut summary);
    }
    Ended { summary, error, at, plan, unsettled: named_pending }
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

impl Run<'_> {
    fn all(&mut self, held: &mut Option<Dataset>, begun: Instant) -> Result<()> {
        let (runtime, dataset) = self.open(held)?;
        let mut shutdown = runtime.block_on(async { Shutdown::listen() });
        if !self.options.dry_run && self.options.given.is_empty() {
            self.tell_of_earlier(&runtime, dataset, &mut shutdown);
        }
        let leftover = dataset.leftover()?;
        let mut work = self.collect(dataset, leftover.as_ref())?;
        let only_named = !self.options.named.is_empty() || !self.options.given.is_empty();
        let deadline = self.options.max_runtime.map(|limit| begun + limit);
        let connected = match &self.options.reconcile {
            None => None,
            Some(request) => Some(self.reconcile(request, &runtime, deadline, dataset, &mut work, &mut shutdown)?),
        };
        let connected = self.renew(connected, &runtime, deadline, only_named)?;
        let mut queue: VecDeque<CallId> = self.due(&work, leftover.as_ref(), only_named).into();
        if self.options.dry_run {
            self.plan = Some(self.estimate(&work, queue.len()));
            return Ok(());
        }
        let idle = queue.is_empty() && leftover.is_none() && self.options.given.is_empty() && !work.changed;
        drop(leftover);
        let pipeline = Pipeline {
            connected,
            config: self.config,
            clock: self.clock,
            run_id: &self.options.run_id,
            given: &self.options.given,
            deadline,
            progress: self.options.progress,
        };
        let outcome = if idle {
            Ok(())
        } else {
            pipeline.run(&runtime, dataset, &mut work, &mut queue, &mut shutdown, &mut self.summary)
        };
        self.signal = shutdown.exit_code();
        let due = queue.len();
        self.report_pending(&work.list);
        self.unfinished |= due > 0 || work.list.has_unfinished() || self.unread;
        let by_hand = self.options.named.iter().map(|(id, _)| *id).chain(self.options.given.iter().map(|(id, _)| *id));
        self.named_pending = by_hand.filter(|id| work.list.get(*id).is_some()).collect();
        outcome?;
        if self.signal.is_none() && dataset.leftover()?.is_none() {
            let policy = maintain::Policy::Scheduled { today: self.clock.today(), like: self.config.merge_parts };
            if let Some(commit) = maintain::merge(dataset, policy, &self.options.run_id, self.clock.now())? {
                tracing::info!(files = commit.files.len(), "merged parts");
                self.summary.add_files(&commit);
            }
            if !only_named && !self.config.logs.tables.is_empty() {
                self.collect_logs(&runtime, dataset, &mut shutdown, None, begun)?;
            }
        }
        Ok(())
    }

    /// The telephony logs: those that are due, or those of some days.
    fn collect_logs(
        &mut self,
        runtime: &Runtime,
        dataset: &mut Dataset,
        shutdown: &mut Shutdown,
        dates: Option<(NaiveDate, NaiveDate)>,
        begun: Instant,
    ) -> Result<()> {
        let collection = Collection {
            config: self.config,
            clock: self.clock,
            run_id: &self.options.run_id,
            deadline: self.options.max_runtime.map(|limit| begun + limit),
            dates,
            alerts: self.options.alerts.is_some(),
        };
        let finished = collection.run(runtime, dataset, shutdown, &mut self.summary);
        let told = self.tell(runtime, dataset, shutdown);
        let finished = finished?;
        told?;
        self.signal = shutdown.exit_code();
        self.unfinished |= finished.unfinished;
        finished.refusal().map_or(Ok(()), Err)
    }

    fn only_logs(&mut self, held: &mut Option<Dataset>, begun: Instant, dates: (NaiveDate, NaiveDate)) -> Result<()> {
        let (runtime, dataset) = self.open(held)?;
        let mut shutdown = runtime.block_on(async { Shutdown::listen() });
        self.tell_of_earlier(&runtime, dataset, &mut shutdown);
        self.collect_logs(&runtime, dataset, &mut shutdown, Some(dates), begun)
    }

    /// Tells the receiver of alerts of the emergency calls that are published and that
    /// it was not told of.
    fn tell(&mut self, runtime: &Runtime, dataset: &Dataset, shutdown: &mut Shutdown) -> Result<()> {
        let mut told = Told::default();
        let done = match &self.options.alerts {
            Some(receiver) => runtime.block_on(receiver.tell(&dataset.layout, shutdown, &mut told)),
            None => alerts::untold(&dataset.layout).map(|untold| told = untold),
        };
        self.summary.add_alerts(told, self.options.alerts.is_some());
        done
    }

    /// As [`Run::tell`], before the work: what is amiss with it does not keep that.
    fn tell_of_earlier(&mut self, runtime: &Runtime, dataset: &Dataset, shutdown: &mut Shutdown) {
        if let Err(error) = self.tell(runtime, dataset, shutdown) {
            self.has_gap = true;
            tracing::error!("{error}");
        }
        if self.options.alerts.is_none() && self.summary.alerts_pending.is_some() {
            tracing::warn!(
                calls = self.summary.alerts_pending,
                "emergency calls wait to be told of: give --alert-url, as an earlier run did"
            );
        }
    }

    /// The dataset, in the schema of this program, to be held until the run has ended.
    fn open<'d>(&self, held: &'d mut Option<Dataset>) -> Result<(Runtime, &'d mut Dataset)> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(|e| Error::new(Class::Io, "Cannot start the runtime").because(e))?;
        let layout = Layout::new(&self.config.root, self.config.modes);
        let dataset = Dataset::open(layout, Catalogue::embedded())?;
        dataset.check_tenant(self.config.tenant_id.map(|id| id.to_string()).as_deref())?;
        let dataset = held.insert(dataset);
        if dataset.needs_upgrade() && !self.options.dry_run {
            self.upgrade(dataset)?;
        }
        Ok((runtime, dataset))
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
            self.check_tenants(&collected)?;
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

    /// Puts off the end of the subscription, if there is a configured one and it ends
    /// soon. A run goes on without, and says so.
    fn renew(
        &mut self,
        connected: Option<Connected>,
        runtime: &Runtime,
        deadline: Option<Instant>,
        only_named: bool,
    ) -> Result<Option<Connected>> {
        let (Some(state), Endpoint::Graph(_), true) = (
            &self.config.source.client_state,
            &self.config.endpoint,
            self.config.subscription.notification_url.is_some() && !only_named && !self.options.dry_run,
        ) else {
            return Ok(connected);
        };
        let (made, now) = (Made::at(&self.config.root), self.clock.now());
        if !made.ends_soon(now) {
            return Ok(connected);
        }
        let connected = match connected {
            Some(connected) => connected,
            None => runtime.block_on(pipeline::connect(self.config, self.clock, deadline))?,
        };
        let ensured = subscribe::ensure(&connected.1, &self.config.subscription, state, &made, How::IfNeeded, now);
        match runtime.block_on(ensured) {
            Ok((deed, subscription)) => {
                tracing::info!(deed = deed.name(), until = %subscription.expiration_date_time, "looked at the subscription");
            }
            Err(error) => {
                self.has_gap = true;
                tracing::error!("{error}");
            }
        }
        self.summary.requests = connected.1.counts().requests;
        Ok(Some(connected))
    }

    /// Lists what Graph has and adds what the dataset lacks to the worklist.
    fn reconcile(
        &mut self,
        request: &reconcile::Request,
        runtime: &Runtime,
        deadline: Option<Instant>,
        dataset: &Dataset,
        work: &mut Work,
        shutdown: &mut Shutdown,
    ) -> Result<Connected> {
        let connected = runtime.block_on(pipeline::connect(self.config, self.clock, deadline))?;
        let listings = runtime.block_on(reconcile::list(&connected.1.lister(), request, shutdown));
        self.summary.requests = connected.1.counts().requests;
        let expects = !self.config.source.patterns.is_empty();
        let (report, missed) =
            reconcile::compare(listings?, request, &dataset.layout, &mut work.list, expects, self.clock.now())?;
        if let Some(path) = &self.options.missed_file {
            write_missed(path, &missed)?;
        }
        if report.missed + report.missed_updates > 0 {
            tracing::warn!(
                calls = report.missed,
                updates = report.missed_updates,
                "Graph has what was not notified; it is fetched now"
            );
        }
        if let Some(since) = &report.silent_since {
            self.has_gap = true;
            tracing::error!(
                since,
                "calls ended since, and no notification came: check the subscription and the receiver"
            );
        }
        self.unfinished = !report.incomplete.is_empty();
        self.summary.reconciled = Some(report);
        Ok(connected)
    }

    /// Refuses a log of several tenants where it is not known which is ours.
    fn check_tenants(&self, collected: &Collected) -> Result<()> {
        let tenants: HashSet<_> = collected.notifications.iter().filter_map(|one| one.tenant_id).collect();
        if self.config.tenant_id.is_some() || tenants.len() < 2 {
            return Ok(());
        }
        Err(Error::config(format!(
            "The log has notifications of {} tenants, and which one is meant is not known",
            tenants.len()
        ))
        .hint("give [graph.auth] tenant_id as the GUID, not as a domain"))
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
            tenant: self.config.tenant.clone(),
            tenants: None,
            ids_due: due as u64,
            pending: work.list.pending().count() as u64,
            requests_at_least: requests,
            seconds_at_least: requests as f64 * 20.0 / f64::from(rate),
            reconciled: self.summary.reconciled.clone(),
        }
    }

    fn report_pending(&mut self, list: &Worklist) {
        self.summary.pending = list.pending().count() as u64;
        self.summary.oldest_pending =
            list.pending().map(|p| p.first_seen).min().map(|at| at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true));
    }
}

/// One call a line, as JSON.
fn write_missed(path: &Path, missed: &[reconcile::Missed]) -> Result<()> {
    let mut lines = Vec::new();
    for call in missed {
        serde_json::to_writer(&mut lines, call).map_err(|e| Error::new(Class::Io, "A call has no JSON").because(e))?;
        lines.push(b'\n');
    }
    files::write_named(path, &lines, PRIVATE)
}
