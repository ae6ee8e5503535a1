//! Runs and merges that fail, panic or die at every named step: what a next run
//! makes of it is what an undisturbed run makes, byte for byte.
#![cfg(feature = "failpoints")]
#![allow(clippy::unwrap_used, reason = "tests fail by panics")]

#[path = "support/scenario.rs"]
mod scenario;
mod support;
#[path = "support/tree.rs"]
mod tree;

use serde_json::json;
use std::collections::BTreeMap;
use std::sync::OnceLock;
use support::{Graph, How, Place, call_id, days_ago, record};
use tree::Tree;

/// Every step of a run, with how often it is passed before it is disturbed. A run
/// cleans up after the commit before it too, so that its own clean-up is the second.
const RUN: [(&str, usize); 38] = [
    ("start::locked", 1),
    ("clean::spool", 1),
    ("clean::staging", 1),
    ("clean::done", 1),
    ("start::published", 1),
    ("start::staging", 1),
    ("start::spools", 1),
    ("collect::read", 1),
    ("spool::begun", 1),
    ("intent::renaming", 1),
    ("intent::written", 1),
    ("spool::frame", 1),
    ("spool::frame", 4),
    ("prepare::looked_up", 1),
    ("prepare::placed", 1),
    ("prepare::rewritten", 1),
    ("prepare::archived", 1),
    ("prepare::ledger", 1),
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
    ("clean::spool", 2),
    ("clean::staging", 2),
    ("clean::done", 2),
    ("publish::child", 3),
];

/// Steps of a merge.
const COMPACT: [(&str, usize); 8] = [
    ("merge::part", 1),
    ("merge::part", 6),
    ("merge::staged", 1),
    ("commit::renaming", 1),
    ("commit::written", 1),
    ("publish::calls", 1),
    ("publish::removed", 2),
    ("publish::synced", 1),
];

/// Where a first run died, and the steps of its recovery.
const RECOVERIES: [(&str, usize, &[&str]); 3] = [
    ("spool::frame", 4, &["start::spools", "spool::cut", "spool::frame", "prepare::placed", "commit::written"]),
    ("commit::written", 1, &["publish::raw", "publish::calls", "publish::synced", "publish::marking", "clean::spool"]),
    (
        "publish::calls",
        1,
        &["start::locked", "publish::child", "publish::ledger", "publish::removed", "clean::staging"],
    ),
];

struct Scenario {
    graph: Graph,
    place: Place,
    /// The output directory before the run, and after it.
    before: Tree,
    after: Tree,
}

impl Scenario {
    fn begin() -> Self {
        let (graph, place) = scenario::begin();
        let before = tree::read(&place.root());
        let summary = place.callrec(&["run"]).expect(3).summary();
        assert_eq!((&summary["exported_new"], &summary["exported_updated"]), (&json!(1), &json!(3)), "{summary}");
        assert_eq!((&summary["quarantined"], &summary["pending"]), (&json!(1), &json!(1)), "{summary}");
        let after = tree::read(&place.root());
        Self { graph, place, before, after }
    }

    fn outcome(&self) -> BTreeMap<String, (usize, String)> {
        self.place.callrec(&["compact"]).expect(0);
        self.place.callrec(&["verify"]).expect(0);
        let tables = self.place.record_tables();
        assert!(tables.values().all(|(files, _)| *files == 1), "{tables:?}");
        tables
    }

    /// Lets a run recover, and compares.
    fn recover(&self, what: &str) {
        let code = self.place.callrec(&["run"]).code;
        assert!(code == 0 || code == 3, "{what}: exit {code}");
        assert_eq!(&self.outcome(), undisturbed(), "{what}");
        let before = (self.place.all_files(), self.graph.simulator.counts().requests);
        self.place.callrec(&["run"]).expect(0);
        assert_eq!((self.place.all_files(), self.graph.simulator.counts().requests), before, "{what}");
        let quarantine = self.place.callrec(&["quarantine", "list", "--format", "json"]).expect(0).stdout;
        assert_eq!(quarantine.matches("\"item\"").count(), 1, "{what}: {quarantine}");
    }
}

