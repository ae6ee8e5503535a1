//! `reconcile` and `backfill` on the real binary: what Graph lists and no
//! notification named is fetched, said and named, and nothing else is.
#![allow(clippy::unwrap_used, clippy::disallowed_types, reason = "tests fail by panics")]

#[path = "support/odd.rs"]
mod odd;
mod support;

use callrec::simulator::Settings;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use odd::Odd;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use support::{Graph, Place, call_id, days_ago, record, rows};

fn missed(place: &Place) -> Vec<Value> {
    let text = std::fs::read_to_string(place.path("missed.ndjson")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn ids_of(missed: &[Value]) -> BTreeSet<&str> {
    missed.iter().map(|call| call["call_id"].as_str().unwrap()).collect()
}

#[test]
fn what_was_not_notified_is_fetched_and_named_and_nothing_else_is() {
    let graph = Graph::empty();
    let place = Place::new(&graph.endpoint(), "");
    // More than two pages on one day; each seventh call is not notified.
    let calls: Vec<u32> = (1..=150).collect();
    let start = |n: u32| days_ago(if n <= 140 { 5 } else { i64::from(n - 135) }) + TimeDelta::seconds(n.into());
    calls.iter().for_each(|&n| graph.put(&record(&call_id(n), 1, start(n), 1)));
    let ids: Vec<String> = calls.iter().map(|&n| call_id(n)).collect();
    let withheld: BTreeSet<&str> = ids.iter().step_by(7).map(String::as_str).collect();
    place.notify(ids.iter().map(String::as_str).filter(|id| !withheld.contains(id)));
    place.callrec(&["run"]).expect(0);

    let planned = place.callrec(&["reconcile", "--settle", "0s", "--dry-run"]).expect(0).summary();
    assert_eq!(planned["reconciled"]["missed"], withheld.len());
    let arguments = ["reconcile", "--settle", "0s", "--missed-file", "missed.ndjson"];
    let summary = place.callrec(&arguments).expect(0).summary();
    let report = &summary["reconciled"];
    assert_eq!((&report["listed"], &report["found"]), (&json!(150), &json!(withheld.len())), "{report}");
    assert_eq!(summary["exported_new"], withheld.len());
    assert_eq!(ids_of(&missed(&place)), withheld);
    let hours = report["missed_per_hour"].as_object().unwrap();
    assert_eq!(hours.values().map(|n| n.as_u64().unwrap()).sum::<u64>(), withheld.len() as u64);
    assert_eq!(report["silent_since"], Value::Null);
    let stored = place.column("calls", "call_id");
    assert_eq!((stored.len(), stored.iter().collect::<BTreeSet<_>>().len()), (150, 150));
    let unnotified: BTreeSet<String> = rows(&place.root(), "ledger", &["call_id", "first_notified_at"])
        .into_iter()
        .filter(|row| row[1] == "null")
        .map(|row| row[0].clone())
        .collect();
    assert_eq!(unnotified.iter().map(String::as_str).collect::<BTreeSet<_>>(), withheld, "the ledger says so too");

    let again = place.callrec(&arguments).expect(0).summary();
    assert_eq!((&again["reconciled"]["found"], &again["reconciled"]["missed"]), (&json!(0), &json!(0)), "{again}");
    assert_eq!((missed(&place).len(), &again["fetched"]), (0, &json!(0)));
    place.callrec(&["verify"]).expect(0);
}

#[test]
fn later_versions_that_were_not_notified_are_found_in_the_list() {
    let graph = Graph::empty();
    let place = Place::new(&graph.endpoint(), "");
    let ids = [1, 2, 3].map(call_id);
    ids.iter().for_each(|id| graph.put(&record(id, 1, days_ago(3), 4)));
    place.notify(ids.iter().map(String::as_str));
    place.callrec(&["run"]).expect(0);
    ids[..2].iter().for_each(|id| graph.put(&record(id, 2, days_ago(3), 2)));
    place.notify([ids[0].as_str()]);
    let arguments = ["reconcile", "--settle", "0s", "--missed-file", "missed.ndjson"];
    let summary = place.callrec(&arguments).expect(0).summary();
    assert_eq!(summary["exported_updated"], 2, "the notified one and the other");
    assert_eq!(summary["reconciled"]["missed_updates"], 1);
    let missed = missed(&place);
    assert_eq!(ids_of(&missed), BTreeSet::from([ids[1].as_str()]));
    assert_eq!((&missed[0]["is_update"], &missed[0]["version"]), (&json!(true), &json!(2)));
    assert_eq!(place.column("sessions", "call_id").len(), 2 + 2 + 4);
}

#[test]
fn what_somebody_took_out_or_refused_does_not_come_back() {
    let graph = Graph::empty();
    let place = Place::new(&graph.endpoint(), "");
    let [purged, refused, kept] = [1, 2, 3].map(call_id);
    graph.put(&record(&purged, 1, days_ago(3), 1));
    graph.put(&support::refused(&refused, days_ago(3)));
    graph.put(&record(&kept, 1, days_ago(3), 1));
    place.notify([purged.as_str(), refused.as_str(), kept.as_str()]);
    place.callrec(&["run"]).expect(3);
    place.callrec(&["purge", "--call", &purged]).expect(0);
    let summary = place.callrec(&["reconcile"]).expect(0).summary();
    assert_eq!((&summary["reconciled"]["found"], &summary["fetched"]), (&json!(0), &json!(0)), "{summary}");
    assert_eq!(place.column("calls", "call_id"), [kept]);
}

/// A place with a simulator in the process, at a time that the test sets.
struct Later {
    place: Place,
}

impl Later {
    fn at(&self, now: DateTime<Utc>) -> &Place {
        let now = now.to_rfc3339_opts(SecondsFormat::Secs, true);
        self.place.configure("simulator", &format!("\n[simulator]\nrecords = \"records\"\nnow = \"{now}\"\n"));
        &self.place
    }

    fn put(&self, record: &Value) {
        let directory = self.place.path("records");
        std::fs::create_dir_all(&directory).unwrap();
        support::overwrite(&directory.join(format!("{}.json", record["id"].as_str().unwrap())), &record.to_string());
    }
}

#[test]
fn settled_calls_are_asked_for_once_more_and_once_before_graph_forgets_them() {
    let later = Later { place: Place::new("simulator", "") };
    let start: DateTime<Utc> = "2026-11-01T12:00:00Z".parse().unwrap();
    let end = start + TimeDelta::minutes(10);
    later.put(&record(&call_id(1), 1, start, 1));
    later.place.notify([call_id(1).as_str()]);
    later.at(end + TimeDelta::minutes(30)).callrec(&["run"]).expect(0);
    // The list says nothing: only the settled calls are looked at.
    let look = |after: TimeDelta| {
        let (from, to) = (end + TimeDelta::seconds(1), end + TimeDelta::seconds(2));
        let [from, to] = [from, to].map(|at| at.to_rfc3339_opts(SecondsFormat::Secs, true));
        let summary = later.at(end + after).callrec(&["reconcile", "--from", &from, "--to", &to]).expect(0).summary();
        (summary["reconciled"]["asked_again"].as_u64().unwrap(), summary["exported_updated"].as_u64().unwrap())
    };
    assert_eq!(look(TimeDelta::hours(2)), (0, 0));
    later.put(&record(&call_id(1), 2, start, 2));
    assert_eq!(look(TimeDelta::hours(3)), (1, 1));
    assert_eq!(look(TimeDelta::hours(4)), (0, 0));
    assert_eq!(look(TimeDelta::days(28)), (1, 0));
    assert_eq!(look(TimeDelta::days(29)), (0, 0), "nothing was new, and that is remembered");
    assert_eq!(later.place.column("sessions", "call_id").len(), 2);
}

#[test]
fn silence_is_said_and_young_calls_are_not_missed() {
    let later = Later { place: Place::new("simulator", "") };
    let start: DateTime<Utc> = "2026-11-01T12:00:00Z".parse().unwrap();
    later.put(&record(&call_id(1), 1, start, 1));
    later.place.notify([call_id(1).as_str()]);
    later.at(start + TimeDelta::hours(1)).callrec(&["run"]).expect(0);
    later.put(&record(&call_id(2), 1, start + TimeDelta::hours(5), 1));
    let young = later.at(start + TimeDelta::hours(6)).callrec(&["reconcile"]).expect(0).summary();
    assert_eq!((&young["reconciled"]["found"], &young["reconciled"]["missed"]), (&json!(1), &json!(0)));
    assert_eq!(young["reconciled"]["silent_since"], Value::Null);
    let silent = later.at(start + TimeDelta::hours(9)).callrec(&["reconcile"]).expect(3);
    assert!(silent.stderr.contains("no notification came"), "{}", silent.stderr);
    assert_eq!(silent.summary()["reconciled"]["silent_since"], "2026-11-01T13:00:00Z");
}

#[test]
fn a_first_run_takes_all_that_is_listed() {
    let graph = Graph::start(Settings { throttle: false, generate: Some(40), ..Settings::default() });
    let place = Place::new(&graph.endpoint(), "");
    let from = days_ago(30).date_naive().to_string();
    let summary = place.callrec(&["backfill", "--from", &from]).expect(0).summary();
    assert_eq!(summary["exported_new"], graph.simulator.ids().len());
    assert_eq!((&summary["reconciled"]["missed"], &summary["reconciled"]["silent_since"]), (&json!(0), &Value::Null));
    place.callrec(&["verify"]).expect(0);
    place.callrec(&["backfill", "--from", "2026-11-02", "--to", "2026-11-01"]).expect(2);
    place.callrec(&["backfill", "--from", "yesterday"]).expect(2);
}

#[test]
fn a_list_that_cannot_be_read_to_its_end_is_said_and_leaves_the_other_days() {
    let elsewhere = Odd::start(|_, _| odd::json(200, "{}", ""));
    let foreign = elsewhere.endpoint.clone();
    let start = days_ago(1);
    let odd = Odd::start(move |path, _| {
        if path.contains("$expand") || path.contains("%24expand") {
            return odd::whole(path, &record(&call_id(1), 1, start, 1));
        }
        let next = if path.contains("T12%3A00") {
            format!(",\"@odata.nextLink\":\"{foreign}/v1.0/communications/callRecords?a=b\"")
        } else {
            String::new()
        };
        let row = json!({"id": call_id(1), "version": 1, "endDateTime": start.to_rfc3339()});
        odd::json(200, &format!("{{\"value\":[{row},{{\"id\":\"+55 31\"}}]{next}}}"), "")
    });
    let place = Place::new(&odd.endpoint, "");
    place.append("");
    let from = (days_ago(2)).to_rfc3339_opts(SecondsFormat::Secs, true);
    let ended = place.callrec(&["reconcile", "--from", &from]).expect(75);
    let summary = ended.summary();
    let report = &summary["reconciled"];
    let incomplete = report["incomplete"].as_object().unwrap();
    assert_eq!(incomplete.values().collect::<Vec<_>>(), ["foreign-next-link"], "{report}");
    assert!(report["unreadable"].as_u64().unwrap() >= 2, "{report}");
    assert_eq!(summary["exported_new"], 1);
    assert_eq!(elsewhere.requests().len(), 0);
}

#[test]
fn a_list_that_is_forbidden_says_what_to_grant() {
    let odd = Odd::start(|_, _| odd::json(403, "{\"error\":{\"code\":\"Forbidden\"}}", ""));
    let place = Place::new(&odd.endpoint, "");
    let ended = place.callrec(&["reconcile"]).expect(77);
    assert!(ended.stderr.contains("CallRecords.Read.All"), "{}", ended.stderr);
}
