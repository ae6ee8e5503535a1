//! What a run did, in the text form of Prometheus: for the textfile collector of a
//! node exporter. Every figure is of the last run.

use crate::summary::Summary;
use chrono::{DateTime, Utc};
use std::fmt::Write;

/// The text. `now` is when the run ended.
#[must_use]
pub fn text(summary: &Summary, now: DateTime<Utc>) -> String {
    let mut text = String::new();
    let mut gauge = |name: &str, help: &str, values: &[(String, f64)]| {
        let _ = writeln!(text, "# HELP callrec_run_{name} {help}\n# TYPE callrec_run_{name} gauge");
        for (labels, value) in values {
            let _ = writeln!(text, "callrec_run_{name}{labels} {value}");
        }
    };
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
    let count = |n: u64| n as f64;
    let one = |value: f64| [(String::new(), value)];
    gauge("exit_code", "Exit code of the process.", &one(summary.exit_code.into()));
    gauge("end_timestamp_seconds", "When the run ended.", &one(count(now.timestamp().unsigned_abs())));
    if summary.exit_code == 0 {
        gauge("success_timestamp_seconds", "When a run ended with 0.", &one(count(now.timestamp().unsigned_abs())));
    }
    gauge("duration_seconds", "How long the run took.", &one(summary.duration_seconds));
    gauge("fetch_seconds", "Of this, how long records were fetched.", &one(summary.fetch_seconds));
    for (name, help, value) in [
        ("notifications_read", "Items read from the notification log.", summary.notifications_read),
        ("ids_collected", "Different ids that came from the log and by hand.", summary.ids_collected),
        ("requests", "Requests to Graph.", summary.requests),
        ("throttled", "Answers that asked to slow down.", summary.throttled),
        ("fetched", "Records that Graph served whole.", summary.fetched),
        ("exported_new", "Calls that the tables did not have.", summary.exported_new),
        ("exported_updated", "Calls that got a higher version.", summary.exported_updated),
        ("unchanged", "Records whose version the tables had.", summary.unchanged),
        ("pending", "Ids that later runs ask for.", summary.pending),
        ("expired", "Ids given up.", summary.expired),
        ("quarantined", "Items that went to quarantine.", summary.quarantined),
        ("files_written", "Files put in place.", summary.files_written),
        ("bytes_written", "Their bytes.", summary.bytes_written),
    ] {
        gauge(name, help, &one(count(value)));
    }
    let oldest = summary.oldest_pending.as_deref().and_then(|at| DateTime::parse_from_rfc3339(at).ok());
    if let Some(oldest) = oldest {
        let seconds = count(oldest.timestamp().unsigned_abs());
        gauge("oldest_pending_timestamp_seconds", "When the oldest pending id was first seen.", &one(seconds));
    }
    let label = |name: &str, value: &str| format!("{{{name}=\"{}\"}}", value.replace(['\\', '"', '\n'], "_"));
    let rows: Vec<_> = summary.rows.iter().map(|(table, n)| (label("table", table), count(*n))).collect();
    gauge("rows", "Rows written.", &rows);
    let skipped: Vec<_> =
        summary.notifications_skipped.iter().map(|(reason, n)| (label("reason", reason), count(*n))).collect();
    gauge("notifications_skipped", "Items of the log that were not taken.", &skipped);
    let drift: u64 = summary.schema_drift.values().sum();
    gauge("schema_drift", "Members that no column holds, and values that fit none.", &one(count(drift)));
    for (name, help, value) in [
        ("alerts_sent", "Emergency calls that the receiver of alerts was told of.", summary.alerts_sent),
        ("alerts_pending", "Emergency calls that it is still to be told of.", summary.alerts_pending),
    ] {
        if let Some(value) = value {
            gauge(name, help, &one(count(value)));
        }
    }
    if let Some(report) = &summary.reconciled {
        gauge("listed", "Records that Graph lists.", &one(count(report.listed)));
        gauge("missed", "Calls of which no notification was read.", &one(count(report.missed)));
        gauge("missed_updates", "Later versions that were not notified.", &one(count(report.missed_updates)));
        let silent = f64::from(u8::from(report.silent_since.is_some()));
        gauge("notifications_silent", "1 if calls ended since the last notification.", &one(silent));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_one_that_prometheus_reads() {
        let mut summary = Summary { fetched: 7, duration_seconds: 1.5, ..Summary::default() };
        summary.rows.insert("calls".to_owned(), 7);
        summary.notifications_skipped.insert("a\"b".to_owned(), 1);
        let text = text(&summary, DateTime::from_timestamp(1_800_000_000, 0).unwrap());
        for line in text.lines().filter(|line| !line.starts_with("# ")) {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().is_ok(), "{line}");
            let bare = name.split('{').next().unwrap();
            assert!(
                bare.starts_with("callrec_run_") && bare.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
                "{line}"
            );
            assert!(text.contains(&format!("# TYPE {bare} gauge")), "{line}");
        }
        assert!(text.contains("callrec_run_fetched 7\n") && text.contains("callrec_run_rows{table=\"calls\"} 7\n"));
        assert!(
            text.contains("{reason=\"a_b\"} 1\n") && text.contains("callrec_run_end_timestamp_seconds 1800000000\n")
        );
    }
}
