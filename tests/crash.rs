//! SIGKILL at named steps: what a next run makes of it is what an undisturbed
//! run makes, byte for byte.
#![cfg(feature = "failpoints")]
#![allow(clippy::unwrap_used, reason = "tests fail by panics")]

#[path = "support/scenario.rs"]
mod scenario;
mod support;

use serde_json::json;
use std::collections::BTreeMap;
use std::sync::OnceLock;
use support::{Graph, Place, call_id, days_ago, record};

/// Every step between the intent and the clean-up, with how often it is passed
/// before the kill. `publish::quarantine` needs a refused record.
const POINTS: [(&str, usize); 22] = [
    ("intent::written", 1),
    ("spool::frame", 1),
    ("spool::frame", 4),
    ("prepare::staged", 1),
    ("commit::before", 1),
    ("commit::renaming", 1),
    ("commit::written", 1),
    ("publish::quarantine", 1),
    ("publish::raw", 1),
    ("publish::raw", 2),
    ("publish::child", 1),
    ("publish::child", 7),
    ("publish::calls", 1),
    ("publish::calls", 2),
    ("publish::ledger", 1),
    ("publish::removed", 1),
    ("publish::synced", 1),
    ("publish::marking", 1),
    ("publish::marked", 1),
    ("clean::spool", 1),
    ("clean::staging", 1),
    ("merge::staged", 1),
];

struct Scenario {
    graph: Graph,
    place: Place,
}

impl Scenario {
    fn begin() -> Self {
        let (graph, place) = scenario::begin();
        Self { graph, place }
    }

    fn outcome(&self) -> BTreeMap<String, (usize, String)> {
        self.place.callrec(&["compact"]).expect(0);
        self.place.callrec(&["verify"]).expect(0);
        let tables = self.place.record_tables();
        assert!(tables.values().all(|(files, _)| *files == 1), "{tables:?}");
        tables
    }
}

fn undisturbed() -> &'static BTreeMap<String, (usize, String)> {
    static TABLES: OnceLock<BTreeMap<String, (usize, String)>> = OnceLock::new();
    TABLES.get_or_init(|| {
        let scenario = Scenario::begin();
        let summary = scenario.place.callrec(&["run"]).expect(3).summary();
        assert_eq!((&summary["exported_new"], &summary["exported_updated"]), (&json!(1), &json!(3)), "{summary}");
        assert_eq!((&summary["quarantined"], &summary["pending"]), (&json!(1), &json!(1)), "{summary}");
        scenario.outcome()
    })
}

fn kill_and_recover(points: &[(&str, usize)]) {
    for &(point, count) in points {
        let scenario = Scenario::begin();
        let place = &scenario.place;
        let killed = if point == "merge::staged" {
            place.callrec(&["run"]).expect(3);
            place.kill_at(&["compact"], point, count)
        } else {
            place.kill_at(&["run"], point, count)
        };
        assert!(killed, "{point} was not reached {count} times");
        let code = place.callrec(&["run"]).code;
        assert!(code == 0 || code == 3, "{point} {count}: exit {code}");
        assert_eq!(&scenario.outcome(), undisturbed(), "{point} {count}");
        let before = (place.all_files(), scenario.graph.simulator.counts().requests);
        place.callrec(&["run"]).expect(0);
        assert_eq!((place.all_files(), scenario.graph.simulator.counts().requests), before, "{point} {count}");
        let quarantine = place.callrec(&["quarantine", "list", "--format", "json"]).expect(0).stdout;
        assert_eq!(quarantine.matches("\"item\"").count(), 1, "{point} {count}: {quarantine}");
    }
}

#[test]
fn kills_before_the_commit() {
    kill_and_recover(&POINTS[..6]);
}

#[test]
fn kills_in_the_first_half_of_publishing() {
    kill_and_recover(&POINTS[6..14]);
}

#[test]
fn kills_in_the_second_half_of_publishing_and_in_a_merge() {
    kill_and_recover(&POINTS[14..]);
}

#[test]
fn a_record_that_was_updated_after_the_kill_is_exported_in_its_new_version() {
    let graph = Graph::empty();
    let place = Place::new(&graph.endpoint(), "");
    for n in 1..=3 {
        graph.put(&record(&call_id(n), 1, days_ago(1), 2));
    }
    place.notify([1, 2, 3].map(call_id).iter().map(String::as_str));
    assert!(place.kill_at(&["run"], "prepare::staged", 1));
    graph.put(&record(&call_id(2), 2, days_ago(1), 1));
    place.notify([call_id(2).as_str()]);
    let before = graph.simulator.counts().requests;
    let summary = place.callrec(&["run"]).expect(0).summary();
    assert_eq!((&summary["exported_new"], &summary["fetched"]), (&json!(3), &json!(1)), "{summary}");
    assert_eq!(graph.simulator.counts().requests - before, 2, "only the notified one is asked for again");
    let mut versions = support::rows(&place.root(), "calls", &["call_id", "version"]);
    versions.sort();
    assert_eq!(versions.iter().map(|row| row[1].as_str()).collect::<Vec<_>>(), ["1", "2", "1"]);
    assert_eq!(place.column("sessions", "call_id").len(), 5);
    place.callrec(&["verify"]).expect(0);
}

