//! What is due now: ids that were collected and are in no commit yet.
//!
//! Input: the pending ids of the newest commit, new notifications, ids named by
//! hand. Output: the ids to ask Graph for, in the order in which they were
//! first seen, and afterwards the pending ids of the next commit.

use crate::call_id::CallId;
use crate::notifications::Notification;
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// How long Graph keeps a record.
pub const RETENTION: TimeDelta = TimeDelta::days(30);
const FIRST_WAIT: TimeDelta = TimeDelta::minutes(15);
const LONGEST_WAIT: TimeDelta = TimeDelta::hours(12);
/// Runs that fetched other records while this id answered 403.
const FORBIDDEN_RUNS: u32 = 3;

/// Where an id came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The notification log.
    Notifications,
    /// `--id` or `--ids-file`.
    Named,
    /// `quarantine retry`.
    Quarantine,
    /// Graph's list of records.
    List,
    /// Asked again for a later version, once a call had time to settle.
    Settle,
}

impl Origin {
    /// The name in the ledger's `sources`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Notifications => "notifications",
            Self::Named => "named",
            Self::Quarantine => "quarantine",
            Self::List => "list",
            Self::Settle => "settle",
        }
    }
}

/// Why an id is pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Not asked for yet.
    Due,
    /// Asked for; Graph did not answer usefully.
    Retry,
    /// Graph answered 404.
    NotFound,
    /// Graph answered 403.
    Forbidden,
}

/// One id that is in no commit yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// The id.
    pub call_id: CallId,
    /// Why it is pending.
    pub state: State,
    /// The last answer, as a short code.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// How often Graph was asked since the last notification.
    pub attempts: u32,
    /// When a run first saw the id.
    pub first_seen: DateTime<Utc>,
    /// Not asked before this.
    pub next_attempt: DateTime<Utc>,
    /// The clock of the runs that read its first and last notification.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub first_notified_at: Option<DateTime<Utc>>,
    /// See `first_notified_at`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_notified_at: Option<DateTime<Utc>>,
    /// The latest end of a subscription that notified it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub subscription_expires_at: Option<DateTime<Utc>>,
    /// The tenant of its notifications.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tenant_id: Option<uuid::Uuid>,
    /// Where it came from.
    pub sources: BTreeSet<Origin>,
    /// Runs that fetched others while it answered 403.
    #[serde(default)]
    pub forbidden_runs: u32,
    /// Whether the ledger says all this already.
    #[serde(default)]
    pub in_ledger: bool,
}

impl Pending {
    fn new(call_id: CallId, now: DateTime<Utc>) -> Self {
        Self {
            call_id,
            state: State::Due,
            reason: None,
            attempts: 0,
            first_seen: now,
            next_attempt: now,
            first_notified_at: None,
            last_notified_at: None,
            subscription_expires_at: None,
            tenant_id: None,
            sources: BTreeSet::new(),
            forbidden_runs: 0,
            in_ledger: false,
        }
    }

    /// When Graph will not have it any more, as far as can be told.
    #[must_use]
    pub fn expires_at(&self) -> DateTime<Utc> {
        self.first_seen + RETENTION
    }
}

/// What becomes of an id that was asked for and not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It stays pending.
    Pending,
    /// It is given up: Graph keeps nothing for so long.
    Expired,
    /// It goes to quarantine.
    Quarantine,
}

/// The pending ids.
#[derive(Clone, Debug, Default)]
pub struct Worklist {
    entries: BTreeMap<CallId, Pending>,
    named: BTreeSet<CallId>,
}

impl Worklist {
    /// Begins with the pending ids of the newest commit.
    #[must_use]
    pub fn new(pending: Vec<Pending>) -> Self {
        Self { entries: pending.into_iter().map(|p| (p.call_id, p)).collect(), named: BTreeSet::new() }
    }

    fn entry(&mut self, call_id: CallId, now: DateTime<Utc>) -> &mut Pending {
        self.entries.entry(call_id).or_insert_with(|| Pending::new(call_id, now))
    }

