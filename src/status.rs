//! `status`: what is pending, quarantined and expiring, and the last runs.

mod ids;

pub use ids::{Standing, standing};

use crate::call_id::CallId;
use crate::dataset::commit::{self, Kind};
use crate::dataset::layout::Layout;
use crate::error::{Error, Result};
use crate::printable;
use crate::quarantine;
use crate::worklist::State;
use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Ids that Graph forgets within this time are expiring.
const SOON: TimeDelta = TimeDelta::days(5);
const LAST_COMMITS: usize = 10;

/// The state of a dataset.
#[derive(Debug, Serialize)]
pub struct Status {
    /// The directory.
    pub root: String,
    /// The number of the newest commit.
    pub newest_commit: Option<u64>,
    /// Whether all its steps are done.
    pub published: bool,
    /// Pending ids, by why.
    pub pending: BTreeMap<String, u64>,
    /// When the oldest pending id was first seen.
    pub oldest_pending: Option<DateTime<Utc>>,
    /// Pending ids that Graph forgets within five days.
    pub expiring_soon: u64,
    /// Those that Graph forgets within the time that was asked for, the first first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expiring: Option<Vec<Expiring>>,
    /// Items in quarantine, by reason.
    pub quarantined: BTreeMap<String, u64>,
    /// The newest commits, newest first.
    pub last_commits: Vec<LastCommit>,
}

/// A pending id.
#[derive(Debug, Serialize)]
pub struct Expiring {
    /// The call.
    pub call_id: CallId,
    /// Why it is pending: the last answer, as a short code.
    pub reason: Option<String>,
    /// When Graph forgets it, as far as can be told.
    pub expires_at: DateTime<Utc>,
}

/// One commit.
#[derive(Debug, Serialize)]
pub struct LastCommit {
    /// Its number.
    pub number: u64,
    /// What it was made for.
    pub kind: Kind,
    /// The run.
    pub run_id: String,
    /// When.
    pub committed_at: DateTime<Utc>,
    /// Calls that the tables did not have.
    pub exported_new: u64,
    /// Calls that got a higher version.
    pub exported_updated: u64,
    /// Items that went to quarantine.
    pub quarantined: u64,
}

/// Reads the state; takes no lock. With `within` pending ids that Graph forgets by
/// then are named.
///
/// # Errors
/// By class configuration when there is no dataset or its state is damaged.
pub fn status(layout: &Layout, now: DateTime<Utc>, within: Option<TimeDelta>) -> Result<Status> {
    check(layout)?;
    let numbers = commit::numbers(layout)?;
    let newest = numbers.last().map(|&number| commit::read(layout, number)).transpose()?;
    let mut pending: BTreeMap<String, u64> = BTreeMap::new();
    let mut expiring_soon = 0;
    for id in newest.iter().flat_map(|c| &c.pending) {
        *pending.entry(why(id.state).to_owned()).or_default() += 1;
        expiring_soon += u64::from(id.expires_at() - now < SOON);
    }
    let expiring = within.map(|within| {
        let ids = newest.iter().flat_map(|c| &c.pending).filter(|id| id.expires_at() - now <= within);
        let mut ids: Vec<_> = ids
            .map(|id| Expiring { call_id: id.call_id, reason: id.reason.clone(), expires_at: id.expires_at() })
            .collect();
        ids.sort_by_key(|id| (id.expires_at, id.call_id));
        ids
    });
    let mut quarantined: BTreeMap<String, u64> = BTreeMap::new();
    for (_, items) in quarantine::read(&layout.quarantine())? {
        for item in items {
            *quarantined.entry(item.reason).or_default() += 1;
        }
    }
    let mut last_commits = Vec::new();
    for &number in numbers.iter().rev().take(LAST_COMMITS) {
        let commit = commit::read(layout, number)?;
        last_commits.push(LastCommit {
            number,
            kind: commit.kind,
            run_id: commit.run_id,
            committed_at: commit.committed_at,
            exported_new: commit.counts.exported_new,
            exported_updated: commit.counts.exported_updated,
            quarantined: commit.counts.quarantined,
        });
    }
    Ok(Status {
        root: layout.root().display().to_string(),
        newest_commit: newest.as_ref().map(|c| c.number),
        published: newest.as_ref().map_or(Ok(true), |c| c.is_published(layout))?,
        oldest_pending: newest.iter().flat_map(|c| &c.pending).map(|p| p.first_seen).min(),
        pending,
        expiring_soon,
        expiring,
        quarantined,
        last_commits,
    })
}

const fn why(state: State) -> &'static str {
    match state {
        State::Due => "due",
        State::Retry => "retry",
        State::NotFound => "not_found",
        State::Forbidden => "forbidden",
    }
}

fn check(layout: &Layout) -> Result<()> {
    if layout.state().is_dir() {
        return Ok(());
    }
    Err(Error::config(format!("There is no dataset at {}", layout.root().display()))
        .hint("check [output] root in the config, or run `callrec run` first"))
}

impl Status {
    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("dataset        {}\n", printable::field(&self.root));
        let commit = self.newest_commit.map_or("none".to_owned(), |n| n.to_string());
        let published = if self.published { "" } else { " (not published: the next run goes on with it)" };
        let _ = writeln!(text, "newest commit  {commit}{published}");
        let counts = |of: &BTreeMap<String, u64>| {
            let parts: Vec<_> = of.iter().map(|(why, n)| format!("{n} {why}")).collect();
            if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
        };
        let _ = writeln!(text, "pending        {}", counts(&self.pending));
        if let Some(oldest) = self.oldest_pending {
            let _ = writeln!(text, "               oldest first seen {}", oldest.format("%Y-%m-%d %H:%M:%SZ"));
        }
        if self.expiring_soon > 0 {
            let _ = writeln!(text, "expiring soon  {}: Graph forgets them within 5 days", self.expiring_soon);
        }
        for id in self.expiring.iter().flatten() {
            let why = printable::field(id.reason.as_deref().unwrap_or("not asked yet"));
            let _ = writeln!(text, "  {}  forgotten {}  {why}", id.call_id, id.expires_at.format("%Y-%m-%d %H:%M:%SZ"));
        }
        let _ = writeln!(text, "quarantine     {}", counts(&self.quarantined));
        if !self.last_commits.is_empty() {
            let _ = writeln!(text, "last commits");
        }
        for commit in &self.last_commits {
            let _ = writeln!(
                text,
                "  {:06}  {}  {:<10}  {} new, {} updated, {} quarantined",
                commit.number,
                commit.committed_at.format("%Y-%m-%d %H:%M:%SZ"),
                format!("{:?}", commit.kind).to_lowercase(),
                commit.exported_new,
                commit.exported_updated,
                commit.quarantined
            );
        }
        text
    }
}
