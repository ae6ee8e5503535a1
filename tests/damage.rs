//! A dataset whose state or tables were damaged or put back from a backup: no
//! verb makes it worse, and one of them mends it.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests fail by panics and damage files as they like"
)]

mod support;
#[path = "support/tree.rs"]
mod tree;

use std::fs;
use support::{Graph, Place, call_id, days_ago, record};
use tree::Tree;

fn notified(graph: &Graph, place: &Place, calls: std::ops::RangeInclusive<u32>) {
    for n in calls.clone() {
        graph.put(&record(&call_id(n), 1, days_ago(1), 2));
    }
    place.notify(calls.map(call_id).collect::<Vec<_>>().iter().map(String::as_str));
}

/// Three calls, a copy of the whole of it, and three calls more.
fn two_runs() -> (Graph, Place, Tree) {
    let graph = Graph::empty();
    let place = Place::new(&graph.endpoint(), "");
    notified(&graph, &place, 1..=3);
    place.callrec(&["run"]).expect(0);
    let backup = tree::read(&place.root());
    notified(&graph, &place, 4..=6);
    place.callrec(&["run"]).expect(0);
    (graph, place, backup)
}

fn assert_each_once(place: &Place, calls: std::ops::RangeInclusive<u32>) {
    let mut ids = place.column("calls", "call_id");
    ids.sort();
    assert_eq!(ids, calls.clone().map(call_id).collect::<Vec<_>>());
    assert_eq!(place.column("sessions", "call_id").len(), 2 * calls.count());
}

#[test]
fn tables_that_are_newer_than_the_state_lose_nothing() {
    let lost_record =
        |place: &Place, _: &Tree| fs::remove_file(place.root().join("_callrec/commits/000002.json")).unwrap();
    let restored = |place: &Place, backup: &Tree| {
        let mut present = tree::read(&place.root());
        present.retain(|name, _| !name.starts_with("raw") && !name.starts_with("_callrec"));
        present.extend(
            backup
                .iter()
                .filter(|(name, _)| name.starts_with("raw") || name.starts_with("_callrec"))
                .map(|(n, c)| (n.clone(), c.clone())),
        );
        tree::restore(&place.root(), &present);
    };
    let no_state = |place: &Place, _: &Tree| fs::remove_dir_all(place.root().join("_callrec")).unwrap();
    for damage in [&lost_record as &dyn Fn(&Place, &Tree), &restored, &no_state] {
        for commands in [
            &["run"][..],
            &["run", "compact"],
            &["run", "rebuild"],
            &["compact", "run"],
            &["rebuild", "run", "compact"],
        ] {
            let (graph, place, backup) = two_runs();
            damage(&place, &backup);
            if commands[0] != "run" && !place.root().join("_callrec").exists() {
                continue;
            }
            for command in commands {
                let ended = place.callrec(&[command]).expect(0);
                assert!(*command != commands[0] || ended.stderr.contains("later commits"), "{}", ended.stderr);
                assert_each_once(&place, 1..=6);
            }
            notified(&graph, &place, 7..=7);
            place.callrec(&["run"]).expect(0);
            assert_each_once(&place, 1..=7);
        }
    }
}

#[test]
fn a_damaged_part_is_made_again_also_while_fetched_records_wait() {
    let (graph, place, _) = two_runs();
    let part =
        fs::read_dir(place.root().join("calls")).unwrap().next().unwrap().unwrap().path().join("part-000001.parquet");
    let bytes = fs::read(&part).unwrap();
    fs::write(&part, &bytes[..100]).unwrap();
    notified(&graph, &place, 7..=7);
    let ended = place.callrec(&["run"]).expect(74);
    assert!(ended.stderr.contains("part-000001.parquet"), "{}", ended.stderr);
    let ended = place.callrec(&["rebuild"]).expect(0);
    assert!(ended.stderr.contains("damaged"), "{}", ended.stderr);
    assert_each_once(&place, 1..=6);
    place.callrec(&["run"]).expect(0);
    assert_each_once(&place, 1..=7);
    place.callrec(&["verify"]).expect(0);
}

#[test]
fn damage_at_any_place_of_a_part_is_mended_and_shows_no_call_that_never_was() {
    const PLACES: usize = 20;
    let (_graph, place, _) = two_runs();
    place.callrec(&["rebuild"]).expect(0);
    for table in ["calls", "sessions"] {
        let date = fs::read_dir(place.root().join(table)).unwrap().next().unwrap().unwrap().path();
        for number in 0..PLACES {
            let part = fs::read_dir(&date).unwrap().next().unwrap().unwrap().path();
            let mut bytes = fs::read(&part).unwrap();
            let at = 4 + (bytes.len() - 12) * number / PLACES;
            bytes[at..at + 8].iter_mut().for_each(|byte| *byte ^= 0x15);
            fs::write(&part, bytes).unwrap();
            place.callrec(&["rebuild"]).expect(0);
            assert_each_once(&place, 1..=6);
        }
    }
    place.callrec(&["verify"]).expect(0);
}

#[test]
#[cfg(target_os = "linux")]
fn a_summary_goes_to_a_device_and_leaves_it_there() {
    use std::os::unix::fs::FileTypeExt;
    let graph = Graph::empty();
    let place = Place::new(&graph.endpoint(), "");
    place.callrec(&["run", "--summary-file", "/dev/null"]).expect(0);
    assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
    let ended = place.callrec(&["run", "--summary-file", place.root().to_str().unwrap()]).expect(74);
    assert_eq!(ended.summary()["exit_code"], 0, "the summary is told also where it cannot be kept");
}
