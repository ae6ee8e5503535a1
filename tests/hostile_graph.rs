//! Every fault of the simulator on the real binary: what passes costs no record,
//! and what does not has its end in `ends.rs`. No foreign host is ever asked.
#![allow(clippy::unwrap_used, clippy::disallowed_types, reason = "tests fail by panics")]

#[path = "support/certificate.rs"]
#[allow(unreachable_pub, reason = "shared with a bench")]
mod certificate;
#[path = "support/ends.rs"]
#[allow(unreachable_pub, reason = "shared with the torture")]
mod ends;
mod support;

use callrec::simulator::{Settings, Tls, TokenFault, fault_names};
use certificate::Certificate;
use ends::{End, LASTING};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use support::{Ended, Graph, Place, call_id, days_ago, record};

/// Requests that were under way when an answer came may still arrive.
const ALLOWANCE: Duration = Duration::from_millis(300);

/// Records with faults, and one without.
struct Struck {
    graph: Graph,
    place: Place,
    /// The fault of each id.
    faults: BTreeMap<String, &'static str>,
    /// Of a server that is reached by https.
    certificate: Option<Certificate>,
}

impl Struck {
    /// Faults that strike so many times, or for ever. `client` is added to the
    /// client's settings.
    fn begin(faults: impl IntoIterator<Item = &'static str>, times: Option<u32>, client: &str) -> Self {
        Self::at(Graph::empty(), faults, times, client)
    }

    fn at(graph: Graph, faults: impl IntoIterator<Item = &'static str>, times: Option<u32>, client: &str) -> Self {
        let place = patient(&graph, client);
        let mut named = BTreeMap::new();
        for (n, fault) in (1..).zip(faults) {
            let mut record = record(&call_id(n), 2, days_ago(1), sessions(n));
            record["@callrec.simulator"] = json!({"fault": fault, "times": times});
            graph.put(&record);
            named.insert(call_id(n), fault);
        }
        assert!(!named.is_empty());
        graph.put(&record(&call_id(0), 2, days_ago(1), sessions(0)));
        let struck = Self { graph, place, faults: named, certificate: None };
        struck.place.notify(struck.ids().iter().map(String::as_str));
        struck
    }

    fn ids(&self) -> Vec<String> {
        std::iter::once(call_id(0)).chain(self.faults.keys().cloned()).collect()
    }

    /// Every record is in the tables after so many runs at most: of redirects each
    /// costs one.
    fn exports_all_within(&self, runs: usize) {
        let mut ended = self.run(&[]);
        for _ in 1..runs {
            if ended.code == 75 {
                ended = self.run(&[]);
            }
        }
        ended.expect(0);
        self.all_are("exported", |_| "null");
        self.tables_hold(&self.ids(), "2");
    }

    fn run(&self, more: &[&str]) -> Ended {
        let mut command = self.place.command(&[&["run"], more].concat());
        if let Some(certificate) = &self.certificate {
            command.env("SSL_CERT_FILE", &certificate.root);
        }
        let ended = support::ended(command);
        assert!(!ended.stderr.contains("simulated-"), "a token in the log: {}", ended.stderr);
        assert_eq!(self.graph.simulator.counts().foreign, 0, "a foreign host was asked");
        ended
    }

    /// State and reason of each id that has a fault, with the fault's name.
    fn ledger(&self) -> BTreeMap<&'static str, (String, String)> {
        let rows = support::rows(&self.place.root(), "ledger", &["call_id", "state", "reason"]);
        let rows = rows.into_iter().filter_map(|row| match row.as_slice() {
            [id, state, reason] => Some((*self.faults.get(id)?, (state.clone(), reason.clone()))),
            _ => None,
        });
        rows.collect()
    }

    fn all_are(&self, state: &str, reason: impl Fn(&'static str) -> &'static str) {
        let expected: BTreeMap<_, _> =
            self.faults.values().map(|&name| (name, (state.to_owned(), reason(name).to_owned()))).collect();
        assert_eq!(self.ledger(), expected);
        self.place.callrec(&["verify"]).expect(0);
    }

    /// The tables hold these ids and no others, each with all its rows.
    fn tables_hold(&self, ids: &[String], version: &str) {
        let numbers: BTreeMap<String, usize> = (0..100).map(|n| (call_id(n), sessions(n))).collect();
        let expected: BTreeMap<_, _> = ids.iter().map(|id| (id.clone(), numbers[id])).collect();
        let count = |table| {
            let mut counts = BTreeMap::new();
            for id in self.place.column(table, "call_id") {
                *counts.entry(id).or_insert(0) += 1;
            }
            counts
        };
        assert_eq!(count("sessions"), expected);
        assert_eq!(count("participants"), expected);
        let mut calls = support::rows(&self.place.root(), "calls", &["call_id", "version"]);
        calls.sort();
        assert_eq!(calls, ids.iter().map(|id| vec![id.clone(), version.to_owned()]).collect::<Vec<_>>());
    }
}

