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

impl Summary {
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