fn undisturbed() -> &'static BTreeMap<String, (usize, String)> {
    static TABLES: OnceLock<BTreeMap<String, (usize, String)>> = OnceLock::new();
    TABLES.get_or_init(|| Scenario::begin().outcome())
}

fn disturb_runs(how: How) {
    let scenario = Scenario::begin();
    for (point, count) in RUN {
        tree::restore(&scenario.place.root(), &scenario.before);
        scenario.place.disturb(&["run"], point, count, how);
        scenario.recover(&format!("run, {point} {count}, {how:?}"));
    }
}

#[test]
fn a_run_whose_steps_fail() {
    disturb_runs(How::Error);
}

#[test]
fn a_run_that_panics() {
    disturb_runs(How::Panic);
}

#[test]
fn a_run_that_dies() {
    disturb_runs(How::Abort);
}

#[test]
fn merges() {
    let scenario = Scenario::begin();
    for how in How::ALL {
        for (point, count) in COMPACT {
            tree::restore(&scenario.place.root(), &scenario.after);
            scenario.place.disturb(&["compact"], point, count, how);
            scenario.recover(&format!("compact, {point} {count}, {how:?}"));
        }
    }
}

#[test]
fn a_recovery_that_is_disturbed_itself() {
    let scenario = Scenario::begin();
    for (died, after, points) in RECOVERIES {
        tree::restore(&scenario.place.root(), &scenario.before);
        scenario.place.disturb(&["run"], died, after, How::Abort);
        let dead = tree::read(&scenario.place.root());
        for how in How::ALL {
            for point in points {
                tree::restore(&scenario.place.root(), &dead);
                scenario.place.disturb(&["run"], point, 1, how);
                scenario.recover(&format!("died at {died} {after}, then {point}, {how:?}"));
            }
        }
    }
}

