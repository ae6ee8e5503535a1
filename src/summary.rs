//! The summary of a run: one JSON object, without user data.

use crate::alerts::Told;
use crate::dataset::commit::{Commit, LogCounts};
use crate::dataset::layout::{is_archive, is_state};
use crate::reconcile::Report;
use serde::Serialize;
use std::collections::BTreeMap;

/// What a run did. Printed as the last line of stdout.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    /// The tenant, where the config has several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// What became of the tenants, in the sum of a run over several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenants: Option<Tenants>,
    /// The run.
    pub run_id: String,
    /// `done`, or why it is not.
    pub status: String,
    /// The exit code of the process.
    pub exit_code: u8,
    /// Items read from the notification log.
    pub notifications_read: u64,
    /// Items that were not taken, by reason.
    pub notifications_skipped: BTreeMap<String, u64>,
    /// Different ids that came from the log and by hand.
    pub ids_collected: u64,
    /// Requests to Graph.
    pub requests: u64,
    /// Answers that asked to slow down.
    pub throttled: u64,
    /// Records that Graph served whole.
    pub fetched: u64,
    /// Calls that the tables did not have.
    pub exported_new: u64,
    /// Calls that got a higher version.
    pub exported_updated: u64,
    /// Records whose version the tables had.
    pub unchanged: u64,
    /// Ids that later runs ask for.
    pub pending: u64,
    /// Ids given up.
    pub expired: u64,
    /// Items that went to quarantine.
    pub quarantined: u64,
    /// Rows written, by table.
    pub rows: BTreeMap<String, u64>,
    /// Files put in place.
    pub files_written: u64,
    /// Their bytes.
    pub bytes_written: u64,
    /// How long it took.
    pub duration_seconds: f64,
    /// Of this, how long records were fetched.
    pub fetch_seconds: f64,
    /// When the oldest pending id was first seen.
    pub oldest_pending: Option<String>,
    /// Drift by path.
    pub schema_drift: BTreeMap<String, u64>,
    /// What Graph listed and the tables did not have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reconciled: Option<Report>,
    /// Rows of telephony logs, by table.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub logs: BTreeMap<String, LogCounts>,
    /// Emergency calls that the receiver of alerts was told of, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alerts_sent: Option<u64>,
    /// Emergency calls that it is still to be told of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alerts_pending: Option<u64>,
}

/// What became of the tenants of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tenants {
    /// How many there are.
    pub total: u64,
    /// How many ended how.
    pub by_status: BTreeMap<String, u64>,
    /// The exit codes of those that need somebody to look.
    pub not_done: BTreeMap<String, u8>,
}

/// If several codes apply, the first of these counts. 101 is a defect.
const FIRST: [u8; 9] = [130, 143, 101, 78, 2, 77, 74, 75, 3];

/// The exit code of a process whose parts ended with `codes`.
pub fn exit_code(codes: impl IntoIterator<Item = u8>) -> u8 {
    let place = |code: &u8| FIRST.iter().position(|first| first == code).unwrap_or(FIRST.len());
    codes.into_iter().min_by_key(place).unwrap_or(0)
}

impl Summary {
    /// Of a run in which nothing was done.
    #[must_use]
    pub fn blank(run_id: &str, tenant: Option<&str>, status: &str, exit_code: u8) -> Self {
        Self {
            tenant: tenant.map(str::to_owned),
            run_id: run_id.to_owned(),
            status: status.to_owned(),
            exit_code,
            ..Self::default()
        }
    }

    /// The sum of the runs of several tenants, which took `duration_seconds`.
    #[must_use]
    pub fn total(of: &[Self], run_id: &str, duration_seconds: f64) -> Self {
        let exit_code = exit_code(of.iter().map(|summary| summary.exit_code));
        let status = of.iter().find(|summary| summary.exit_code == exit_code);
        let mut tenants = Tenants { total: of.len() as u64, ..Tenants::default() };
        let mut total = Self {
            run_id: run_id.to_owned(),
            status: status.map_or("done", |summary| &summary.status).to_owned(),
            exit_code,
            duration_seconds,
            ..Self::default()
        };
        for summary in of {
            *tenants.by_status.entry(summary.status.clone()).or_default() += 1;
            if let (Some(name), true) = (&summary.tenant, summary.exit_code != 0) {
                tenants.not_done.insert(name.clone(), summary.exit_code);
            }
            total.join(summary);
        }
        total.tenants = Some(tenants);
        total
    }

