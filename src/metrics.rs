//! What a run did, in the text form of Prometheus: for the textfile collector of a
//! node exporter. Every figure is of the last run.

use crate::reconcile::Report;
use crate::summary::Summary;
use chrono::{DateTime, Utc};
use std::collections::BTreeMap;
use std::fmt::Write;

/// The text of one summary, or of those of several tenants and their sum. `now` is
/// when the run ended.
#[must_use]
pub fn text(summaries: &[Summary], now: DateTime<Utc>) -> String {
    let mut text = String::new();
    let mut gauge = |name: &str, help: &str, values: &dyn Fn(&Summary) -> Series| {
        let _ = writeln!(text, "# HELP callrec_run_{name} {help}\n# TYPE callrec_run_{name} gauge");
        for summary in summaries {
            // The sum would make that of all series twice as large.
            if summary.tenants.is_some() && !OF_SUMS.contains(&name) {
                continue;
            }
            for (label, value) in values(summary) {
                let tenant = summary.tenant.iter().map(|name| ("tenant", name.as_str()));
                let own = label.iter().map(|(name, value)| (*name, value.as_str()));
                let _ = writeln!(text, "callrec_run_{name}{} {value}", labels(tenant.chain(own)));
            }
        }
    };
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
    let count = |n: u64| n as f64;
    let one = |value: f64| vec![(None, value)];
    let at = count(now.timestamp().unsigned_abs());
    gauge("exit_code", "Exit code of the process.", &|s| one(s.exit_code.into()));
    gauge("end_timestamp_seconds", "When the run ended.", &|_| one(at));
    gauge("success_timestamp_seconds", "When a run ended with 0.", &|s| {
        if s.exit_code == 0 { one(at) } else { Vec::new() }
    });
    gauge("duration_seconds", "How long the run took.", &|s| one(s.duration_seconds));
    gauge("fetch_seconds", "Of this, how long records were fetched.", &|s| one(s.fetch_seconds));
    let counts: [Figure<Summary, u64>; 13] = [
        ("notifications_read", "Items read from the notification log.", |s| s.notifications_read),
        ("ids_collected", "Different ids that came from the log and by hand.", |s| s.ids_collected),
        ("requests", "Requests to Graph.", |s| s.requests),
        ("throttled", "Answers that asked to slow down.", |s| s.throttled),
        ("fetched", "Records that Graph served whole.", |s| s.fetched),
        ("exported_new", "Calls that the tables did not have.", |s| s.exported_new),
        ("exported_updated", "Calls that got a higher version.", |s| s.exported_updated),
        ("unchanged", "Records whose version the tables had.", |s| s.unchanged),
        ("pending", "Ids that later runs ask for.", |s| s.pending),
        ("expired", "Ids given up.", |s| s.expired),
        ("quarantined", "Items that went to quarantine.", |s| s.quarantined),
        ("files_written", "Files put in place.", |s| s.files_written),
        ("bytes_written", "Their bytes.", |s| s.bytes_written),
    ];
    for (name, help, of) in counts {
        gauge(name, help, &|s| one(count(of(s))));
    }
    gauge("oldest_pending_timestamp_seconds", "When the oldest pending id was first seen.", &|s| {
        let oldest = s.oldest_pending.as_deref().and_then(|at| DateTime::parse_from_rfc3339(at).ok());
        oldest.map_or_else(Vec::new, |oldest| one(count(oldest.timestamp().unsigned_abs())))
    });
    let each = |name: &'static str, counts: &BTreeMap<String, u64>| {
        counts.iter().map(|(value, n)| (Some((name, value.clone())), count(*n))).collect()
    };
    gauge("rows", "Rows written.", &|s| each("table", &s.rows));
    gauge("notifications_skipped", "Items of the log that were not taken.", &|s| {
        each("reason", &s.notifications_skipped)
    });
    gauge("schema_drift", "Members that no column holds, and values that fit none.", &|s| {
        one(count(s.schema_drift.values().sum()))
    });
    let alerts: [Figure<Summary, Option<u64>>; 2] = [
        ("alerts_sent", "Emergency calls that the receiver of alerts was told of.", |s| s.alerts_sent),
        ("alerts_pending", "Emergency calls that it is still to be told of.", |s| s.alerts_pending),
    ];
    for (name, help, of) in alerts {
        if summaries.iter().any(|summary| of(summary).is_some()) {
            gauge(name, help, &|s| of(s).map_or_else(Vec::new, |calls| one(count(calls))));
        }
    }
    gauge("tenants", "Tenants of the run, by how they ended.", &|s| {
        s.tenants.as_ref().map_or_else(Vec::new, |tenants| each("status", &tenants.by_status))
    });
    let of_list: [Figure<Report, u64>; 4] = [
        ("listed", "Records that Graph lists.", |r| r.listed),
        ("missed", "Calls of which no notification was read.", |r| r.missed),
        ("missed_updates", "Later versions that were not notified.", |r| r.missed_updates),
        ("notifications_silent", "1 if calls ended since the last notification.", |r| r.silent_since.is_some().into()),
    ];
    if summaries.iter().any(|summary| summary.reconciled.is_some()) {
        for (name, help, of) in of_list {
            gauge(name, help, &|s| s.reconciled.as_ref().map_or_else(Vec::new, |report| one(count(of(report)))));
        }
    }
    text
}

