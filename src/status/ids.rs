//! `status --id`: where single calls stand.

use super::{check, why};
use crate::call_id::CallId;
use crate::dataset::commit;
use crate::dataset::layout::Layout;
use crate::dataset::ledger::{self, Row};
use crate::error::Result;
use crate::printable;
use crate::worklist;
use chrono::{DateTime, Utc};
use serde::Serialize;
use std::collections::{BTreeSet, HashSet};
use std::fmt::Write;

/// What is said of an id that nothing is known of.
const UNKNOWN: &str = "unknown";
const SECONDS_OF_A_DAY: f64 = 86_400.0;

/// Where one call stands.
#[derive(Clone, Debug, Serialize)]
pub struct Standing {
    /// The call.
    pub call_id: CallId,
    /// Its state in the ledger; `pending` if only the newest commit has it, and
    /// `unknown` if that has it neither.
    pub state: String,
    /// Why, as a short code.
    pub reason: Option<String>,
    /// Where the id came from.
    pub sources: BTreeSet<String>,
    /// Clock of the run that read its first notification.
    pub first_notified_at: Option<DateTime<Utc>>,
    /// Clock of the run that read its last notification.
    pub last_notified_at: Option<DateTime<Utc>>,
    /// Clock of the run that fetched the stored version.
    pub fetched_at: Option<DateTime<Utc>>,
    /// The stored version.
    pub version: Option<i64>,
    /// The versions that were fetched and stored.
    pub versions: BTreeSet<i64>,
    /// When Graph forgets it, as far as can be told.
    pub expires_at: Option<DateTime<Utc>>,
    /// Days until then; less than 0 if that is past.
    pub expires_in_days: Option<f64>,
    /// What the next runs do with it, if it is pending.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending: Option<Pending>,
}

/// What the newest commit says of an id that later runs ask for.
#[derive(Clone, Debug, Serialize)]
pub struct Pending {
    /// Why it is pending.
    pub why: &'static str,
    /// The last answer, as a short code.
    pub reason: Option<String>,
    /// How often Graph was asked since the last notification.
    pub attempts: u32,
    /// It is not asked for before this.
    pub next_attempt: DateTime<Utc>,
}

/// What is known of `ids`, in their order; takes no lock.
///
/// # Errors
/// By class configuration when there is no dataset or its state is damaged; any
/// failure of the file system.
pub fn standing(layout: &Layout, ids: &[CallId], now: DateTime<Utc>) -> Result<Vec<Standing>> {
    check(layout)?;
    let texts: Vec<String> = ids.iter().map(ToString::to_string).collect();
    let wanted: HashSet<&str> = texts.iter().map(String::as_str).collect();
    // A run at the same time may have replaced a file between listing and opening it.
    let mut rows = ledger::find(layout, &wanted).or_else(|_| ledger::find(layout, &wanted))?;
    let newest = commit::newest(layout)?;
    let mut found = Vec::with_capacity(ids.len());
    for (id, text) in ids.iter().zip(&texts) {
        let pending = newest.iter().flat_map(|c| &c.pending).find(|pending| pending.call_id == *id);
        let row = rows.remove(text).map(|(_, row)| row);
        found.push(Standing::of(*id, row, pending, now));
    }
    Ok(found)
}

impl Standing {
    fn unknown(call_id: CallId) -> Self {
        Self {
            call_id,
            state: UNKNOWN.to_owned(),
            reason: None,
            sources: BTreeSet::new(),
            first_notified_at: None,
            last_notified_at: None,
            fetched_at: None,
            version: None,
            versions: BTreeSet::new(),
            expires_at: None,
            expires_in_days: None,
            pending: None,
        }
    }

    fn of(call_id: CallId, row: Option<Row>, pending: Option<&worklist::Pending>, now: DateTime<Utc>) -> Self {
        let instant = |micros: Option<i64>| micros.and_then(DateTime::from_timestamp_micros);
        let mut standing = match (row, pending) {
            (Some(row), _) => Self {
                first_notified_at: instant(row.first_notified_at),
                last_notified_at: instant(row.last_notified_at),
                fetched_at: instant(row.fetched_at),
                expires_at: instant(row.expires_at),
                state: row.state,
                reason: row.reason,
                sources: row.sources,
                version: row.version,
                versions: row.versions,
                ..Self::unknown(call_id)
            },
            (None, Some(pending)) => Self {
                state: "pending".to_owned(),
                reason: pending.reason.clone(),
                sources: pending.sources.iter().map(|origin| origin.name().to_owned()).collect(),
                first_notified_at: pending.first_notified_at,
                last_notified_at: pending.last_notified_at,
                expires_at: Some(pending.expires_at()),
                ..Self::unknown(call_id)
            },
            (None, None) => Self::unknown(call_id),
        };
        let days = |at: DateTime<Utc>| (at - now).as_seconds_f64() / SECONDS_OF_A_DAY;
        standing.expires_in_days = standing.expires_at.map(|at| (days(at) * 10.0).round() / 10.0);
        standing.pending = pending.map(|pending| Pending {
            why: why(pending.state),
            reason: pending.reason.clone(),
            attempts: pending.attempts,
            next_attempt: pending.next_attempt,
        });
        standing
    }

    /// Whether the dataset knows the id.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.state != UNKNOWN
    }

    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("call           {}\n", self.call_id);
        if !self.is_known() {
            text.push_str("state          unknown: no run has seen this id\n");
            return text;
        }
        let reason = self.reason.as_deref().map(|why| format!(": {}", printable::field(why))).unwrap_or_default();
        let _ = writeln!(text, "state          {}{reason}", printable::field(&self.state));
        let sources: Vec<String> = self.sources.iter().map(|source| printable::field(source).into_owned()).collect();
        let _ = writeln!(text, "from           {}", some_or_none(sources.join(", ")));
        let at = |at: Option<DateTime<Utc>>| {
            some_or_none(at.map(|at| at.format("%Y-%m-%d %H:%M:%SZ").to_string()).unwrap_or_default())
        };
        let _ =
            writeln!(text, "notified       first {}, last {}", at(self.first_notified_at), at(self.last_notified_at));
        let versions: Vec<String> = self.versions.iter().map(ToString::to_string).collect();
        let _ = writeln!(text, "versions       {}", some_or_none(versions.join(", ")));
        if let (Some(version), Some(_)) = (self.version, self.fetched_at) {
            let _ = writeln!(text, "stored         version {version}, fetched {}", at(self.fetched_at));
        }
        if let Some(pending) = &self.pending {
            let answer = pending.reason.as_deref().map(|code| format!(" ({})", printable::field(code)));
            let _ = writeln!(
                text,
                "pending        {}{}, asked {} times, again after {}",
                pending.why,
                answer.unwrap_or_default(),
                pending.attempts,
                at(Some(pending.next_attempt))
            );
        }
        if let Some(days) = self.expires_in_days {
            let when = if days < 0.0 { "ago" } else { "from now" };
            let _ = writeln!(text, "Graph forgets  {}, {:.1} days {when}", at(self.expires_at), days.abs());
        }
        text
    }
}

fn some_or_none(text: String) -> String {
    if text.is_empty() { "none".to_owned() } else { text }
}
