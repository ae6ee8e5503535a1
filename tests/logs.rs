//! What goes wrong in the notification log, on the real binary.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests fail by panics and move files as they like")]

mod support;

use serde_json::json;
use std::fs;
use std::io::Write;
use support::{Graph, Place, STATE, call_id, days_ago, notification, record};

fn graph_of(calls: std::ops::RangeInclusive<u32>) -> Graph {
    let graph = Graph::empty();
    for n in calls {
        graph.put(&record(&call_id(n), 1, days_ago(1), 1));
    }
    graph
}

#[test]
fn a_bad_line_and_a_wrong_client_state_go_to_quarantine_and_the_rest_is_exported() {
    let graph = graph_of(1..=3);
    let place = Place::new(&graph.endpoint(), "");
    place.notify([call_id(1).as_str()]);
    place.append("this is no notification\n");
    place.append(&format!("{}\n", notification(&call_id(2), "guessed")));
    place.append(&format!("{}\n", json!({"value": [notification(&call_id(3), STATE), notification(&call_id(2), "")]})));
    let ended = place.callrec(&["run"]).expect(3);
    let summary = ended.summary();
    assert_eq!((&summary["exported_new"], &summary["quarantined"]), (&json!(2), &json!(3)), "{summary}");
    assert!(!ended.stderr.contains("guessed") && !ended.stderr.contains(STATE), "{}", ended.stderr);
    let mut calls = place.column("calls", "call_id");
    calls.sort();
    assert_eq!(calls, [call_id(1), call_id(3)]);
    let listed = place.callrec(&["quarantine", "list"]).expect(0).stdout;
    assert_eq!(listed.matches("client-state").count(), 2, "{listed}");
    assert!(listed.contains("not-json") && listed.contains("events.jsonl at "), "{listed}");
    support::visit(&place.root(), &mut |path| {
        let bytes = fs::read(path).unwrap();
        assert!(!bytes.windows(7).any(|w| w == b"guessed"), "{}", path.display());
    });
    place.callrec(&["run"]).expect(0);
}

#[test]
fn a_torn_last_line_is_read_by_the_next_run() {
    let graph = graph_of(1..=2);
    let place = Place::new(&graph.endpoint(), "");
    place.notify([call_id(1).as_str()]);
    let line = format!("{}\n", json!({"value": [notification(&call_id(2), STATE)]}));
    place.append(&line[..40]);
    assert_eq!(place.callrec(&["run"]).expect(0).summary()["exported_new"], 1);
    place.append(&line[40..]);
    assert_eq!(place.callrec(&["run"]).expect(0).summary()["exported_new"], 1);
    let last = place.callrec(&["run"]).expect(0).summary();
    assert_eq!(last["notifications_read"], 0);
}

#[test]
fn a_rotated_and_compressed_log_is_found_again_and_a_lost_one_is_reported_once() {
    let graph = graph_of(1..=5);
    let place = Place::new(&graph.endpoint(), "");
    place.notify([call_id(1).as_str()]);
    place.callrec(&["run"]).expect(0);
    place.notify([call_id(2).as_str()]);
    fs::rename(place.path("events.jsonl"), place.path("events.jsonl.1")).unwrap();
    place.notify([call_id(3).as_str()]);
    let summary = place.callrec(&["run"]).expect(0).summary();
    assert_eq!((&summary["exported_new"], &summary["notifications_read"]), (&json!(2), &json!(2)), "{summary}");

    place.notify([call_id(4).as_str()]);
    let text = fs::read(place.path("events.jsonl")).unwrap();
    let file = fs::File::create(place.path("events.jsonl.2.gz")).unwrap();
    let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::default());
    encoder.write_all(&text).unwrap();
    encoder.finish().unwrap();
    fs::remove_file(place.path("events.jsonl")).unwrap();
    place.append("");
    let summary = place.callrec(&["run"]).expect(0).summary();
    assert_eq!((&summary["exported_new"], &summary["notifications_read"]), (&json!(1), &json!(1)), "{summary}");

    place.notify([call_id(5).as_str()]);
    place.callrec(&["run"]).expect(0);
    let kept = fs::read(place.path("events.jsonl")).unwrap();
    place.append(&"x".repeat(10));
    fs::write(place.path("events.jsonl"), &kept[..kept.len() / 2]).unwrap();
    let ended = place.callrec(&["run"]).expect(3);
    assert!(ended.stderr.contains("was not read and is not found any more"), "{}", ended.stderr);
    place.callrec(&["run"]).expect(0);
    assert_eq!(place.column("calls", "call_id").len(), 5);
    place.callrec(&["verify"]).expect(0);
}
