//! The verbs that fetch: `run`, `reconcile`, `backfill`.

use super::{Global, print, run_id};
use crate::alerts::Receiver;
use crate::cli;
use crate::config::{self, Config};
use crate::error::{Error, Result};
use crate::files::{self, Modes, PRIVATE};
use crate::metrics;
use crate::notifications;
use crate::ping;
use crate::printable;
use crate::reconcile::{self, Request};
use crate::run::{self, Ended, Options};
use crate::schema::{Catalogue, Table};
use crate::worklist::Origin;
use chrono::TimeDelta;
use std::path::Path;

pub(super) fn run(global: &Global, flags: cli::Run) -> Result<u8> {
    let config = Config::load(config::find(global.config.as_deref())?)?;
    let mut named: Vec<_> = flags.ids.iter().map(|id| (*id, Origin::Named)).collect();
    if let Some(file) = &flags.ids_file {
        named.extend(notifications::ids_from_file(file)?.into_iter().map(|id| (id, Origin::Named)));
        if named.is_empty() {
            return Err(Error::usage(format!("{} names no call", file.display()))
                .hint("give one id a line, or a CSV with a column call_id"));
        }
    }
    if named.is_empty() && config.source.patterns.is_empty() && config.logs.tables.is_empty() {
        return Err(Error::config("The configuration lacks [source] notifications")
            .hint("name the files of the notification log there, or calls with --id or --ids-file"));
    }
    execute(global, &config, Options { named, ..Options::default() }, flags.fetching)
}

pub(super) fn reconcile(global: &Global, flags: cli::Reconcile) -> Result<u8> {
    let config = Config::load(config::find(global.config.as_deref())?)?;
    let now = config.clock().now();
    let settle = TimeDelta::from_std(flags.settle).map_err(|_| Error::usage("--settle is too long a time"))?;
    let request = Request {
        from: flags.from.unwrap_or(now - reconcile::TRAILING),
        to: flags.to.unwrap_or(now),
        settle: Some(settle).filter(|settle| !settle.is_zero()),
        is_backfill: false,
    };
    let options = Options { reconcile: Some(checked(request)?), missed_file: flags.missed_file, ..Options::default() };
    execute(global, &config, options, flags.fetching)
}

pub(super) fn backfill(global: &Global, flags: cli::Backfill) -> Result<u8> {
    let config = Config::load(config::find(global.config.as_deref())?)?;
    let now = config.clock().now();
    if flags.from < now - reconcile::TRAILING {
        tracing::warn!("Graph keeps call records for 30 days: earlier ones are not listed any more");
    }
    let request = Request { from: flags.from, to: flags.to.unwrap_or(now), settle: None, is_backfill: true };
    execute(global, &config, Options { reconcile: Some(checked(request)?), ..Options::default() }, flags.fetching)
}

fn checked(request: Request) -> Result<Request> {
    if request.from < request.to {
        return Ok(request);
    }
    Err(Error::usage("The span ends before it begins")
        .hint("give --from an earlier time than --to, which is now if it is not given"))
}

fn execute(global: &Global, config: &Config, options: Options, flags: cli::Fetching) -> Result<u8> {
    let options = Options {
        dry_run: flags.dry_run,
        max_runtime: flags.max_runtime,
        run_id: run_id(flags.run_id),
        alerts: receiver(config, flags.alert_url.as_deref())?,
        progress: global.progress,
        ..options
    };
    if let Some(given) = &flags.ping_url {
        // Before the work, for a mistake in it is the caller's.
        ping::url(given, 0)?;
    }
    let ended = run::run(config, &options);
    let code = tell(&ended, flags.summary_file.as_deref());
    if let Some(path) = &flags.metrics_file {
        let text = metrics::text(&ended.summary, config.clock().now());
        files::write_named(path, text.as_bytes(), Modes::shared(0o644))?;
    }
    if let Some(given) = &flags.ping_url {
        let code = code.as_ref().map_or_else(|error| error.class().exit_code(), |code| *code);
        ping::url(given, code)?.as_ref().map(ping::ping);
    }
    code
}

/// Who is told of emergency calls.
///
/// # Errors
/// By class usage, if the address is none that is taken.
pub(super) fn receiver(config: &Config, given: Option<&str>) -> Result<Option<Receiver>> {
    let receiver = given.map(Receiver::at).transpose()?;
    let logs = &Catalogue::embedded().logs;
    let tells = |table: &&Table| config.logs.tables.contains(&table.name) && table.column("is_emergency").is_some();
    if receiver.is_some() && logs.iter().find(tells).is_none() {
        tracing::warn!("no emergency call will be found for --alert-url: [logs] tables names no log that tells of any");
    }
    Ok(receiver)
}

/// Says what ended the run, and prints its summary or plan.
pub(super) fn tell(ended: &Ended, summary_file: Option<&Path>) -> Result<u8> {
    if let Some(error) = &ended.error {
        tracing::error!("{error}");
    }
    if let (Some(plan), None) = (&ended.plan, &ended.error) {
        return print(&serde_json::to_string(plan).unwrap_or_default());
    }
    let line = ended.summary.line();
    let line = printable::lines(&line);
    print(&line)?;
    if let Some(path) = summary_file {
        files::write_named(path, format!("{line}\n").as_bytes(), PRIVATE)?;
    }
    Ok(ended.summary.exit_code)
}
