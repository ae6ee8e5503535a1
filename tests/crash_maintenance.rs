//! SIGKILL in the commands that change a dataset by hand, and in the upgrade of
//! its schema: running them again ends where an undisturbed one ends.
#![cfg(feature = "failpoints")]
#![allow(clippy::unwrap_used, clippy::disallowed_types, reason = "tests fail by panics and read JSON as they like")]

mod support;

use serde_json::{Value, json};
use support::{Graph, Place, call_id, days_ago, record, refused};

fn exported(graph: &Graph, calls: impl Iterator<Item = u32> + Clone) -> Place {
    for n in calls.clone() {
        graph.put(&record(&call_id(n), 1, days_ago(i64::from(n % 2) + 1), 2));
    }
    let place = Place::new(&graph.endpoint(), "");
    place.notify(calls.map(call_id).collect::<Vec<_>>().iter().map(String::as_str));
    place.callrec(&["run"]).expect(0);
    place
}

#[test]
fn a_killed_rebuild_leaves_whole_tables() {
    for (point, count) in [
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
        ("clean::spool", 1),
        ("clean::staging", 1),
    ] {
        let graph = Graph::empty();
        let place = exported(&graph, 1..=4);
        let before = place.record_tables();
        assert!(place.kill_at(&["rebuild"], point, count), "{point} was not reached {count} times");
        place.callrec(&["run"]).expect(0);
        place.callrec(&["verify"]).expect(0);
        assert_eq!(place.record_tables(), before, "{point} {count}");
        place.callrec(&["rebuild"]).expect(0);
        assert_eq!(place.record_tables(), before, "{point} {count}");
    }
}

#[test]
fn a_killed_retry_is_tried_again_and_nothing_is_kept_twice() {
    for (point, count) in [
        ("intent::written", 1),
        ("spool::frame", 1),
        ("prepare::staged", 1),
        ("commit::written", 1),
        ("publish::quarantine", 1),
        ("publish::calls", 1),
        ("publish::marked", 1),
        ("quarantine::staged", 1),
        ("commit::written", 2),
        ("publish::removed", 1),
        ("publish::marked", 2),
    ] {
        let graph = Graph::empty();
        let place = exported(&graph, 1..=1);
        graph.put(&record(&call_id(2), 1, days_ago(1), 2));
        graph.put(&refused(&call_id(3), days_ago(1)));
        place.append(&format!("{}\n", support::notification(&call_id(2), "not the client state")));
        place.notify([call_id(3).as_str()]);
        place.callrec(&["run"]).expect(3);
        assert!(place.kill_at(&["quarantine", "retry"], point, count), "{point} was not reached {count} times");
        let code = place.callrec(&["run"]).code;
        assert!(code == 0 || code == 3, "{point} {count}: exit {code}");
        place.callrec(&["quarantine", "retry"]).expect(3);
        let listed = place.callrec(&["quarantine", "list", "--format", "json"]).expect(0).stdout;
        let items: Vec<Value> = serde_json::from_str(&listed).unwrap();
        assert_eq!(items.len(), 1, "{point} {count}: {listed}");
        assert_eq!(items[0]["call_id"], json!(call_id(3)), "{point} {count}");
        let mut calls = place.column("calls", "call_id");
        calls.sort();
        assert_eq!(calls, [call_id(1), call_id(2)], "{point} {count}");
        place.callrec(&["verify"]).expect(0);
    }
}

#[test]
fn what_a_killed_run_fetched_outlives_an_upgrade_of_the_schema() {
    for kill in [None, Some("rebuild::staged"), Some("commit::written"), Some("publish::marked"), Some("clean::spool")]
    {
        let graph = Graph::empty();
        let place = exported(&graph, 1..=1);
        graph.put(&record(&call_id(2), 1, days_ago(1), 2));
        place.notify([call_id(2).as_str()]);
        assert!(place.kill_at(&["run"], "prepare::staged", 1));
        place.pretend_older_schema();
        // A Graph that has nothing any more.
        let forgetful = Graph::empty();
        place.configure(&forgetful.endpoint(), "");
        if let Some(point) = kill {
            assert!(place.kill_at(&["run"], point, 1), "{point} was not reached");
        }
        place.callrec(&["run"]).expect(0);
        let mut calls = place.column("calls", "call_id");
        calls.sort();
        assert_eq!(calls, [call_id(1), call_id(2)], "{kill:?}");
        place.callrec(&["verify"]).expect(0);
    }
}
