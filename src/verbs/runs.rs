//! The verbs that ask Graph: `run`, `reconcile`, `backfill` and `logs`.

use super::tenants::side_by_side;
use super::{Global, print, run_id};
use crate::alerts::Receiver;
use crate::cli;
use crate::config::{Config, PLACEHOLDER, Place};
use crate::error::{Error, Result};
use crate::files::{self, Modes, PRIVATE};
use crate::graph::AppLimit;
use crate::metrics;
use crate::notifications;
use crate::ping;
use crate::printable;
use crate::reconcile::{self, Request};
use crate::run::{self, Ended, Options, Plan};
use crate::schema::{Catalogue, Table};
use crate::summary::Summary;
use crate::worklist::Origin;
use chrono::{DateTime, TimeDelta, Utc};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub(super) fn run(global: &Global, flags: cli::Run) -> Result<u8> {
    let mut named: Vec<_> = flags.ids.iter().map(|id| (*id, Origin::Named)).collect();
    if let Some(file) = &flags.ids_file {
        named.extend(notifications::ids_from_file(file)?.into_iter().map(|id| (id, Origin::Named)));
        if named.is_empty() {
            return Err(Error::usage(format!("{} names no call", file.display()))
                .hint("give one id a line, or a CSV with a column call_id"));
        }
    }
    if !named.is_empty() {
        global.one("A call that is named")?;
    }
    execute(global, flags.fetching, |config, options| {
        if named.is_empty() && config.source.patterns.is_empty() && config.logs.tables.is_empty() {
            return Err(Error::config("The configuration lacks [source] notifications")
                .hint("name the files of the notification log there, or calls with --id or --ids-file"));
        }
        Ok(run::run(config, &Options { named: named.clone(), ..options }))
    })
}

pub(super) fn reconcile(global: &Global, flags: cli::Reconcile) -> Result<u8> {
    let settle = TimeDelta::from_std(flags.settle).map_err(|_| Error::usage("--settle is too long a time"))?;
    let missed = flags.missed_file.as_deref();
    let shared = missed.is_some_and(|path| !path.to_string_lossy().contains(PLACEHOLDER));
    if shared && global.places()?.iter().any(|place| place.tenant.is_some()) {
        return Err(Error::usage("--missed-file names one file for all tenants")
            .hint(format!("put {PLACEHOLDER} into its name")));
    }
    execute(global, flags.fetching, |config, options| {
        let now = config.clock().now();
        let request = Request {
            from: flags.from.map_or(now - reconcile::TRAILING, |from| kept(from, now)),
            to: flags.to.unwrap_or(now),
            settle: Some(settle).filter(|settle| !settle.is_zero()),
            is_backfill: false,
        };
        let reconcile = Some(checked(request)?);
        let missed_file = missed.map(|path| of_tenant(path, config.tenant.as_deref()));
        Ok(run::run(config, &Options { reconcile, missed_file, ..options }))
    })
}

pub(super) fn backfill(global: &Global, flags: cli::Backfill) -> Result<u8> {
    execute(global, flags.fetching, |config, options| {
        let now = config.clock().now();
        let from = kept(flags.from, now);
        let request = Request { from, to: flags.to.unwrap_or(now), settle: None, is_backfill: true };
        Ok(run::run(config, &Options { reconcile: Some(checked(request)?), ..options }))
    })
}

pub(super) fn logs(global: &Global, flags: cli::Logs) -> Result<u8> {
    if flags.from > flags.to {
        return Err(Error::usage("--from is after --to").hint("both dates are included"));
    }
    let (tables, collects) = (flags.tables, AtomicBool::new(false));
    let job = Job {
        max_runtime: flags.max_runtime,
        at_once: flags.tenants_at_once.get(),
        alert_url: flags.alert_url,
        ..Job::default()
    };
    let code = job.execute(global, |config, options| {
        let mut config = config.clone();
        if !tables.is_empty() {
            config.logs.tables.clone_from(&tables);
            config.logs.validate()?;
        }
        if config.logs.tables.is_empty() && config.tenant.is_some() {
            tracing::info!("this tenant has no [logs] tables");
            return Ok(Ended::idle(&config, &options));
        }
        if config.logs.tables.is_empty() {
            return Err(no_logs());
        }
        collects.store(true, Ordering::Relaxed);
        let today = config.clock().today();
        if flags.from > today {
            return Err(Error::usage("--from is a day to come").hint("give days for which Graph has logs"));
        }
        warn_of_silence(&config, &options);
        Ok(run::logs(&config, (flags.from, flags.to.min(today)), &options))
    })?;
    if code == 0 && !collects.into_inner() && !global.places()?.is_empty() {
        return Err(no_logs());
    }
    Ok(code)
}