type Label = (&'static str, String);
/// The values of a gauge, each with what tells it from the others.
type Series = Vec<(Option<Label>, f64)>;
/// Its name, its help, and where it comes from.
type Figure<Of, Value> = (&'static str, &'static str, fn(&Of) -> Value);

/// What of a sum over tenants is no sum of their series.
const OF_SUMS: [&str; 2] = ["tenants", "duration_seconds"];

fn labels<'a>(of: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let all: Vec<_> = of.map(|(name, value)| format!("{name}=\"{}\"", value.replace(['\\', '"', '\n'], "_"))).collect();
    if all.is_empty() { String::new() } else { format!("{{{}}}", all.join(",")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_one_that_prometheus_reads() {
        let mut summary = Summary { fetched: 7, duration_seconds: 1.5, ..Summary::default() };
        summary.rows.insert("calls".to_owned(), 7);
        summary.notifications_skipped.insert("a\"b".to_owned(), 1);
        let text = text(&[summary], DateTime::from_timestamp(1_800_000_000, 0).unwrap());
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

    #[test]
    fn of_several_tenants_each_series_has_its_name_and_the_sum_adds_none() {
        let of = |name: &str, fetched, exit_code| Summary {
            tenant: Some(name.to_owned()),
            fetched,
            exit_code,
            status: if exit_code == 0 { "done" } else { "failed" }.to_owned(),
            ..Summary::default()
        };
        let mut all = vec![of("a", 7, 0), of("b", 5, 77)];
        all.push(Summary::total(&all, "run", 2.0));
        let text = text(&all, DateTime::from_timestamp(1_800_000_000, 0).unwrap());
        let fetched: Vec<&str> = text.lines().filter(|line| line.starts_with("callrec_run_fetched")).collect();
        assert_eq!(fetched, ["callrec_run_fetched{tenant=\"a\"} 7", "callrec_run_fetched{tenant=\"b\"} 5"]);
        assert!(text.contains("callrec_run_tenants{status=\"done\"} 1\n"), "{text}");
        assert!(text.contains("callrec_run_tenants{status=\"failed\"} 1\n"), "{text}");
        assert!(text.contains("callrec_run_success_timestamp_seconds{tenant=\"a\"} 1800000000\n"), "{text}");
        assert!(!text.contains("callrec_run_success_timestamp_seconds{tenant=\"b\"}"), "{text}");
        assert!(text.contains("callrec_run_duration_seconds 2\n"), "{text}");
    }
}
