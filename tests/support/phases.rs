//! What is done to a notification log, what the run after it does, and so on:
//! one row of a table of tests.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "every test binary uses another part"
)]

use crate::support::{Graph, Place, STATE, call_id, days_ago, notification, record};
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::process::Command;

pub const LOG: &str = "events.jsonl";

/// What one run does.
#[derive(Default)]
pub struct Expected {
    pub code: i32,
    pub exported: u64,
    /// Reasons of what newly is in quarantine.
    pub refused: &'static [&'static str],
    pub gap: bool,
    /// A part of stderr.
    pub says: &'static str,
}

/// What is done to the log, and what the run after it does.
pub type Phase = (fn(&Place), Expected);

pub fn exports(exported: u64) -> Expected {
    Expected { exported, ..Expected::default() }
}

pub fn refuses(exported: u64, refused: &'static [&'static str]) -> Expected {
    Expected { code: 3, exported, refused, ..Expected::default() }
}

pub fn gap(exported: u64) -> Expected {
    Expected { code: 3, exported, gap: true, says: "is not found any more", ..Expected::default() }
}

pub fn ends(code: i32, says: &'static str) -> Expected {
    Expected { code, says, ..Expected::default() }
}

pub fn line(n: u32) -> String {
    format!("{}\n", json!({"value": [notification(&call_id(n), STATE)]}))
}

/// Appends a line with a notification of call `n`.
pub fn call(place: &Place, n: u32) {
    place.append(&line(n));
}

pub fn raw(place: &Place, bytes: &[u8]) {
    fs::OpenOptions::new().create(true).append(true).open(place.path(LOG)).unwrap().write_all(bytes).unwrap();
}

pub fn cut(place: &Place, keep: u64) {
    fs::OpenOptions::new().write(true).open(place.path(LOG)).unwrap().set_len(keep).unwrap();
}

pub fn rename(place: &Place, from: &str, to: &str) {
    fs::rename(place.path(from), place.path(to)).unwrap();
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn fifo(place: &Place, name: &str) {
    assert!(Command::new("mkfifo").arg(place.path(name)).status().unwrap().success());
}

/// Runs the phases one after the other on one place; then nothing may be left
/// to do, and the dataset is sound.
pub fn play(graph: &Graph, name: &str, config: &str, phases: Vec<Phase>) {
    let place = Place::new(&graph.endpoint(), "");
    let text = fs::read_to_string(place.config()).unwrap();
    fs::write(place.config(), text.replace("[graph]\n", &format!("{config}\n[graph]\n"))).unwrap();
    let mut quarantined = 0;
    let last = phases.len() - 1;
    for (number, (prepare, expected)) in phases.into_iter().enumerate() {
        prepare(&place);
        let what = format!("{name}, run {number}");
        let ended = place.callrec(&["run"]);
        assert_eq!(ended.code, expected.code, "{what}: {}{}", ended.stdout, ended.stderr);
        let summary = ended.summary();
        assert_eq!(summary["exported_new"], expected.exported, "{what}: {summary}\n{}", ended.stderr);
        assert_eq!(ended.stderr.contains("is not found any more"), expected.gap, "{what}: {}", ended.stderr);
        assert!(ended.stderr.contains(expected.says), "{what}: {}", ended.stderr);
        let listed = place.callrec(&["quarantine", "list", "--format", "json"]);
        let items: Vec<Value> = serde_json::from_str(listed.stdout.trim()).unwrap_or_default();
        let reasons: Vec<&str> = items[quarantined..].iter().map(|item| item["reason"].as_str().unwrap()).collect();
        assert_eq!(reasons, expected.refused, "{what}");
        assert!(items.iter().all(|item| item["file"].as_str().is_some_and(|f| f.contains(LOG))), "{what}: {items:?}");
        quarantined = items.len();
        if number == last && expected.code <= 3 {
            let again = place.callrec(&["run"]).expect(0).summary();
            assert_eq!(
                (&again["notifications_read"], &again["files_written"]),
                (&json!(0), &json!(0)),
                "{what}: {again}"
            );
            place.callrec(&["verify"]).expect(0);
        }
    }
}

pub fn graph() -> Graph {
    let graph = Graph::empty();
    for n in 1..=9 {
        graph.put(&record(&call_id(n), 1, days_ago(1), 1));
    }
    graph
}
