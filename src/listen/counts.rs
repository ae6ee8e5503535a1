//! What the receiver counts, and how it tells it to Prometheus.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Counters since the start.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) validations: AtomicU64,
    pub(super) notifications: AtomicU64,
    pub(super) lines: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) syncs: AtomicU64,
    pub(super) write_failures: AtomicU64,
    /// Changed files of certificate and key that could not be used.
    pub(super) certificate_failures: AtomicU64,
    pub(super) evicted: AtomicU64,
    pub(super) connections: AtomicU64,
    /// Unix seconds; 0 before the first.
    pub(super) last_notification: AtomicI64,
    /// Unix seconds; 0 if nobody knows.
    pub(super) subscription_expires: AtomicI64,
    pub(super) renewals_failed: AtomicU64,
    pub(super) failing: AtomicBool,
    by_label: Mutex<BTreeMap<(Labelled, String), u64>>,
}

/// Counters with a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Labelled {
    /// Posts by the status of the answer.
    Posts,
    /// Items and posts that were not kept, by reason.
    Refused,
    /// Lifecycle notifications by event.
    Lifecycle,
}

impl Labelled {
    const ALL: [(Self, &'static str, &'static str, &'static str); 3] = [
        (Self::Posts, "listen_posts_total", "status", "Posts by the status of their answer."),
        (Self::Refused, "listen_refused_total", "reason", "Items and posts that were not kept, by reason."),
        (Self::Lifecycle, "listen_lifecycle_total", "event", "Lifecycle notifications that were kept, by event."),
    ];
}

/// Adds to a counter.
pub(super) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

impl Counts {
    /// Adds to a counter with a label, and gives what it came to. Labels are few
    /// and fixed: nothing of a request is one.
    pub(super) fn count(&self, what: Labelled, label: &str, count: u64) -> u64 {
        let mut counters = self.by_label.lock().unwrap_or_else(PoisonError::into_inner);
        let counter = counters.entry((what, label.to_owned())).or_default();
        *counter += count;
        *counter
    }

    /// All in the text form of Prometheus.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed).to_string();
        let plain = [
            ("listen_validations_total", "counter", "Validation tokens that were sent back.", get(&self.validations)),
            ("listen_notifications_total", "counter", "Notifications that were written.", get(&self.notifications)),
            ("listen_lines_total", "counter", "Lines that were written.", get(&self.lines)),
            ("listen_written_bytes_total", "counter", "Bytes that were written.", get(&self.bytes)),
            ("listen_fsyncs_total", "counter", "Syncs of files and directories.", get(&self.syncs)),
            ("listen_write_failures_total", "counter", "Writes that failed.", get(&self.write_failures)),
            (
                "listen_certificate_failures_total",
                "counter",
                "Changed certificates that could not be used.",
                get(&self.certificate_failures),
            ),
            ("listen_evicted_total", "counter", "Connections that were closed for newer ones.", get(&self.evicted)),
            ("listen_connections", "gauge", "Connections that are open.", get(&self.connections)),
            (
                "listen_last_notification_timestamp_seconds",
                "gauge",
                "When a notification was last written; 0 before the first.",
                self.last_notification.load(Ordering::Relaxed).to_string(),
            ),
            (
                "listen_writable",
                "gauge",
                "Whether the log can be written.",
                u8::from(!self.failing.load(Ordering::Relaxed)).to_string(),
            ),
            (
                "subscription_expires_timestamp_seconds",
                "gauge",
                "When the subscription ends, as far as this listener knows; 0 if it renews none.",
                self.subscription_expires.load(Ordering::Relaxed).to_string(),
            ),
            (
                "subscription_renewals_failed_total",
                "counter",
                "Renewals of the subscription that failed.",
                get(&self.renewals_failed),
            ),
        ];
        for (name, kind, help, value) in plain {
            head(&mut text, name, kind, help);
            let _ = writeln!(text, "callrec_{name} {value}");
        }
        let counters = self.by_label.lock().unwrap_or_else(PoisonError::into_inner);
        for (what, name, label, help) in Labelled::ALL {
            head(&mut text, name, "counter", help);
            for ((_, value), count) in counters.iter().filter(|((one, _), _)| *one == what) {
                let _ = writeln!(text, "callrec_{name}{{{label}=\"{value}\"}} {count}");
            }
        }
        text
    }
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = write!(text, "# HELP callrec_{name} {help}\n# TYPE callrec_{name} {kind}\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_has_one_head_and_its_values() {
        let counts = Counts::default();
        add(&counts.syncs, 3);
        assert_eq!(counts.count(Labelled::Refused, "client-state", 2), 2);
        assert_eq!(counts.count(Labelled::Refused, "client-state", 1), 3);
        counts.count(Labelled::Posts, "202", 1);
        let text = counts.text();
        for line in [
            "callrec_listen_fsyncs_total 3",
            "callrec_listen_writable 1",
            "callrec_listen_refused_total{reason=\"client-state\"} 3",
            "callrec_listen_posts_total{status=\"202\"} 1",
            "# TYPE callrec_listen_last_notification_timestamp_seconds gauge",
        ] {
            assert_eq!(text.lines().filter(|other| *other == line).count(), 1, "{line}\n{text}");
        }
    }
}
