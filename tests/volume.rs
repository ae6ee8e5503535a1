//! Many records with large meetings, over HTTP with latency: nothing is missing,
//! and no request is made that paging does not ask for.
//!
//! `CALLREC_TEST_VOLUME` sets the number of records.
#![allow(clippy::unwrap_used, clippy::disallowed_types, reason = "tests fail by panics")]

mod support;

use callrec::simulator::Settings;
use callrec::simulator::generator::{self, Shape};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use support::{Graph, Place, call_id, days_ago, record};

const SESSIONS_OF_A_PAGE: usize = 60;
const PARTICIPANTS_OF_A_PAGE: usize = 130;

#[test]
fn every_session_is_there_and_no_request_is_wasted() {
    let count: u64 = std::env::var("CALLREC_TEST_VOLUME").ok().and_then(|n| n.parse().ok()).unwrap_or(150);
    let graph = Graph::start(Settings { throttle: false, latency_ms: 20, ..Settings::default() });
    let mut expected: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    let mut requests = 0;
    let mut put = |record: &Value| {
        graph.put(record);
        let length = |name: &str| record[name].as_array().map_or(0, Vec::len);
        let (sessions, participants) = (length("sessions"), length("participants_v2"));
        // The deprecated list stands in where the new one is missing.
        let rows = if participants == 0 { length("participants") } else { participants };
        expected.insert(record["id"].as_str().unwrap().to_owned(), (sessions, rows));
        let further =
            sessions.div_ceil(SESSIONS_OF_A_PAGE).max(1) - 1 + participants.div_ceil(PARTICIPANTS_OF_A_PAGE).max(1) - 1;
        requests += 2 + further + usize::from(further > 0);
    };
    for index in 0..count {
        let shape = Shape { max_sessions: 300, misfits: true };
        put(&serde_json::from_str(&generator::record(5, index, days_ago(0), shape).json).unwrap());
    }
    for n in 1..=4 {
        put(&record(&call_id(n), 1, days_ago(1), 300));
    }
    let place = Place::new(&graph.endpoint(), "");
    let config = std::fs::read_to_string(place.config()).unwrap();
    place.configure(&graph.endpoint(), "");
    let fast = config.replace("backoff_seconds", "requests_per_20s = 100000\nbackoff_seconds");
    support::overwrite(&place.config(), &fast);
    let ids: Vec<String> = expected.keys().cloned().collect();
    place.notify(ids.iter().map(String::as_str));
    let summary = place.callrec(&["run"]).expect(0).summary();
    assert_eq!(summary["exported_new"], json!(expected.len()), "{summary}");
    assert_eq!(summary["requests"], json!(requests));
    assert_eq!(graph.simulator.counts().requests, requests as u64);
    let mut found: BTreeMap<String, (usize, usize)> = ids.iter().map(|id| (id.clone(), (0, 0))).collect();
    for id in place.column("sessions", "call_id") {
        found.get_mut(&id).unwrap().0 += 1;
    }
    for id in place.column("participants", "call_id") {
        found.get_mut(&id).unwrap().1 += 1;
    }
    assert_eq!(found, expected);
    let mut calls = place.column("calls", "call_id");
    calls.sort();
    assert_eq!(calls, ids);
    place.callrec(&["verify"]).expect(0);
}

#[test]
fn with_faults_every_record_still_comes() {
    let settings = Settings { faults: true, throttle: false, seed: 3, ..Settings::default() };
    let graph = Graph::start(settings);
    for n in 1..=60 {
        let sessions = if n % 10 == 0 { 130 } else { 2 };
        graph.put(&record(&call_id(n), 2, days_ago(1), sessions));
    }
    let place = Place::new(&graph.endpoint(), "");
    let config = std::fs::read_to_string(place.config()).unwrap();
    let rates = "requests_per_20s = 1000000\nrequests_per_record_per_20s = 100000\nbackoff_seconds";
    let fast = config.replace("backoff_seconds", rates);
    support::overwrite(&place.config(), &fast);
    let ids: Vec<String> = (1..=60).map(call_id).collect();
    place.notify(ids.iter().map(String::as_str));
    let mut exported = 0;
    for _ in 0..5 {
        let ended = place.callrec(&["run"]);
        assert!(matches!(ended.code, 0 | 75), "{}", ended.stderr);
        exported += ended.summary()["exported_new"].as_u64().unwrap();
        if ended.code == 0 {
            break;
        }
    }
    assert_eq!(exported, 60);
    assert_eq!(graph.simulator.counts().foreign, 0, "no foreign host is asked");
    assert_eq!(place.column("sessions", "call_id").len(), 54 * 2 + 6 * 130);
    place.callrec(&["verify"]).expect(0);
}
