//! Commands that change a dataset by hand, and the upgrade of its schema, which
//! fail, panic or die at every named step: running them again ends where an
//! undisturbed one ends.
#![cfg(feature = "failpoints")]
#![allow(clippy::unwrap_used, clippy::disallowed_types, reason = "tests fail by panics and read JSON as they like")]

mod support;
#[path = "support/tree.rs"]
mod tree;

use serde_json::{Value, json};
use support::{Graph, How, Place, call_id, days_ago, record, refused};

fn exported(graph: &Graph, calls: impl Iterator<Item = u32> + Clone) -> Place {
    for n in calls.clone() {
        graph.put(&record(&call_id(n), 1, days_ago(i64::from(n % 2) + 1), 2));
    }
    let place = Place::new(&graph.endpoint(), "");
    place.notify(calls.map(call_id).collect::<Vec<_>>().iter().map(String::as_str));
    place.callrec(&["run"]).expect(0);
    place
}

/// Disturbs `arguments` at each of `points` in every way, always from the same
/// beginning, and lets `check` judge.
fn disturb_each(place: &Place, arguments: &[&str], points: &[(&str, usize)], check: impl Fn(&str)) {
    let before = tree::read(&place.root());
    for how in How::ALL {
        for &(point, count) in points {
            tree::restore(&place.root(), &before);
            place.disturb(arguments, point, count, how);
            check(&format!("{point} {count} {how:?}"));
        }
    }
}

fn calls(place: &Place) -> Vec<String> {
    let mut calls = place.column("calls", "call_id");
    calls.sort();
    calls
}

#[test]
fn a_disturbed_rebuild_leaves_whole_tables() {
    let graph = Graph::empty();
    let place = exported(&graph, 1..=4);
    let before = place.record_tables();
    let points = [
        ("start::spools", 1),
        ("rebuild::part", 1),
        ("rebuild::part", 9),
        ("rebuild::staged", 1),
        ("commit::before", 1),
        ("commit::renaming", 1),
        ("commit::written", 1),
        ("publish::child", 2),
        ("publish::calls", 1),
        ("publish::removed", 1),
        ("publish::removed", 5),
        ("publish::synced", 1),
        ("publish::marking", 1),
        ("publish::marked", 1),
        ("clean::spool", 2),
        ("clean::staging", 2),
        ("clean::done", 2),
    ];
    disturb_each(&place, &["rebuild"], &points, |what| {
        place.callrec(&["run"]).expect(0);
        place.callrec(&["verify"]).expect(0);
        assert_eq!(place.record_tables(), before, "{what}");
        place.callrec(&["rebuild"]).expect(0);
        assert_eq!(place.record_tables(), before, "{what}");
    });
}

#[test]
fn a_disturbed_retry_is_tried_again_and_nothing_is_kept_twice() {
    let graph = Graph::empty();
    let place = exported(&graph, 1..=1);
    graph.put(&record(&call_id(2), 1, days_ago(1), 2));
    graph.put(&refused(&call_id(3), days_ago(1)));
    place.append(&format!("{}\n", support::notification(&call_id(2), "not the client state")));
    place.notify([call_id(3).as_str()]);
    place.callrec(&["run"]).expect(3);
    let points = [
        ("spool::begun", 1),
        ("intent::renaming", 1),
        ("intent::written", 1),
        ("spool::frame", 1),
        ("prepare::placed", 1),
        ("prepare::staged", 1),
        ("commit::written", 1),
        ("publish::quarantine", 1),
        ("publish::calls", 1),
        ("publish::marked", 1),
        ("quarantine::staged", 1),
        ("commit::renaming", 2),
        ("commit::written", 2),
        ("publish::removed", 1),
        ("publish::marked", 2),
    ];
    disturb_each(&place, &["quarantine", "retry"], &points, |what| {
        let code = place.callrec(&["run"]).code;
        assert!(code == 0 || code == 3, "{what}: exit {code}");
        place.callrec(&["quarantine", "retry"]).expect(3);
        let listed = place.callrec(&["quarantine", "list", "--format", "json"]).expect(0).stdout;
        let items: Vec<Value> = serde_json::from_str(&listed).unwrap();
        assert_eq!(items.len(), 1, "{what}: {listed}");
        assert_eq!(items[0]["call_id"], json!(call_id(3)), "{what}");
        assert_eq!(calls(&place), [call_id(1), call_id(2)], "{what}");
        place.callrec(&["verify"]).expect(0);
    });
}

#[test]
fn a_purged_call_never_comes_back_whenever_the_purge_was_disturbed() {
    let graph = Graph::empty();
    let place = exported(&graph, (2..=4).step_by(2));
    let points = [
        ("purge::tables", 1),
        ("purge::archive", 1),
        ("purge::staged", 1),
        ("commit::renaming", 1),
        ("commit::written", 1),
        ("publish::raw", 1),
        ("publish::child", 3),
        ("publish::calls", 1),
        ("publish::ledger", 1),
        ("publish::synced", 1),
        ("publish::marked", 1),
    ];
    disturb_each(&place, &["purge", "--call", &call_id(2)], &points, |what| {
        place.callrec(&["run"]).expect(0);
        place.callrec(&["purge", "--call", &call_id(2)]).expect(0);
        place.callrec(&["rebuild"]).expect(0);
        assert_eq!(place.column("calls", "call_id"), [call_id(4)], "{what}");
        assert!(place.column("streams", "call_id").iter().all(|id| *id == call_id(4)), "{what}");
        place.callrec(&["verify"]).expect(0);
    });
}

#[test]
fn what_a_killed_run_fetched_outlives_an_upgrade_of_the_schema() {
    let graph = Graph::empty();
    let place = exported(&graph, 1..=1);
    graph.put(&record(&call_id(2), 1, days_ago(1), 2));
    place.notify([call_id(2).as_str()]);
    place.disturb(&["run"], "prepare::staged", 1, How::Abort);
    place.pretend_older_schema();
    // A Graph that has nothing any more.
    let forgetful = Graph::empty();
    place.configure(&forgetful.endpoint(), "");
    let outlives = |what: &str| {
        place.callrec(&["run"]).expect(0);
        assert_eq!(calls(&place), [call_id(1), call_id(2)], "{what}");
        place.callrec(&["verify"]).expect(0);
    };
    let before = tree::read(&place.root());
    outlives("undisturbed");
    tree::restore(&place.root(), &before);
    let points = [
        ("rebuild::carried", 1),
        ("rebuild::part", 1),
        ("rebuild::staged", 1),
        ("commit::renaming", 1),
        ("commit::written", 1),
        ("publish::calls", 1),
        ("publish::ledger", 1),
        ("publish::marked", 1),
        ("clean::spool", 1),
        ("clean::spool", 2),
        ("clean::done", 2),
    ];
    disturb_each(&place, &["run"], &points, outlives);
}