    /// A notification makes its id due, also one that answered 404 before.
    pub fn notified(&mut self, notification: &Notification, now: DateTime<Utc>) {
        let entry = self.entry(notification.call_id, now);
        entry.state = State::Due;
        entry.next_attempt = now;
        entry.first_notified_at.get_or_insert(now);
        entry.last_notified_at = Some(now);
        entry.tenant_id = notification.tenant_id.or(entry.tenant_id);
        entry.subscription_expires_at = entry.subscription_expires_at.max(notification.subscription_expires_at);
        entry.sources.insert(Origin::Notifications);
        entry.in_ledger = false;
    }

    /// An id named by hand is due at once.
    pub fn named(&mut self, call_id: CallId, origin: Origin, now: DateTime<Utc>) {
        self.named.insert(call_id);
        let entry = self.entry(call_id, now);
        entry.next_attempt = now;
        if entry.sources.insert(origin) {
            entry.in_ledger = false;
        }
    }

    /// An id that Graph lists, or that is looked at again, is due at once.
    pub fn found(&mut self, call_id: CallId, origin: Origin, now: DateTime<Utc>) {
        let entry = self.entry(call_id, now);
        entry.next_attempt = entry.next_attempt.min(now);
        if entry.sources.insert(origin) {
            entry.in_ledger = false;
        }
    }

    /// An id that only the spool of a killed run knows.
    pub fn spooled(&mut self, call_id: CallId, now: DateTime<Utc>) {
        self.entry(call_id, now);
    }

    /// Whether the id was named by hand.
    #[must_use]
    pub fn is_named(&self, call_id: CallId) -> bool {
        self.named.contains(&call_id)
    }

    /// The ids to ask for now, first seen first; those for which Graph had no
    /// useful answer come last, or a few that never answer would take the whole
    /// time of every run. With `only_named` no others.
    #[must_use]
    pub fn due(&self, now: DateTime<Utc>, only_named: bool) -> Vec<CallId> {
        let mut due: Vec<_> = self
            .entries
            .values()
            .filter(|p| p.next_attempt <= now && (!only_named || self.named.contains(&p.call_id)))
            .map(|p| (matches!(p.state, State::Retry | State::Forbidden), p.first_seen, p.call_id))
            .collect();
        due.sort_unstable();
        due.into_iter().map(|(_, _, id)| id).collect()
    }

    /// The entry of an id.
    #[must_use]
    pub fn get(&self, call_id: CallId) -> Option<&Pending> {
        self.entries.get(&call_id)
    }

    /// The id is in a commit: exported, expired or in quarantine.
    pub fn settle(&mut self, call_id: CallId) -> Option<Pending> {
        self.entries.remove(&call_id)
    }

    /// Graph answered 404.
    pub fn not_found(&mut self, call_id: CallId, now: DateTime<Utc>) -> Verdict {
        let Some(entry) = self.entries.get_mut(&call_id) else { return Verdict::Pending };
        let over = |at: DateTime<Utc>| now - at > RETENTION;
        if over(entry.first_seen) || entry.subscription_expires_at.is_some_and(over) {
            return Verdict::Expired;
        }
        let doublings = entry.attempts.min(16);
        let wait = (FIRST_WAIT * 2_i32.pow(doublings)).min(LONGEST_WAIT);
        entry.attempted(State::NotFound, "not-found");
        entry.next_attempt = now + wait;
        Verdict::Pending
    }

    /// Graph answered 403. `fetched_others` says that this run got a record.
    pub fn forbidden(&mut self, call_id: CallId, fetched_others: bool) -> Verdict {
        let Some(entry) = self.entries.get_mut(&call_id) else { return Verdict::Pending };
        entry.attempted(State::Forbidden, "forbidden");
        if fetched_others {
            entry.forbidden_runs += 1;
        }
        if entry.forbidden_runs >= FORBIDDEN_RUNS { Verdict::Quarantine } else { Verdict::Pending }
    }

