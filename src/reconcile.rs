//! What Graph lists against what the ledger knows: Graph says nothing when a
//! notification is lost, and forgets the record after 30 days.
//!
//! Input: the list of a span of days, the ledger and the pending ids. Output: the
//! ids to ask for, and a report of what was missed. It asks for no record itself.

use crate::call_id::CallId;
use crate::dataset::known::{self, Known, Standing};
use crate::dataset::layout::Layout;
use crate::error::Result;
use crate::graph::{Listed, Lister};
use crate::shutdown::Shutdown;
use crate::worklist::{Origin, RETENTION, Worklist};
use chrono::{DateTime, NaiveTime, SecondsFormat, TimeDelta, Utc};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};

/// How far back is looked unless the command line says otherwise: what Graph keeps
/// by the end of a call, and a day for its length.
pub const TRAILING: TimeDelta = TimeDelta::days(31);
/// After the end of a call its notification is expected within 150 minutes.
const GRACE: TimeDelta = TimeDelta::hours(3);
/// So long before Graph forgets a call it is looked at for the last time.
const LAST_LOOK: TimeDelta = TimeDelta::days(2);

/// What is to be listed and looked at again.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// Calls that began at or after this …
    pub from: DateTime<Utc>,
    /// … and before this.
    pub to: DateTime<Utc>,
    /// So long after their end calls are asked for once more; none are without it.
    pub settle: Option<TimeDelta>,
    /// Whether calls without a notification are what is expected: a first run.
    pub is_backfill: bool,
}

/// What was found. No call is named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Start of the span.
    pub from: String,
    /// End of the span.
    pub to: String,
    /// Records that Graph lists in it.
    pub listed: u64,
    /// Of these, calls that the tables did not have and that are asked for now.
    pub found: u64,
    /// Of those, calls of which no notification was read though one was due.
    pub missed: u64,
    /// Stored calls of which Graph has a later version, made hours ago and not notified.
    pub missed_updates: u64,
    /// `missed` by the hour in which the calls ended.
    pub missed_per_hour: BTreeMap<String, u64>,
    /// Stored calls that are asked for once more, for a later version.
    pub asked_again: u64,
    /// Rows of the list without an id that a call record can have.
    pub unreadable: u64,
    /// Days whose list was not read to its end, and why.
    pub incomplete: BTreeMap<String, String>,
    /// When a run last read a notification.
    pub last_notified_at: Option<String>,
    /// The same, if calls ended since whose notifications were due.
    pub silent_since: Option<String>,
}

/// A call of which no notification was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Missed {
    /// The call.
    pub call_id: CallId,
    /// When it began.
    pub call_start_date_time: Option<DateTime<Utc>>,
    /// When it ended.
    pub call_end_date_time: Option<DateTime<Utc>>,
    /// Graph's version.
    pub version: i64,
    /// Whether an earlier version is stored.
    pub is_update: bool,
}

/// What the list gave.
#[derive(Debug, Default)]
pub struct Listings {
    records: HashMap<CallId, Listed>,
    unreadable: u64,
    incomplete: BTreeMap<String, String>,
}

/// Lists the span day by day. A day that cannot be listed leaves the others.
///
/// # Errors
/// What ends the run: access, or a token service that does not answer.
pub async fn list(lister: &Lister, request: &Request, shutdown: &mut Shutdown) -> Result<Listings> {
    let mut listings = Listings::default();
    for (from, to) in days(request.from, request.to) {
        let listing = tokio::select! {
            listing = lister.list(from, to) => listing?,
            () = shutdown.requested() => return Ok(listings),
        };
        let day = from.format("%Y-%m-%d").to_string();
        tracing::info!(day, records = listing.records.len(), "listed a day");
        listings.unreadable += listing.unreadable;
        for listed in listing.records {
            // Of one that comes on two pages the later version counts.
            let entry = listings.records.entry(listed.call_id).or_insert(listed);
            if listed.version > entry.version {
                *entry = listed;
            }
        }
        if let Some(reason) = listing.incomplete {
            tracing::warn!(day, reason, "the list of this day was not read to its end; reconcile again");
            listings.incomplete.insert(day, reason);
        }
    }
    Ok(listings)
}

/// The span cut at midnights.
fn days(from: DateTime<Utc>, to: DateTime<Utc>) -> impl Iterator<Item = (DateTime<Utc>, DateTime<Utc>)> {
    let mut next = from;
    std::iter::from_fn(move || {
        let begin = next;
        next = (begin.date_naive() + TimeDelta::days(1)).and_time(NaiveTime::MIN).and_utc().min(to);
        (begin < to).then_some((begin, next))
    })
}