#[test]
fn what_the_first_batch_after_a_kill_cannot_ask_again_stays_pending() {
    for out_of_time in [false, true] {
        let graph = Graph::empty();
        let place = Place::new(&graph.endpoint(), "");
        let update = |version: i64| {
            for n in 1..=3 {
                graph.put(&record(&call_id(n), version, days_ago(1), 2));
            }
            place.notify([1, 2, 3].map(call_id).iter().map(String::as_str));
        };
        update(1);
        assert!(place.kill_at(&["run"], "prepare::staged", 1));
        update(2);
        place.configure(&graph.endpoint(), "batch_records = 1\n");
        if out_of_time {
            let summary = place.callrec(&["run", "--max-runtime", "0s"]).expect(75).summary();
            assert_eq!((&summary["exported_new"], &summary["pending"]), (&json!(3), &json!(3)), "{summary}");
            assert_eq!(place.newest_commit()["pending"].as_array().unwrap().len(), 3);
            assert_eq!(place.column("calls", "version"), ["1", "1", "1"]);
        }
        place.callrec(&["run"]).expect(0);
        assert_eq!(place.column("calls", "version"), ["2", "2", "2"]);
        assert_eq!(place.column("ledger", "version"), ["2", "2", "2"]);
        place.callrec(&["verify"]).expect(0);
    }
}

#[test]
fn a_refused_record_that_the_first_batch_after_a_kill_cannot_ask_again_stays_pending() {
    let graph = Graph::empty();
    let place = Place::new(&graph.endpoint(), "");
    graph.put(&record(&call_id(1), 1, days_ago(1), 2));
    graph.put(&support::refused(&call_id(2), days_ago(1)));
    place.notify([1, 2].map(call_id).iter().map(String::as_str));
    assert!(place.kill_at(&["run"], "prepare::staged", 1));
    graph.put(&record(&call_id(2), 2, days_ago(1), 2));
    place.notify([call_id(2).as_str()]);
    let summary = place.callrec(&["run", "--max-runtime", "0s"]).expect(75).summary();
    assert_eq!((&summary["exported_new"], &summary["quarantined"]), (&json!(1), &json!(1)), "{summary}");
    assert_eq!(place.newest_commit()["pending"][0]["call_id"], call_id(2));
    place.callrec(&["run"]).expect(0);
    assert_eq!(place.column("calls", "version").len(), 2);
    place.callrec(&["verify"]).expect(0);
}

#[test]
fn where_graph_has_nothing_any_more_the_spooled_record_is_stored_and_the_id_stays_pending() {
    let graph = Graph::empty();
    let place = Place::new(&graph.endpoint(), "");
    graph.put(&record(&call_id(1), 1, days_ago(1), 2));
    place.notify([call_id(1).as_str()]);
    assert!(place.kill_at(&["run"], "prepare::staged", 1));
    // Another Graph, which does not know the call.
    let forgetful = Graph::empty();
    place.configure(&forgetful.endpoint(), "");
    place.notify([call_id(1).as_str()]);
    let summary = place.callrec(&["run"]).expect(0).summary();
    assert_eq!((&summary["exported_new"], &summary["pending"]), (&json!(1), &json!(1)), "{summary}");
    assert_eq!(place.column("calls", "call_id"), [call_id(1)]);
    assert_eq!(place.newest_commit()["pending"][0]["state"], "not_found");
    place.callrec(&["verify"]).expect(0);
}

#[test]
fn a_purged_call_never_comes_back_whenever_the_purge_was_killed() {
    for (point, count) in [
        ("purge::staged", 1),
        ("commit::written", 1),
        ("publish::raw", 1),
        ("publish::child", 3),
        ("publish::calls", 1),
    ] {
        let graph = Graph::empty();
        let place = Place::new(&graph.endpoint(), "");
        for n in 1..=2 {
            graph.put(&record(&call_id(n), 1, days_ago(1), 2));
        }
        place.notify([1, 2].map(call_id).iter().map(String::as_str));
        place.callrec(&["run"]).expect(0);
        assert!(place.kill_at(&["purge", "--call", &call_id(1)], point, count), "{point}");
        place.callrec(&["run"]).expect(0);
        place.callrec(&["purge", "--call", &call_id(1)]).expect(0);
        place.callrec(&["rebuild"]).expect(0);
        assert_eq!(place.column("calls", "call_id"), [call_id(2)], "{point}");
        assert!(place.column("streams", "call_id").iter().all(|id| *id == call_id(2)), "{point}");
        place.callrec(&["verify"]).expect(0);
    }
}

#[test]
fn a_second_run_at_the_same_time_ends_at_once() {
    let graph = Graph::empty();
    let place = Place::new(&graph.endpoint(), "");
    place.callrec(&["run"]).expect(0);
    let lock = std::fs::OpenOptions::new().append(true).open(place.root().join("_callrec/lock")).unwrap();
    lock.try_lock().unwrap();
    let ended = place.callrec(&["run"]).expect(75);
    assert!(ended.stderr.contains("Another callrec works on"), "{}", ended.stderr);
    drop(lock);
    place.callrec(&["run"]).expect(0);
}
