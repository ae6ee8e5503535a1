//! A Graph that is slow, broken, overloaded and hostile at once: every record
//! must have its end, and no wrong row may come of it.

use crate::ends::{End, LASTING};
use crate::number;
use crate::support::{self, Graph, Place, days_ago, rows};
use callrec::simulator::generator::{self, Shape};
use callrec::simulator::{Settings, fault_names};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const SEED: u64 = 11;
const SHAPE: Shape = Shape { max_sessions: 130, misfits: true };
/// The log grows between so many runs.
const PORTIONS: usize = 4;
/// What is under way when the client reads an answer may still arrive.
const ALLOWANCE: Duration = Duration::from_millis(250);

/// What Graph has of a record: all that is compared.
#[derive(Debug, PartialEq, Eq, Default)]
struct Whole {
    version: String,
    sessions: Vec<String>,
    participants: usize,
}

/// A record, what strikes it, and how it must end.
struct Expected {
    whole: Whole,
    fault: Option<(&'static str, bool)>,
    end: End,
}

/// Prints the figures; the number of faults.
pub fn report() -> u64 {
    let count = number("CALLREC_TORTURE_RECORDS", 5000);
    let begun = Instant::now();
    let now = days_ago(0);
    let graph = Graph::start(Settings {
        generate: Some(count),
        seed: SEED,
        now: Some(now),
        faults: true,
        lasting_faults: true,
        throttle: false,
        max_sessions: SHAPE.max_sessions,
        ..Settings::default()
    });
    let expected: BTreeMap<String, Expected> = (0..count)
        .map(|index| {
            let record: Value = serde_json::from_str(&generator::record(SEED, index, now, SHAPE).json).unwrap();
            let id = record["id"].as_str().unwrap().to_owned();
            let expected = expect(&graph, &id, &record);
            (id, expected)
        })
        .collect();
    let place = Place::new(&graph.endpoint(), "");
    let config = std::fs::read_to_string(place.config()).unwrap();
    let client =
        "requests_per_20s = 1000000\nrequests_per_record_per_20s = 100000\ntries = 2\nrequest_timeout_seconds = 1.5\n";
    support::overwrite(&place.config(), &config.replace("backoff_seconds", &format!("{client}backoff_seconds")));
    let mut runs = Vec::new();
    let ids: Vec<&String> = expected.keys().collect();
    for portion in ids.chunks(ids.len().div_ceil(PORTIONS).max(1)) {
        notify(&place, portion, &expected);
        runs.push(run(&place));
    }
    // What lasts is due for ever: it is over when all else is settled. A redirect
    // costs a run for each URL of its record.
    while runs.len() < 20 && !all_else_is_settled(&place, &expected) {
        runs.push(run(&place));
    }
    let odd_exits = runs.iter().filter(|code| !matches!(code, 0 | 3 | 75)).count() as u64;
    let verified = place.callrec(&["verify"]).code == 0;
    let judged = judge(&place, &expected);
    let (windows, in_flight, early) = inside_windows(&graph);
    let counts = graph.simulator.counts();

    println!("## A hostile Graph\n");
    println!(
        "{count} records, {} of them with one of the simulator's {} faults; {} runs of `run`, {} requests, {} tokens:\n",
        expected.values().filter(|e| e.fault.is_some()).count(),
        fault_names().count(),
        runs.len(),
        counts.requests,
        counts.tokens
    );
    println!("| records | end | as expected |\n|---|---|---|");
    for ((what, end), (all, good)) in &judged.ends {
        println!("| {what} | {end} | {good} of {all} |");
    }
    println!(
        "\n| wrong rows | requests inside a window of Retry-After | windows | connections to a foreign host | `verify` |"
    );
    println!("|---|---|---|---|---|");
    println!(
        "| {} | {early} | {windows} | {} | {} |\n",
        judged.wrong,
        counts.foreign,
        if verified { "no fault" } else { "FAULT" }
    );
    println!(
        "A window counts from {} ms after the last byte of the answer was written; {in_flight} requests arrived before that, \
         having been under way. {:.0} s.\n",
        ALLOWANCE.as_millis(),
        begun.elapsed().as_secs_f64()
    );
    let missed: u64 = judged.ends.values().map(|(all, good)| all - good).sum();
    missed + judged.wrong + early + counts.foreign + odd_exits + u64::from(!verified)
}

fn expect(graph: &Graph, id: &str, record: &Value) -> Expected {
    let list = |name: &str| record[name].as_array().map_or(&[][..], Vec::as_slice);
    let participants = list("participants_v2").len();
    let whole = Whole {
        version: record["version"].to_string(),
        sessions: list("sessions").iter().map(|session| session["id"].as_str().unwrap_or("null").to_owned()).collect(),
        // The deprecated list stands in where the new one is missing.
        participants: if participants == 0 { list("participants").len() } else { participants },
    };
    let strike = graph.simulator.strike(id);
    // What goes wrong between two pages has no place in a record without lists.
    let listless = whole.sessions.is_empty() && participants == 0;
    let end = match strike.filter(|strike| strike.times.is_none()) {
        Some(strike) if !(listless && strike.is_of_lists()) => {
            LASTING.iter().find(|(name, _)| *name == strike.name).unwrap().1
        }
        _ => End::Exported,
    };
    Expected { whole, fault: strike.map(|strike| (strike.name, strike.times.is_none())), end }
}

fn notify(place: &Place, ids: &[&String], expected: &BTreeMap<String, Expected>) {
    for id in ids {
        let mut item = support::notification(id, support::STATE);
        if expected[*id].end == End::Gone {
            // Graph keeps nothing for so long.
            item["subscriptionExpirationDateTime"] = json!("2020-01-01T00:00:00Z");
        }
        place.append(&format!("{item}\n"));
    }
}

fn all_else_is_settled(place: &Place, expected: &BTreeMap<String, Expected>) -> bool {
    let states: BTreeMap<String, String> = rows(&place.root(), "ledger", &["call_id", "state"])
        .into_iter()
        .map(|row| (row[0].clone(), row[1].clone()))
        .collect();
    let mut comes = expected.iter().filter(|(_, expected)| expected.end == End::Exported);
    comes.all(|(id, _)| states.get(id).is_some_and(|state| state == "exported"))
}

/// The exit code.
fn run(place: &Place) -> i32 {
    let begun = Instant::now();
    let ended = place.callrec(&["-q", "run"]);
    let summary = ended.summary();
    let number = |name: &str| summary[name].as_u64().unwrap_or(0);
    let settled = number("exported_new") + number("expired") + number("quarantined");
    eprintln!(
        "graph: exit {}, {settled} settled, {} pending, {} throttled, {:.0} s",
        ended.code,
        number("pending"),
        number("throttled"),
        begun.elapsed().as_secs_f64()
    );
    if !matches!(ended.code, 0 | 3 | 75) {
        eprintln!("{}", ended.stderr);
    }
    ended.code
}

#[derive(Default)]
struct Judged {
    /// By kind of record and expected end: all, and those that ended so.
    ends: BTreeMap<(&'static str, String), (u64, u64)>,
    wrong: u64,
}

fn judge(place: &Place, expected: &BTreeMap<String, Expected>) -> Judged {
    let root = place.root();
    let mut found: BTreeMap<String, Whole> = BTreeMap::new();
    let mut judged = Judged::default();
    for mut row in rows(&root, "calls", &["call_id", "version"]) {
        let version = row.remove(1);
        let whole = Whole { version, ..Whole::default() };
        judged.wrong += u64::from(found.insert(row.remove(0), whole).is_some());
    }
    let mut sessions: BTreeMap<String, BTreeMap<u64, String>> = BTreeMap::new();
    for row in rows(&root, "sessions", &["call_id", "session_index", "session_id"]) {
        let of_call = sessions.entry(row[0].clone()).or_default();
        judged.wrong += u64::from(of_call.insert(row[1].parse().unwrap(), row[2].clone()).is_some());
    }
    for (id, of_call) in sessions {
        found.entry(id).or_default().sessions = of_call.into_values().collect();
    }
    for id in place.column("participants", "call_id") {
        found.entry(id).or_default().participants += 1;
    }
    let ledger: BTreeMap<String, (String, String)> = rows(&root, "ledger", &["call_id", "state", "reason"])
        .into_iter()
        .map(|row| (row[0].clone(), (row[1].clone(), row[2].clone())))
        .collect();
    for (id, expected) in expected {
        let there = found.remove(id);
        let (state, reason) = ledger.get(id).map_or(("none", "none"), |(state, reason)| (state, reason));
        let (end, good) = match expected.end {
            End::Exported => {
                ("exported whole".to_owned(), state == "exported" && there.as_ref() == Some(&expected.whole))
            }
            // Tries may be used up by another failure than the record's own.
            End::Pending(_) => ("pending".to_owned(), state == "pending"),
            End::Forbidden => (
                "pending, after three runs quarantine: forbidden".to_owned(),
                reason == "forbidden" && state != "exported",
            ),
            End::Gone => ("expired".to_owned(), state == "expired"),
            End::Quarantined(why) => (format!("quarantine: {why}"), state == "quarantined" && reason == why),
            End::Access => ("none".to_owned(), false),
        };
        // What is not to be in the tables must have no row there.
        let stray = expected.end != End::Exported && there.is_some();
        judged.wrong += u64::from(stray || expected.end == End::Exported && there.is_some() && !good);
        let kind = match expected.fault {
            None => "without a fault",
            Some((_, false)) => "with a fault that passes",
            Some((_, true)) => "with a fault that lasts",
        };
        let figures = judged.ends.entry((kind, end)).or_default();
        figures.0 += 1;
        figures.1 += u64::from(good);
        if !good || stray {
            eprintln!("graph: {id} {:?} should be {:?}, is {state} {reason}", expected.fault, expected.end);
        }
    }
    judged.wrong += found.len() as u64;
    judged
}

/// Windows, requests that were under way when one began, and requests inside one.
fn inside_windows(graph: &Graph) -> (usize, usize, u64) {
    let (windows, mut arrivals) = (graph.simulator.windows(), graph.simulator.arrivals());
    arrivals.sort_unstable();
    let between = |from: Instant, to: Instant| {
        arrivals.partition_point(|at| *at < to).saturating_sub(arrivals.partition_point(|at| *at <= from))
    };
    let in_flight = windows.iter().map(|&(written, wait)| between(written, written + wait.min(ALLOWANCE))).sum();
    let long = windows.iter().filter(|(_, wait)| *wait > ALLOWANCE);
    let early = long.map(|&(written, wait)| between(written + ALLOWANCE, written + wait) as u64).sum();
    (windows.len(), in_flight, early)
}