fn sessions(n: u32) -> usize {
    2 + n as usize % 4
}

/// A place whose client makes no pauses that only cost time here.
fn patient(graph: &Graph, client: &str) -> Place {
    let place = Place::new(&graph.endpoint(), "");
    let config = std::fs::read_to_string(place.config()).unwrap();
    let fast = format!("requests_per_20s = 1000000\nrequests_per_record_per_20s = 100000\n{client}\nbackoff_seconds");
    support::overwrite(&place.config(), &config.replace("backoff_seconds", &fast));
    place
}

fn with_end(wanted: impl Fn(End) -> bool) -> Vec<&'static str> {
    LASTING.iter().filter(|(_, end)| wanted(*end)).map(|(name, _)| *name).collect()
}

/// The reason that a fault ends with.
fn reason(name: &'static str) -> &'static str {
    match LASTING.iter().find(|(known, _)| *known == name) {
        Some((_, End::Pending(reason) | End::Quarantined(reason))) => reason,
        _ => "null",
    }
}

fn asks_for_a_second(name: &str) -> bool {
    name.ends_with("-seconds") || name.ends_with("-date")
}

#[test]
fn the_table_knows_every_fault() {
    let names: Vec<_> = fault_names().map(|(name, _)| name).collect();
    assert_eq!(names, LASTING.map(|(name, _)| name));
}

#[test]
fn a_fault_that_passes_costs_no_record() {
    // A token that is refused twice ends a run; errors.rs has the single refusal.
    let names = fault_names().filter(|(name, passes)| *passes && *name != "expired-token").map(|(name, _)| name);
    let struck = Struck::begin(names, Some(2), "tries = 4\nrequest_timeout_seconds = 10");
    struck.exports_all_within(4);
}

/// The same on a connection that all requests share: what breaks it strikes all of them.
#[test]
fn over_http2_a_fault_that_passes_costs_no_record() {
    let directory = tempfile::tempdir().unwrap();
    let certificate = Certificate::write(directory.path());
    let tls = Tls { certificate: certificate.certificate.clone(), key: certificate.key.clone() };
    let graph = Graph::start(Settings { throttle: false, tls: Some(tls), ..Settings::default() });
    let names = fault_names().filter(|(name, passes)| *passes && *name != "expired-token").map(|(name, _)| name);
    let mut struck = Struck::at(graph, names, Some(1), "tries = 6\nrequest_timeout_seconds = 10");
    struck.certificate = Some(certificate);
    struck.exports_all_within(3);
    let counts = struck.graph.simulator.counts();
    assert_eq!(counts.over_http2, counts.requests);
}

#[test]
fn a_fault_that_lasts_but_hides_nothing_costs_no_record() {
    let struck = Struck::begin(with_end(|end| end == End::Exported), None, "");
    struck.run(&[]).expect(0);
    struck.all_are("exported", |_| "null");
    struck.tables_hold(&struck.ids(), "2");
}

#[test]
fn what_lasts_stays_pending_until_it_is_mended() {
    let pending = with_end(|end| matches!(end, End::Pending(_)));
    let pending = pending.into_iter().filter(|name| !asks_for_a_second(name));
    let struck = Struck::begin(pending, None, "tries = 2\nrequest_timeout_seconds = 2");
    let summary = struck.run(&[]).expect(75).summary();
    assert_eq!((&summary["pending"], &summary["status"]), (&json!(struck.faults.len()), &json!("temporary")));
    struck.all_are("pending", reason);
    struck.tables_hold(&[call_id(0)], "2");
    for id in struck.ids() {
        let n = id[..8].parse().unwrap();
        struck.graph.put(&record(&id, 2, days_ago(1), sessions(n)));
    }
    struck.run(&[]).expect(0);
    struck.all_are("exported", |_| "null");
    struck.tables_hold(&struck.ids(), "2");
}

#[test]
fn a_storm_is_sat_out_or_left_to_a_later_run_and_no_request_begins_inside_a_window() {
    let struck = Struck::begin(with_end(|_| true).into_iter().filter(|name| asks_for_a_second(name)), None, "");
    struck.run(&["--max-runtime", "3s"]).expect(75);
    struck.all_are("pending", |_| "deadline");
    let (windows, arrivals) = (struck.graph.simulator.windows(), struck.graph.simulator.arrivals());
    assert!(windows.len() >= struck.faults.len());
    for (written, wait) in windows {
        let early = arrivals.iter().filter(|at| **at > written + ALLOWANCE && **at < written + wait).count();
        assert_eq!(early, 0, "{wait:?}");
    }
}

#[test]
fn what_cannot_be_taken_goes_to_quarantine_with_its_reason() {
    let struck = Struck::begin(with_end(|end| matches!(end, End::Quarantined(_))), None, "");
    let summary = struck.run(&[]).expect(3).summary();
    let expected = json!(struck.faults.len());
    assert_eq!(
        (&summary["quarantined"], &summary["exported_new"], &summary["pending"]),
        (&expected, &json!(1), &json!(0))
    );
    struck.all_are("quarantined", reason);
    struck.tables_hold(&[call_id(0)], "2");
    let listed = struck.place.callrec(&["quarantine", "list", "--format", "json"]).expect(0).stdout;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let reasons: BTreeMap<_, _> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|item| (struck.faults[item["call_id"].as_str().unwrap()], item["reason"].as_str().unwrap().to_owned()))
        .collect();
    assert_eq!(reasons, struck.faults.values().map(|&name| (name, reason(name).to_owned())).collect());
    struck.run(&[]).expect(0);
}