    /// Graph could not be asked, or answered nothing of use.
    pub fn unavailable(&mut self, call_id: CallId, reason: &str) {
        if let Some(entry) = self.entries.get_mut(&call_id) {
            entry.attempted(State::Retry, reason);
        }
    }

    /// All that is pending, in the order of ids.
    pub fn pending(&self) -> impl Iterator<Item = &Pending> {
        self.entries.values()
    }

    /// Notes that the ledger now says what is known of every pending id.
    pub fn written_to_ledger(&mut self) {
        for entry in self.entries.values_mut() {
            entry.in_ledger = true;
        }
    }

    /// Whether an id is pending for another reason than 404 or 403.
    #[must_use]
    pub fn has_unfinished(&self) -> bool {
        self.entries.values().any(|p| matches!(p.state, State::Due | State::Retry))
    }
}

impl Pending {
    fn attempted(&mut self, state: State, reason: &str) {
        if self.reason.as_deref() != Some(reason) {
            self.in_ledger = false;
            self.reason = Some(reason.to_owned());
        }
        self.state = state;
        self.attempts += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).unwrap() + TimeDelta::minutes(minutes)
    }

    fn id(n: u128) -> CallId {
        uuid::Uuid::from_u128(n).to_string().parse().unwrap()
    }

    fn notification(n: u128, expires: Option<DateTime<Utc>>) -> Notification {
        Notification { call_id: id(n), tenant_id: None, subscription_expires_at: expires }
    }

    #[test]
    fn a_404_waits_15_minutes_doubling_to_12_hours_and_expires_after_30_days() {
        let mut list = Worklist::default();
        list.notified(&notification(1, None), at(0));
        let mut now = at(0);
        let mut waits = Vec::new();
        for _ in 0..8 {
            assert_eq!(list.not_found(id(1), now), Verdict::Pending);
            let next = list.get(id(1)).unwrap().next_attempt;
            assert!(list.due(next - TimeDelta::seconds(1), false).is_empty());
            assert_eq!(list.due(next, false), [id(1)]);
            waits.push((next - now).num_minutes());
            now = next;
        }
        assert_eq!(waits, [15, 30, 60, 120, 240, 480, 720, 720]);
        assert_eq!(list.not_found(id(1), at(0) + RETENTION), Verdict::Pending);
        assert_eq!(list.not_found(id(1), at(1) + RETENTION), Verdict::Expired);
    }

    #[test]
    fn a_404_of_an_old_subscription_expires_at_once() {
        let mut list = Worklist::default();
        list.notified(&notification(1, Some(at(-1) - RETENTION)), at(0));
        assert_eq!(list.not_found(id(1), at(0)), Verdict::Expired);
    }

    #[test]
    fn a_new_notification_makes_a_404_due() {
        let mut list = Worklist::default();
        list.notified(&notification(1, None), at(0));
        list.not_found(id(1), at(0));
        list.notified(&notification(1, None), at(1));
        assert_eq!(list.due(at(1), false), [id(1)]);
    }

    #[test]
    fn three_runs_with_403_while_others_succeed_are_quarantine() {
        let mut list = Worklist::default();
        list.notified(&notification(1, None), at(0));
        assert_eq!(list.forbidden(id(1), false), Verdict::Pending);
        assert_eq!(list.forbidden(id(1), true), Verdict::Pending);
        assert_eq!(list.forbidden(id(1), true), Verdict::Pending);
        assert_eq!(list.forbidden(id(1), true), Verdict::Quarantine);
    }

    #[test]
    fn due_ids_come_in_the_order_in_which_they_were_seen() {
        let mut list = Worklist::default();
        list.notified(&notification(3, None), at(0));
        list.notified(&notification(1, None), at(5));
        list.named(id(2), Origin::Named, at(6));
        assert_eq!(list.due(at(9), false), [id(3), id(1), id(2)]);
        assert_eq!(list.due(at(9), true), [id(2)]);
        list.unavailable(id(3), "timeout");
        list.forbidden(id(1), true);
        assert_eq!(list.due(at(9), false), [id(2), id(3), id(1)], "what failed comes last");
    }
}
