//! The verbs that work on a dataset alone: `flatten`, `rebuild`, `compact`,
//! `purge`, `verify` and `status`.

use super::tenants::{each, print_json};
use super::{Global, print, run_id};
use crate::cli::{self, Format};
use crate::clock::Clock;
use crate::config::{Place, Storage};
use crate::dataset::commit::{Commit, Kind};
use crate::dataset::convert::{self, Converted};
use crate::dataset::layout::Layout;
use crate::dataset::purge::Purge;
use crate::dataset::tables::Tables;
use crate::dataset::{self, Dataset, maintain};
use crate::error::{Error, Result};
use crate::files::Modes;
use crate::schema::Catalogue;
use crate::shutdown::Shutdown;
use crate::status::Standing;
use crate::summary::{self, Summary};
use crate::{status, verify};
use chrono::TimeDelta;
use serde::Serialize;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// The exit code of a verb that found or refused something.
const ATTENTION: u8 = 3;

#[derive(Serialize)]
struct Flattened {
    status: &'static str,
    exit_code: u8,
    records: u64,
    exported: u64,
    quarantined: u64,
    rows: BTreeMap<String, u64>,
    files_written: u64,
    bytes_written: u64,
    duration_seconds: f64,
    schema_drift: BTreeMap<String, u64>,
}

pub(super) fn flatten(_global: &Global, flags: cli::Flatten) -> Result<u8> {
    let begun = Instant::now();
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let tables = Tables::new(Catalogue::embedded())?;
    let threads = flags.threads.map_or(cores, usize::from);
    let modes = Modes::shared(0o640);
    let (_signals, shutdown) = Shutdown::beside("stopping; nothing is left of what was begun")?;
    let go_on = || match shutdown.is_requested() {
        false => Ok(()),
        true => Err(Error::temporary("Stopped by a signal")),
    };
    let now = Clock::system().now();
    let outcome = convert::convert(&flags.inputs, &flags.output, &tables, modes, threads, now, &go_on);
    let (status, exit_code, converted) = match (outcome, shutdown.exit_code()) {
        (Ok(converted), _) if converted.quarantined > 0 => ("attention", ATTENTION, converted),
        (Ok(converted), _) => ("done", 0, converted),
        (Err(error), Some(signal)) => {
            tracing::warn!("{error}");
            ("interrupted", signal, Converted::default())
        }
        (Err(error), None) => return Err(error),
    };
    let summary = Flattened {
        status,
        exit_code,
        records: converted.records,
        exported: converted.exported,
        quarantined: converted.quarantined,
        rows: converted.rows,
        files_written: converted.files_written,
        bytes_written: converted.bytes_written,
        duration_seconds: begun.elapsed().as_secs_f64(),
        schema_drift: converted.schema_drift,
    };
    print(&serde_json::to_string(&summary).unwrap_or_default())?;
    Ok(exit_code)
}

/// Opens the dataset of the config; the clock it goes by and its threads.
fn open(place: &Place) -> Result<(Dataset, Clock, usize)> {
    let storage = Storage::load(place)?;
    let layout = Layout::new(&storage.root, storage.modes);
    Ok((Dataset::open_existing(layout, Catalogue::embedded())?, storage.clock, storage.threads))
}

pub(super) fn rebuild(place: &Place) -> Result<u8> {
    let begun = Instant::now();
    let (mut dataset, clock, threads) = open(place)?;
    let kind = if dataset.needs_upgrade() { Kind::Upgrade } else { Kind::Rebuild };
    let commit = dataset::rebuild::rebuild(&mut dataset, kind, &run_id(None), clock.now(), threads)?;
    answer(place, Some(&commit), begun)
}

pub(super) fn compact(place: &Place) -> Result<u8> {
    let begun = Instant::now();
    let (mut dataset, clock, _) = open(place)?;
    let commit = maintain::merge(&mut dataset, maintain::Policy::All, &run_id(None), clock.now())?;
    answer(place, commit.as_ref(), begun)
}

pub(super) fn purge(global: &Global, flags: &cli::Purge) -> Result<u8> {
    if !flags.calls.is_empty() {
        global.one("A call that is purged")?;
    }
    each(global, Format::Json, |place| purge_one(place, flags))
}

fn purge_one(place: &Place, flags: &cli::Purge) -> Result<u8> {
    let begun = Instant::now();
    let (mut dataset, clock, _) = open(place)?;
    let what = match flags.before {
        Some(date) => Purge::Before(date),
        None => Purge::Calls(flags.calls.iter().map(ToString::to_string).collect()),
    };
    let commit = dataset::purge::purge(&mut dataset, &what, &run_id(None), clock.now())?;
    let calls = commit.as_ref().map_or(0, |c| c.superseded.len());
    tracing::info!(calls, "purged");
    answer(place, commit.as_ref(), begun)
}

fn answer(place: &Place, commit: Option<&Commit>, begun: Instant) -> Result<u8> {
    let mut summary = Summary { tenant: place.tenant.clone(), status: "done".to_owned(), ..Summary::default() };
    if let Some(commit) = commit {
        summary.run_id.clone_from(&commit.run_id);
        summary.add(commit);
        summary.pending = commit.pending.len() as u64;
    }
    summary.duration_seconds = begun.elapsed().as_secs_f64();
    print(&summary.line())
}

pub(super) fn verify(place: &Place, format: Format) -> Result<u8> {
    let (dataset, _, threads) = open(place)?;
    let verified = verify::verify(&dataset, threads)?;
    match format {
        Format::Text => print(&verified.text())?,
        Format::Json => print_json(place, &verified)?,
    };
    Ok(if verified.fault_count > 0 { ATTENTION } else { 0 })
}

pub(super) fn status(global: &Global, flags: &cli::Status) -> Result<u8> {
    if flags.ids.is_empty() {
        return each(global, flags.format, |place| status_of(place, flags));
    }
    // Of several tenants one has the call.
    let unknown = RefCell::new(flags.ids.iter().copied().collect::<BTreeSet<_>>());
    let code = each(global, flags.format, |place| {
        let storage = Storage::load(place)?;
        let layout = Layout::new(&storage.root, storage.modes);
        let standing = status::standing(&layout, &flags.ids, storage.clock.now())?;
        unknown.borrow_mut().retain(|id| !standing.iter().any(|of| of.call_id == *id && of.is_known()));
        match flags.format {
            Format::Text => print(&standing.iter().map(Standing::text).collect::<String>()),
            Format::Json => print_json(place, &standing),
        }
    })?;
    Ok(summary::exit_code([code, if unknown.borrow().is_empty() { 0 } else { ATTENTION }]))
}

fn status_of(place: &Place, flags: &cli::Status) -> Result<u8> {
    let storage = Storage::load(place)?;
    let expiring = flags.expiring.map(TimeDelta::from_std).transpose();
    let expiring = expiring.map_err(|_| Error::usage("--expiring is too long a time"))?;
    let status = status::status(&Layout::new(&storage.root, storage.modes), storage.clock.now(), expiring)?;
    match flags.format {
        Format::Text => print(&status.text())?,
        Format::Json => print_json(place, &status)?,
    };
    Ok(if status.expiring.as_ref().is_some_and(|ids| !ids.is_empty()) { ATTENTION } else { 0 })
}