fn no_logs() -> Error {
    Error::config("The configuration lacks [logs] tables")
        .hint("name the logs there or with --table; `callrec schema` lists them")
}

/// From when on Graph may have something.
fn kept(from: DateTime<Utc>, now: DateTime<Utc>) -> DateTime<Utc> {
    let first = now - reconcile::TRAILING;
    if from < first {
        tracing::warn!(from = %first, "Graph keeps call records for 30 days: earlier ones are not asked for");
    }
    from.max(first)
}

fn checked(request: Request) -> Result<Request> {
    if request.from < request.to {
        return Ok(request);
    }
    Err(Error::usage("The span ends before it begins")
        .hint("give --from an earlier time than --to, which is now if it is not given"))
}

fn of_tenant(path: &Path, tenant: Option<&str>) -> PathBuf {
    tenant.map_or_else(|| path.to_owned(), |name| path.to_string_lossy().replace(PLACEHOLDER, name).into())
}

fn execute(
    global: &Global,
    flags: cli::Fetching,
    work: impl Fn(&Config, Options) -> Result<Ended> + Sync,
) -> Result<u8> {
    let job = Job {
        dry_run: flags.dry_run,
        max_runtime: flags.max_runtime,
        at_once: flags.tenants_at_once.get(),
        run_id: flags.run_id,
        summary_file: flags.summary_file,
        metrics_file: flags.metrics_file,
        ping_url: flags.ping_url,
        alert_url: flags.alert_url,
    };
    job.execute(global, |config, options| {
        warn_of_silence(config, &options);
        work(config, options)
    })
}

/// A process that does one thing for one or many tenants.
#[derive(Default)]
struct Job {
    dry_run: bool,
    max_runtime: Option<Duration>,
    at_once: usize,
    run_id: Option<String>,
    summary_file: Option<PathBuf>,
    metrics_file: Option<PathBuf>,
    ping_url: Option<String>,
    alert_url: Option<String>,
}

impl Job {
    fn execute(self, global: &Global, work: impl Fn(&Config, Options) -> Result<Ended> + Sync) -> Result<u8> {
        if let Some(given) = &self.ping_url {
            // Before the work, for a mistake in it is the caller's.
            ping::url(given, 0)?;
        }
        let alerts = self.alert_url.as_deref().map(Receiver::at).transpose()?;
        let (run_id, begun) = (run_id(self.run_id.clone()), Instant::now());
        let done = self.all(global, &run_id, begun, alerts, work);
        let (summaries, at, code) = match done {
            Ok(done) => done,
            Err(error) => {
                // Whoever watches is to learn of a config that cannot be used, too.
                let class = error.class();
                let summary = Summary::blank(&run_id, None, class.status(), class.exit_code());
                let kept = self.keep(&[summary.line()]);
                (vec![summary], crate::clock::Clock::system().now(), kept.and(Err(error)))
            }
        };
        self.report(&summaries, at, &code)?;
        code
    }

    /// The summaries, when it ended, and the exit code.
    fn all(
        &self,
        global: &Global,
        run_id: &str,
        begun: Instant,
        alerts: Option<Receiver>,
        work: impl Fn(&Config, Options) -> Result<Ended> + Sync,
    ) -> Result<(Vec<Summary>, DateTime<Utc>, Result<u8>)> {
        let options = |progress| Options {
            dry_run: self.dry_run,
            max_runtime: self.max_runtime.map(|limit| limit.saturating_sub(begun.elapsed())),
            run_id: run_id.to_owned(),
            alerts: alerts.clone(),
            progress,
            ..Options::default()
        };
        let places = global.places()?;
        Ok(match places.as_slice() {
            [place] if place.tenant.is_none() => {
                let ended = work(&Config::load(place)?, options(global.progress))?;
                let code = tell(&ended).and_then(|code| self.keep(&[ended.summary.line()]).map(|()| code));
                (vec![ended.summary], ended.at, code)
            }
            _ => {
                let app_limit = AppLimit::new(global.app_requests_per_20s(&places));
                let work = |place: &Place| {
                    let mut config = Config::load(place)?;
                    config.share(app_limit.clone());
                    // Bars of several would write over each other.
                    work(&config, options(crate::progress::Mode::None))
                };
                let summaries = self.of_tenants(&places, run_id, begun, work)?;
                let lines: Vec<String> = summaries.iter().map(Summary::line).collect();
                let code = summaries.last().map_or(0, |total| total.exit_code);
                (summaries, crate::clock::Clock::system().now(), self.keep(&lines).map(|()| code))
            }
        })
    }