#[test]
fn what_is_gone_or_refused_stays_pending_without_alarm_and_expires_with_its_subscription() {
    let names = with_end(|end| matches!(end, End::Gone | End::Forbidden));
    let struck = Struck::begin(names, None, "");
    let summary = struck.run(&[]).expect(0).summary();
    assert_eq!(summary["pending"], json!(struck.faults.len()));
    struck.all_are("pending", |name| if name == "403" { "forbidden" } else { "not-found" });
    for id in struck.ids() {
        let mut old = support::notification(&id, support::STATE);
        old["subscriptionExpirationDateTime"] = json!("2020-01-01T00:00:00Z");
        let place = patient(&struck.graph, "");
        place.append(&format!("{old}\n"));
        place.callrec(&["run"]).expect(0);
        let end = match struck.faults.get(&id) {
            None => "exported",
            Some(&"403") => "pending",
            Some(_) => "expired",
        };
        assert_eq!(place.column("ledger", "state"), [end]);
    }
}

#[test]
fn a_token_that_is_never_taken_ends_the_run() {
    let struck = Struck::begin(with_end(|end| end == End::Access), None, "");
    struck.run(&[]).expect(77);
    assert_eq!(struck.graph.simulator.counts().tokens, 2, "one refresh");
}

#[test]
fn a_token_service_that_is_broken_is_temporary_and_one_that_refuses_is_not() {
    let services = [
        (TokenFault::Down, 75),
        (TokenFault::Html, 75),
        (TokenFault::Silent, 75),
        (TokenFault::Reset, 75),
        (TokenFault::Bomb, 75),
        (TokenFault::Deep, 75),
        (TokenFault::Redirect, 75),
        (TokenFault::InvalidClient, 77),
        (TokenFault::Useless, 77),
    ];
    for (fault, code) in services {
        let graph = Graph::start(Settings { token_fault: Some(fault), ..Settings::default() });
        let place = patient(&graph, "tries = 2\nrequest_timeout_seconds = 1");
        graph.put(&record(&call_id(1), 1, days_ago(1), 1));
        place.notify([call_id(1).as_str()]);
        let ended = place.callrec(&["run"]);
        assert_eq!(ended.code, code, "{fault:?}: {}", ended.stderr);
        assert_eq!(ended.summary()["pending"], 1, "{fault:?}");
        assert!(!ended.stderr.contains("simulated-") && !ended.stderr.contains("not-real"), "{fault:?}");
        assert_eq!(graph.simulator.counts().foreign, 0, "{fault:?}");
    }
}
