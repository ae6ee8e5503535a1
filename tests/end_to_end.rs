//! All processes of an installation on loopback: the receiver, a tenant that
//! announces calls day by day and loses some of its notifications, the scheduled
//! run, and the reconciliation. `CALLREC_TEST_CALLS` is the number of calls.
#![allow(clippy::unwrap_used, clippy::disallowed_types, reason = "tests fail by panics")]
#![cfg(unix)]

#[path = "support/listening.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the tests of the receiver")]
mod listening;
mod support;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use listening::Listening;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use support::{Place, TENANT, rows};

/// `callrec simulate`, ended with the test.
struct Tenant {
    child: Child,
    endpoint: String,
}

impl Drop for Tenant {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Tenant {
    fn start(calls: u32, begins: DateTime<Utc>) -> Self {
        let begins = begins.to_rfc3339_opts(SecondsFormat::Secs, true);
        let calls = calls.to_string();
        let mut child = Command::new(env!("CARGO_BIN_EXE_callrec"))
            .args(["simulate", "--no-limits", "--max-sessions", "4", "--seed", "11", "--generate", &calls])
            .args(["--later-percent", "25", "--withhold-percent", "10", "--repeat-percent", "5", "--begins", &begins])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let endpoint =
            lines.find_map(|line| Some(line.unwrap().strip_prefix("endpoint = \"")?.trim_end_matches('"').to_owned()));
        // The rest is short and stays in the pipe.
        Self { child, endpoint: endpoint.expect("it says where it is") }
    }

    /// Goes on to `now`: what was announced and what withheld.
    fn go_on(&self, now: DateTime<Utc>) -> [Vec<(String, i64)>; 2] {
        let address = self.endpoint.strip_prefix("http://").unwrap().parse().unwrap();
        let body = json!({"now": now.to_rfc3339_opts(SecondsFormat::Secs, true)}).to_string();
        let answer = listening::ask(address, "POST", "/simulator/clock", body.as_bytes());
        assert_eq!(answer.status, 200);
        let done: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(done["lost"], json!([]), "the receiver takes all that is sent");
        ["announced", "withheld"].map(|name| {
            let versions = done[name].as_array().unwrap().iter();
            versions.map(|v| (v["id"].as_str().unwrap().to_owned(), v["version"].as_i64().unwrap())).collect()
        })
    }
}

/// The config of all; the receiver's address is known only when it runs.
fn configure(place: &Place, endpoint: &str, receiver: Option<&Listening>) {
    let subscription = receiver.map_or_else(String::new, |receiver| {
        let at = receiver.address;
        format!("[subscription]\nnotification_url = \"http://{at}/notifications\"\nlifecycle_url = \"http://{at}/lifecycle\"\n")
    });
    let config = format!(
        "[source]\nnotifications = [\"notifications/*.jsonl*\"]\nclient_state_file = \"state\"\n\n\
         [listen]\naddress = \"127.0.0.1:0\"\n\n{subscription}\n\
         [graph]\nendpoint = \"{endpoint}\"\nbackoff_seconds = 0.005\nrequests_per_20s = 1000000\n\n\
         [graph.auth]\nauthority = \"{endpoint}\"\ntenant_id = \"{TENANT}\"\n\
         client_id = \"22222222-2222-4222-8222-222222222222\"\nclient_secret = \"sample-secret-not-real\"\n\n\
         [output]\nroot = \"out\"\n"
    );
    support::overwrite(&place.config(), &config);
}

#[test]
fn every_calls_last_version_is_there_once_and_the_gaps_are_named() {
    let calls = std::env::var("CALLREC_TEST_CALLS").ok().and_then(|n| n.parse().ok()).unwrap_or(300);
    // Calls are of the last 25 days; what is younger than hours is not missed yet.
    let end = callrec::clock::Clock::system().now() - TimeDelta::hours(4);
    let begins = end - TimeDelta::days(27);
    let tenant = Tenant::start(calls, begins);
    let place = Place::new("simulator", "");
    configure(&place, &tenant.endpoint, None);
    let receiver = Listening::start(listening::command(env!("CARGO_BIN_EXE_callrec"), &place.config()));
    configure(&place, &tenant.endpoint, Some(&receiver));
    assert!(place.callrec(&["subscribe", "ensure"]).expect(0).stdout.starts_with("created"));

    // The versions of a call that appeared, with the step and whether it was announced.
    let mut appeared: BTreeMap<String, Vec<(usize, i64, bool)>> = BTreeMap::new();
    let steps: Vec<_> = (1..=9).map(|n| begins + TimeDelta::days(3 * n)).collect();
    for (step, &now) in steps.iter().enumerate() {
        let [announced, withheld] = tenant.go_on(now);
        for (versions, was_announced) in [(announced, true), (withheld, false)] {
            for (id, version) in versions {
                appeared.entry(id).or_default().push((step, version, was_announced));
            }
        }
        place.callrec(&["run"]).expect(0);
    }
    let last = |versions: &[(usize, i64, bool)]| versions.iter().map(|v| v.1).max().unwrap();
    // What the run after an announcement found.
    let stored = |versions: &[(usize, i64, bool)]| {
        let until = |step: usize| versions.iter().filter(|v| v.0 <= step).map(|v| v.1).max();
        versions.iter().filter(|v| v.2).filter_map(|v| until(v.0)).max()
    };
    let gaps: BTreeSet<(String, bool)> = appeared
        .iter()
        .filter(|(_, versions)| stored(versions) != Some(last(versions)))
        .map(|(id, versions)| (id.clone(), stored(versions).is_some()))
        .collect();
    assert!(gaps.iter().any(|gap| gap.1) && gaps.iter().any(|gap| !gap.1), "some calls and some updates were withheld");

    let summary = place.callrec(&["reconcile", "--settle", "0s", "--missed-file", "missed.ndjson"]).expect(0).summary();
    let missed = std::fs::read_to_string(place.path("missed.ndjson")).unwrap();
    let missed: BTreeSet<(String, bool)> = missed
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|call| (call["call_id"].as_str().unwrap().to_owned(), call["is_update"].as_bool().unwrap()))
        .collect();
    assert_eq!(missed, gaps, "the report names what was withheld and nothing else: {summary}");
    let there = rows(&place.root(), "calls", &["call_id", "version"]);
    let there: Vec<(String, i64)> = there.into_iter().map(|row| (row[0].clone(), row[1].parse().unwrap())).collect();
    assert_eq!(there.len(), appeared.len(), "each call once");
    let wanted: BTreeMap<String, i64> = appeared.iter().map(|(id, versions)| (id.clone(), last(versions))).collect();
    assert_eq!(there.into_iter().collect::<BTreeMap<_, _>>(), wanted);
    assert!(wanted.len() as u32 * 10 > calls * 9, "nearly all calls have ended: {}", wanted.len());
    place.callrec(&["verify"]).expect(0);
    assert_eq!(receiver.stop().0, Some(143));
}