    fn join(&mut self, other: &Self) {
        let add = |sums: &mut BTreeMap<String, u64>, counts: &BTreeMap<String, u64>| {
            for (key, count) in counts {
                *sums.entry(key.clone()).or_default() += count;
            }
        };
        self.notifications_read += other.notifications_read;
        add(&mut self.notifications_skipped, &other.notifications_skipped);
        self.ids_collected += other.ids_collected;
        self.requests += other.requests;
        self.throttled += other.throttled;
        self.fetched += other.fetched;
        self.exported_new += other.exported_new;
        self.exported_updated += other.exported_updated;
        self.unchanged += other.unchanged;
        self.pending += other.pending;
        self.expired += other.expired;
        self.quarantined += other.quarantined;
        add(&mut self.rows, &other.rows);
        self.files_written += other.files_written;
        self.bytes_written += other.bytes_written;
        self.fetch_seconds += other.fetch_seconds;
        // All are of one form, in UTC.
        let oldest = self.oldest_pending.iter().chain(&other.oldest_pending).min().cloned();
        self.oldest_pending = oldest;
        add(&mut self.schema_drift, &other.schema_drift);
        self.add_logs(&other.logs);
        let both = |one: Option<u64>, other: Option<u64>| one.map_or(other, |one| Some(one + other.unwrap_or(0)));
        self.alerts_sent = both(self.alerts_sent, other.alerts_sent);
        self.alerts_pending = both(self.alerts_pending, other.alerts_pending);
    }

    /// Adds what a commit did.
    pub fn add(&mut self, commit: &Commit) {
        let counts = &commit.counts;
        self.exported_new += counts.exported_new;
        self.exported_updated += counts.exported_updated;
        self.unchanged += counts.unchanged;
        self.expired += counts.expired;
        self.quarantined += counts.quarantined;
        for (table, rows) in &counts.rows {
            *self.rows.entry(table.clone()).or_default() += rows;
        }
        for (path, count) in &counts.schema_drift {
            *self.schema_drift.entry(path.clone()).or_default() += count;
        }
        self.add_logs(&counts.logs);
        self.add_files(commit);
    }

    /// Adds what became of the rows of logs.
    pub fn add_logs(&mut self, logs: &BTreeMap<String, LogCounts>) {
        for (table, counts) in logs {
            let sum = self.logs.entry(table.clone()).or_default();
            sum.served += counts.served;
            sum.new += counts.new;
            sum.changed += counts.changed;
            sum.unchanged += counts.unchanged;
        }
    }

    /// Adds what came of alerts; without a receiver only what waits for one.
    pub fn add_alerts(&mut self, told: Told, has_receiver: bool) {
        if has_receiver {
            *self.alerts_sent.get_or_insert_default() += told.sent;
        }
        self.alerts_pending = Some(told.pending).filter(|&pending| has_receiver || pending > 0);
    }

    /// Adds the files of a commit that exported nothing.
    pub fn add_files(&mut self, commit: &Commit) {
        for file in commit.files.iter().filter(|file| !is_archive(&file.table) && !is_state(&file.table)) {
            self.files_written += 1;
            self.bytes_written += file.bytes;
        }
    }

    /// The line for stdout.
    #[must_use]
    pub fn line(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(tenant: &str, exit_code: u8, status: &str) -> Summary {
        Summary {
            tenant: Some(tenant.to_owned()),
            exit_code,
            status: status.to_owned(),
            fetched: 2,
            rows: BTreeMap::from([("calls".to_owned(), 2)]),
            oldest_pending: Some(format!("2026-11-0{}T00:00:00Z", exit_code % 7 + 1)),
            ..Summary::default()
        }
    }

    #[test]
    fn the_sum_of_tenants_names_those_that_are_not_done() {
        let all = [of("a", 0, "done"), of("b", 75, "temporary"), of("c", 77, "failed"), of("d", 0, "done")];
        let total = Summary::total(&all, "run", 1.5);
        assert_eq!((total.exit_code, total.status.as_str(), total.fetched, total.rows["calls"]), (77, "failed", 8, 8));
        assert_eq!(total.oldest_pending.as_deref(), Some("2026-11-01T00:00:00Z"));
        let tenants = total.tenants.unwrap();
        assert_eq!(tenants.total, 4);
        assert_eq!(tenants.by_status["done"], 2);
        assert_eq!(tenants.not_done, BTreeMap::from([("b".to_owned(), 75), ("c".to_owned(), 77)]));
    }

    #[test]
    fn nothing_to_do_is_done() {
        let total = Summary::total(&[], "run", 0.0);
        assert_eq!((total.exit_code, total.status.as_str()), (0, "done"));
        assert_eq!(exit_code([0, 3, 75, 78, 143]), 143);
        assert_eq!(exit_code([0, 3, 0]), 3);
    }
}
