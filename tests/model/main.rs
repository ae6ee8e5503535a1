//! The commit protocol explored as a state machine: see docs/model.md.
#![allow(missing_docs, unreachable_pub, dead_code, clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod protocol;
#[path = "../support/side_by_side.rs"]
mod side_by_side;

use protocol::explore::Explored;
use protocol::reasons::reason_of;
use protocol::rules::Rule;
use protocol::tried::{configurations, named, try_out, unchanged, verdicts};
use protocol::verdicts::{MUTATIONS, Mutation, Verdict};
use protocol::world::CONFIGURATIONS;
use side_by_side::side_by_side;
use std::fs;
use std::path::Path;
use std::sync::OnceLock;

fn explored() -> &'static [Explored] {
    static EXPLORED: OnceLock<Vec<Explored>> = OnceLock::new();
    EXPLORED.get_or_init(unchanged)
}

fn documentation(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name)).unwrap()
}

#[test]
fn the_protocol_keeps_its_promise_in_every_configuration() {
    for (around, explored) in CONFIGURATIONS.iter().zip(explored()) {
        assert!(explored.is_whole, "{}: {:#?}", around.name, explored.counterexample);
    }
    println!("{}", configurations(explored()));
}

/// What a mutation does that is not what the table says.
fn wrong(mutation: &Mutation) -> Option<String> {
    let name = named(mutation.off);
    let tried = try_out(mutation, explored());
    let found = tried.counterexample.map(|(fault, around, steps)| (fault, format!("{around}: {steps:#?}")));
    let is_finished = !matches!(mutation.verdict, Verdict::Unfinished(_));
    if found.is_none() && tried.is_whole != is_finished {
        return Some(format!("{name}: whether all states were seen is not what the table says"));
    }
    match (&mutation.verdict, found) {
        (Verdict::Covered(_), None) if tried.matters => Some(format!("{name}: has something to do")),
        (Verdict::Covered(_), None) => None,
        (Verdict::Unfinished(_), None) => None,
        (_, None) if !tried.matters => Some(format!("{name}: no exploration comes to where it matters")),
        (Verdict::Redundant(_), None) => None,
        (Verdict::Caught(expected), Some((fault, _))) if fault == *expected => None,
        (Verdict::Caught(expected), None) => Some(format!("{name}: not {expected:?}")),
        (_, Some((fault, way))) => Some(format!("{name}: {fault:?} in {way}")),
    }
}

#[test]
fn every_rule_that_is_switched_off_does_what_the_table_says() {
    let faults: Vec<String> = side_by_side(MUTATIONS, wrong).into_iter().flatten().collect();
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn every_rule_is_switched_off_by_itself() {
    for rule in Rule::ALL {
        assert!(MUTATIONS.iter().any(|mutation| mutation.off == [*rule]), "{rule:?}");
    }
}

#[test]
fn the_documentation_has_the_table_of_verdicts() {
    let table = verdicts();
    assert!(documentation("model.md").contains(&table), "docs/model.md must hold this table:\n\n{table}");
}

/// The rows of a table of docs/torture.md, cell by cell.
fn rows(text: &str, heading: &str) -> Vec<Vec<String>> {
    let after = text.split(heading).nth(1).unwrap();
    let lines = after.lines().skip(2).take_while(|line| line.starts_with('|'));
    lines.map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()).collect()
}

#[test]
fn what_the_torture_finds_harmless_has_a_reason() {
    let text = documentation("torture.md");
    let syncs = rows(&text, "| stage | sync of |");
    assert!(!syncs.is_empty());
    for row in syncs.iter().filter(|row| row[2] != row[3]) {
        assert!(reason_of(row[1].trim_matches('`')).is_some(), "{row:?}");
    }
    let swaps = rows(&text, "| of | first |");
    assert!(!swaps.is_empty());
    for row in swaps.iter().filter(|row| row[3].starts_with("recovered")) {
        assert!(!row[4].is_empty() && !row[4].contains("NOT EXPLAINED"), "{row:?}");
    }
}