/// Compares, and puts into `list` what is to be asked for.
///
/// # Errors
/// Any failure of the file system.
pub fn compare(
    listings: Listings,
    request: &Request,
    layout: &Layout,
    list: &mut Worklist,
    expects_notifications: bool,
    now: DateTime<Utc>,
) -> Result<(Report, Vec<Missed>)> {
    let instant = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Secs, true);
    let mut report = Report {
        from: instant(request.from),
        to: instant(request.to),
        listed: listings.records.len() as u64,
        unreadable: listings.unreadable,
        incomplete: listings.incomplete,
        ..Report::default()
    };
    let is_due = |at: Option<DateTime<Utc>>| at.is_some_and(|at| now - at >= GRACE);
    let last_due_end = listings.records.values().filter_map(|listed| listed.end).filter(|end| is_due(Some(*end))).max();
    let mut open = listings.records;
    let mut later: HashMap<CallId, Listed> = HashMap::new();
    let mut notified = list.pending().filter_map(|p| p.last_notified_at).max();
    let mut again = Vec::new();
    let mut notified_before = Vec::new();
    known::each(layout, |known| {
        notified = notified.max(known.last_notified_at.and_then(DateTime::from_timestamp_micros));
        if request.settle.is_some_and(|settle| has_to_be_looked_at(&known, settle, now)) {
            again.push(known.call_id);
        }
        let Some(listed) = open.get(&known.call_id).copied() else { return Ok(()) };
        match known.standing {
            Standing::Open if known.last_notified_at.is_some() => notified_before.push(known.call_id),
            Standing::Open => {}
            Standing::Closed => drop(open.remove(&known.call_id)),
            Standing::Exported => {
                open.remove(&known.call_id);
                if known.version.is_some_and(|version| version < listed.version) {
                    later.insert(known.call_id, listed);
                }
            }
        }
        Ok(())
    })?;
    let notified_before: std::collections::HashSet<CallId> = notified_before.into_iter().collect();
    let mut missed = Vec::new();
    for (listed, is_update) in open.into_values().map(|l| (l, false)).chain(later.into_values().map(|l| (l, true))) {
        let id = listed.call_id;
        let is_known = list.get(id).is_some_and(|p| p.last_notified_at.is_some()) || notified_before.contains(&id);
        list.found(id, Origin::List, now);
        report.found += u64::from(!is_update);
        let was_due = is_due(if is_update { listed.last_modified } else { listed.end });
        if is_known || request.is_backfill || !was_due {
            continue;
        }
        if is_update {
            report.missed_updates += 1;
        } else {
            report.missed += 1;
            let hour = listed.end.map(|end| end.format("%Y-%m-%dT%H:00:00Z").to_string()).unwrap_or_default();
            *report.missed_per_hour.entry(hour).or_default() += 1;
        }
        missed.push(Missed {
            call_id: id,
            call_start_date_time: listed.start,
            call_end_date_time: listed.end,
            version: listed.version,
            is_update,
        });
    }
    missed.sort_by_key(|missed| (missed.call_end_date_time, missed.call_id));
    again.retain(|id| list.get(*id).is_none());
    report.asked_again = again.len() as u64;
    again.into_iter().for_each(|id| list.found(id, Origin::Settle, now));
    report.last_notified_at = notified.map(instant);
    if expects_notifications && !request.is_backfill && last_due_end > notified {
        report.silent_since = Some(notified.map_or_else(|| "always".to_owned(), instant));
    }
    Ok((report, missed))
}

/// Whether time has passed one of the two points at which a call is asked for once
/// more, and Graph was not asked since: some hours after its end, when the late
/// telemetry of its clients is in, and before Graph forgets it.
fn has_to_be_looked_at(known: &Known, settle: TimeDelta, now: DateTime<Utc>) -> bool {
    let (Standing::Exported, Some(end)) = (known.standing, known.end.and_then(DateTime::from_timestamp_micros)) else {
        return false;
    };
    let asked = known.asked_at.and_then(DateTime::from_timestamp_micros);
    let is_due = |point: DateTime<Utc>| now >= point && asked.is_none_or(|asked| asked < point);
    now < end + RETENTION && (is_due(end + settle) || is_due(end + RETENTION - LAST_LOOK))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).unwrap() + TimeDelta::hours(hours)
    }

    #[test]
    fn a_span_is_cut_at_midnights() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let span = |from: &str, to: &str| {
            days(at(from), at(to))
                .map(|(a, b)| format!("{} {}", a.format("%dT%H"), b.format("%dT%H")))
                .collect::<Vec<_>>()
        };
        assert_eq!(span("2026-11-01T22:00:00Z", "2026-11-03T01:00:00Z"), ["01T22 02T00", "02T00 03T00", "03T00 03T01"]);
        assert_eq!(span("2026-11-01T00:00:00Z", "2026-11-02T00:00:00Z"), ["01T00 02T00"]);
        assert!(span("2026-11-01T00:00:00Z", "2026-11-01T00:00:00Z").is_empty());
        assert!(span("2026-11-02T00:00:00Z", "2026-11-01T00:00:00Z").is_empty());
    }

    #[test]
    fn a_call_is_looked_at_when_it_has_settled_and_before_it_is_forgotten() {
        let day = 24;
        for (now, asked, due) in [
            (2, Some(1), false),
            (3, Some(1), true),
            (40, Some(3), false),
            (40, None, true),
            (27 * day, Some(4), false),
            (28 * day, Some(4), true),
            (28 * day + 1, Some(28 * day), false),
            (30 * day, Some(1), false),
        ] {
            let known = Known {
                call_id: "00000000-0000-4000-8000-000000000001".parse().unwrap(),
                standing: Standing::Exported,
                version: Some(1),
                end: Some(at(0).timestamp_micros()),
                asked_at: asked.map(|asked| at(asked).timestamp_micros()),
                last_notified_at: None,
            };
            assert_eq!(has_to_be_looked_at(&known, TimeDelta::hours(3), at(now)), due, "{now} {asked:?}");
            let closed = Known { standing: Standing::Closed, ..known };
            assert!(!has_to_be_looked_at(&closed, TimeDelta::hours(3), at(now)));
        }
    }
}
