//! What a run leaves in the table of runs: its own row, and one for each run before
//! it that was killed before it left any.

use super::Options;
use crate::dataset::Dataset;
use crate::dataset::commit::{self, Commit, Kind};
use crate::dataset::runs_table::{Cell, Row, RunsTable};
use crate::error::Result;
use crate::summary::Summary;
use crate::worklist::Origin;
use chrono::{DateTime, Utc};
use std::collections::BTreeMap;

/// How the table names what was run, but for `logs`.
pub(super) fn command(options: &Options) -> &'static str {
    let is_retry = !options.given.is_empty() || options.named.iter().any(|(_, origin)| *origin == Origin::Quarantine);
    match &options.reconcile {
        Some(request) if request.is_backfill => "backfill",
        Some(_) => "reconcile",
        None if is_retry => "quarantine",
        None => "run",
    }
}

/// Writes the rows at the end of the run, which took that time. If that fails the
/// run ends as it did, but with 3 at least.
pub(super) fn record(
    dataset: &Dataset,
    command: &'static str,
    time: (DateTime<Utc>, DateTime<Utc>),
    summary: &mut Summary,
) {
    if let Err(error) = write(dataset, command, time, summary) {
        tracing::warn!("the table of runs lacks this run: {error}");
        if summary.exit_code == 0 {
            (summary.exit_code, summary.status) = (3, "attention".to_owned());
        }
    }
}

/// A run that ended with 0 and made no commit has no row.
fn write(
    dataset: &Dataset,
    command: &'static str,
    time: (DateTime<Utc>, DateTime<Utc>),
    summary: &Summary,
) -> Result<()> {
    let made = dataset.made()?;
    let mut table = RunsTable::read(dataset)?;
    for row in untold(dataset, &table)? {
        table.add(&row)?;
    }
    if made.is_some() || summary.exit_code != 0 {
        table.add(&own(command, time, summary, made))?;
    }
    table.write()
}

fn own(
    command: &'static str,
    (started_at, ended_at): (DateTime<Utc>, DateTime<Utc>),
    summary: &Summary,
    made: Option<(u64, u64)>,
) -> Row {
    let mut cells = of_commits(summary, env!("CARGO_PKG_VERSION"), made);
    cells.insert("command", Cell::Text(command.to_owned()));
    cells.insert("started_at", Cell::Instant(started_at));
    cells.insert("status", Cell::Text(summary.status.clone()));
    cells.insert("duration_seconds", Cell::Number(summary.duration_seconds));
    cells.insert("fetch_seconds", Cell::Number(summary.fetch_seconds));
    let counts = [
        ("exit_code", u64::from(summary.exit_code)),
        ("notifications_read", summary.notifications_read),
        ("ids_collected", summary.ids_collected),
        ("requests", summary.requests),
        ("throttled", summary.throttled),
        ("fetched", summary.fetched),
    ];
    let reconciled = summary.reconciled.iter().flat_map(|report| {
        [("listed", report.listed), ("missed", report.missed), ("missed_updates", report.missed_updates)]
    });
    cells.extend(counts.into_iter().chain(reconciled).map(|(name, count)| (name, Cell::Count(count))));
    Row { ended_at, cells }
}

/// The cells that commits tell too.
fn of_commits(summary: &Summary, program: &str, made: Option<(u64, u64)>) -> BTreeMap<&'static str, Cell> {
    let counts = [
        ("exported_new", summary.exported_new),
        ("exported_updated", summary.exported_updated),
        ("unchanged", summary.unchanged),
        ("pending", summary.pending),
        ("expired", summary.expired),
        ("quarantined", summary.quarantined),
        ("files_written", summary.files_written),
        ("bytes_written", summary.bytes_written),
    ];
    let numbers = made.map(|(first, last)| [("first_commit", first), ("last_commit", last)]);
    let counts = counts.into_iter().chain(numbers.into_iter().flatten());
    let mut cells: BTreeMap<_, _> = counts.map(|(name, count)| (name, Cell::Count(count))).collect();
    cells.insert("run_id", Cell::Text(summary.run_id.clone()));
    cells.insert("program", Cell::Text(program.to_owned()));
    cells
}

/// A run of which only its commits tell.
struct Untold {
    summary: Summary,
    program: String,
    ended_at: DateTime<Utc>,
    commits: (u64, u64),
    /// Whether it has a commit that nothing but a run makes.
    is_run: bool,
}

impl Untold {
    /// The run whose last commit that is.
    fn of(last: &Commit) -> Self {
        let pending = last.pending.len() as u64;
        Self {
            summary: Summary { run_id: last.run_id.clone(), pending, ..Summary::default() },
            program: last.program.clone(),
            ended_at: last.committed_at,
            commits: (last.number, last.number),
            is_run: false,
        }
    }
}

/// Rows for the runs whose commits no row tells of, the oldest first. Where a row
/// does, an earlier run has looked at what was before.
fn untold(dataset: &Dataset, table: &RunsTable<'_>) -> Result<Vec<Row>> {
    let mut found: Vec<Untold> = Vec::new();
    let mut is_bounded = false;
    let numbers = commit::numbers(&dataset.layout)?;
    for &number in numbers.iter().rev().filter(|&&number| number <= dataset.opened_at()) {
        // Of one that was damaged nothing can be told.
        let Ok(commit) = dataset.commit_of(number) else { break };
        if table.has(&commit.run_id, number) {
            is_bounded = true;
            break;
        }
        if found.last().is_none_or(|run| run.summary.run_id != commit.run_id) {
            found.push(Untold::of(&commit));
        }
        if let Some(run) = found.last_mut() {
            run.summary.add(&commit);
            run.commits.0 = number;
            run.is_run |= matches!(commit.kind, Kind::Batch | Kind::Logs);
        }
    }
    found.retain(|run| run.is_run);
    // Without the rows before and after it nobody knows whether it had one.
    let was_killed = !table.was_damaged() && (is_bounded || found.len() == 1);
    let status = if was_killed { "killed" } else { "unknown" };
    let row = |run: Untold| {
        let mut cells = of_commits(&run.summary, &run.program, Some(run.commits));
        cells.insert("status", Cell::Text(status.to_owned()));
        Row { ended_at: run.ended_at, cells }
    };
    Ok(found.into_iter().rev().map(row).collect())
}