    /// The summaries of all tenants in the order of the config, and their sum.
    fn of_tenants(
        &self,
        places: &[Place],
        run_id: &str,
        begun: Instant,
        work: impl Fn(&Place) -> Result<Ended> + Sync,
    ) -> Result<Vec<Summary>> {
        let mut summaries: Vec<Option<Summary>> = vec![None; places.len()];
        let mut plan = Plan { tenants: Some(0), ..Plan::default() };
        let mut ended_so_far = 0;
        let blank =
            |place: &Place, status, exit_code| Summary::blank(run_id, place.tenant.as_deref(), status, exit_code);
        let signal = side_by_side(places, self.at_once, work, |index, result| {
            let place = &places[index];
            let summary = match result {
                Some(Ok(ended)) => {
                    tell(&ended)?;
                    if let Some(of_tenant) = &ended.plan {
                        plan.join(of_tenant);
                    }
                    ended.summary
                }
                Some(Err(error)) => {
                    tracing::error!(tenant = place.tenant, "{error}");
                    shown(blank(place, error.class().status(), error.class().exit_code()))?
                }
                // The panic itself was told.
                None => shown(blank(place, "failed", 101))?,
            };
            ended_so_far += 1;
            tracing::info!(
                tenant = place.tenant,
                status = summary.status,
                exit_code = summary.exit_code,
                ended = ended_so_far,
                of = places.len(),
                "tenant ended"
            );
            summaries[index] = Some(summary);
            Ok(())
        })?;
        // Only a signal leaves one out.
        let left_out = |place: &Place| shown(blank(place, "interrupted", signal.unwrap_or(75)));
        let mut all = Vec::with_capacity(places.len() + 1);
        for (summary, place) in summaries.into_iter().zip(places) {
            all.push(summary.map_or_else(|| left_out(place), Ok)?);
        }
        let total = Summary::total(&all, run_id, begun.elapsed().as_secs_f64());
        if self.dry_run {
            print(&serde_json::to_string(&plan).unwrap_or_default())?;
            all.push(total);
        } else {
            all.push(shown(total)?);
        }
        Ok(all)
    }

    /// Writes the lines of summaries where they are wanted too.
    fn keep(&self, lines: &[String]) -> Result<()> {
        let Some(path) = self.summary_file.as_deref().filter(|_| !self.dry_run) else { return Ok(()) };
        let text: String = lines.iter().map(|line| format!("{}\n", printable::lines(line))).collect();
        files::write_named(path, text.as_bytes(), PRIVATE)
    }

    /// Tells monitors how it ended.
    fn report(&self, summaries: &[Summary], at: DateTime<Utc>, code: &Result<u8>) -> Result<()> {
        if let Some(path) = &self.metrics_file {
            files::write_named(path, metrics::text(summaries, at).as_bytes(), Modes::shared(0o644))?;
        }
        if let Some(given) = &self.ping_url {
            let code = code.as_ref().map_or_else(|error| error.class().exit_code(), |code| *code);
            ping::url(given, code)?.as_ref().map(ping::ping);
        }
        Ok(())
    }
}

/// Says so where no log is collected that tells of emergency calls.
fn warn_of_silence(config: &Config, options: &Options) {
    let logs = &Catalogue::embedded().logs;
    let tells = |table: &&Table| config.logs.tables.contains(&table.name) && table.column("is_emergency").is_some();
    if options.alerts.is_some() && logs.iter().find(tells).is_none() {
        tracing::warn!("no emergency call will be found for --alert-url: [logs] tables names no log that tells of any");
    }
}

/// Says what ended the run, and prints its summary or plan.
pub(super) fn tell(ended: &Ended) -> Result<u8> {
    if let Some(error) = &ended.error {
        match &ended.summary.tenant {
            None => tracing::error!("{error}"),
            Some(tenant) => tracing::error!(tenant, "{error}"),
        }
    }
    if let (Some(plan), None) = (&ended.plan, &ended.error) {
        return print(&serde_json::to_string(plan).unwrap_or_default());
    }
    print(&printable::lines(&ended.summary.line()))?;
    Ok(ended.summary.exit_code)
}

/// Prints a summary of what ended without a run.
fn shown(summary: Summary) -> Result<Summary> {
    print(&printable::lines(&summary.line()))?;
    Ok(summary)
}