#[test]
fn a_record_that_was_updated_after_the_kill_is_exported_in_its_new_version() {
    let graph = Graph::empty();
    let place = Place::new(&graph.endpoint(), "");
    for n in 1..=3 {
        graph.put(&record(&call_id(n), 1, days_ago(1), 2));
    }
    place.notify([1, 2, 3].map(call_id).iter().map(String::as_str));
    place.disturb(&["run"], "prepare::staged", 1, How::Abort);
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
        place.disturb(&["run"], "prepare::staged", 1, How::Abort);
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
    place.disturb(&["run"], "prepare::staged", 1, How::Abort);
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
fn a_refused_record_in_the_spool_does_not_hide_the_one_that_came_after_it() {
    let graph = Graph::empty();
    let place = Place::new(&graph.endpoint(), "");
    graph.put(&support::refused(&call_id(1), days_ago(1)));
    place.notify([call_id(1).as_str()]);
    place.disturb(&["run"], "prepare::staged", 1, How::Abort);
    graph.put(&record(&call_id(1), 2, days_ago(1), 2));
    place.notify([call_id(1).as_str()]);
    let summary = place.callrec(&["run"]).expect(3).summary();
    assert_eq!((&summary["exported_new"], &summary["quarantined"]), (&json!(1), &json!(1)), "{summary}");
    assert_eq!(
        (place.column("ledger", "state"), place.column("ledger", "version")),
        (vec!["exported".into()], vec!["2".into()])
    );
    place.callrec(&["verify"]).expect(0);
}

#[test]
fn where_graph_has_nothing_any_more_the_spooled_record_is_stored_and_the_id_stays_pending() {
    let graph = Graph::empty();
    let place = Place::new(&graph.endpoint(), "");
    graph.put(&record(&call_id(1), 1, days_ago(1), 2));
    place.notify([call_id(1).as_str()]);
    place.disturb(&["run"], "prepare::staged", 1, How::Abort);
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

/// Six calls in batches of two, two of them stored in a version before.
fn batches() -> (Graph, Place) {
    let graph = Graph::empty();
    let place = Place::new(&graph.endpoint(), "batch_records = 2\n");
    let put = |calls: std::ops::RangeInclusive<u32>, version: i64| {
        for n in calls.clone() {
            graph.put(&record(&call_id(n), version, days_ago(1), 2));
        }
        place.notify(calls.map(call_id).collect::<Vec<_>>().iter().map(String::as_str));
    };
    put(1..=2, 1);
    place.callrec(&["run"]).expect(0);
    put(1..=6, 2);
    (graph, place)
}

fn assert_all_batches(place: &Place, what: &str) {
    let mut versions = support::rows(&place.root(), "calls", &["call_id", "version"]);
    versions.sort();
    let expected: Vec<Vec<String>> = (1..=6).map(|n| vec![call_id(n), "2".to_owned()]).collect();
    assert_eq!(versions, expected, "{what}");
    assert_eq!(place.column("sessions", "call_id").len(), 12, "{what}");
    place.callrec(&["verify"]).expect(0);
    assert!(std::fs::read_dir(place.root().join("_callrec/spool")).unwrap().next().is_none(), "{what}");
}

#[test]
fn a_run_that_is_disturbed_while_the_next_batch_is_fetched() {
    let (_graph, place) = batches();
    let before = tree::read(&place.root());
    let points = [
        ("spool::frame", 2),
        ("spool::frame", 3),
        ("spool::frame", 5),
        ("spool::begun", 2),
        ("intent::written", 2),
        ("spool::adopted", 1),
        ("spool::adopted", 2),
        ("prepare::looked_up", 1),
        ("prepare::staged", 2),
        ("commit::written", 1),
        ("commit::written", 2),
        ("publish::calls", 1),
        ("publish::marked", 1),
        ("clean::done", 2),
    ];
    for how in How::ALL {
        for (point, count) in points {
            let what = format!("{point} {count}, {how:?}");
            tree::restore(&place.root(), &before);
            place.disturb(&["run"], point, count, how);
            place.callrec(&["run"]).expect(0);
            assert_all_batches(&place, &what);
        }
    }
}

#[test]
fn what_was_fetched_ahead_of_a_commit_that_was_not_written_is_asked_for_again() {
    let (graph, place) = batches();
    // The first commit waits while the next batch is fetched to its end.
    let mut command = place.command(&["run"]);
    command.env("FAILPOINTS", "prepare::staged=sleep(2000);spool::frame=3*off->return(abort)");
    assert!(command.output().unwrap().status.code().is_none());
    let spools = place.root().join("_callrec/spool");
    assert!(std::fs::metadata(spools.join("ahead")).unwrap().len() > 0);
    assert_eq!(place.newest_commit()["number"], 1);
    let before = graph.simulator.counts().requests;
    let summary = place.callrec(&["run"]).expect(0).summary();
    assert_eq!((&summary["fetched"], &summary["exported_new"]), (&json!(4), &json!(4)), "{summary}");
    assert_eq!(graph.simulator.counts().requests - before, 8, "the first two are in the spool");
    assert_all_batches(&place, "fetched ahead");
}

#[test]
fn a_commit_that_fails_ends_the_run_and_keeps_nothing_that_was_fetched_ahead() {
    let (_graph, place) = batches();
    let mut command = place.command(&["run"]);
    command.env("FAILPOINTS", "prepare::archived=sleep(500);prepare::staged=return(error)");
    let ended = support::ended(command).expect(74);
    assert!(!ended.stderr.contains("The batch before"), "{}", ended.stderr);
    assert_eq!(place.newest_commit()["number"], 1);
    place.callrec(&["run"]).expect(0);
    assert_all_batches(&place, "after a failure");
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
