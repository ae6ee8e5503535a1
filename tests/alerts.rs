//! `--alert-url`: a receiver is told of every new emergency call at least once,
//! whatever becomes of it and of the run, and the export goes on.
#![cfg(feature = "failpoints")]
#![allow(clippy::unwrap_used, clippy::disallowed_types, reason = "tests fail by panics and look at JSON as they like")]

#[path = "support/receiver.rs"]
mod receiver;
mod support;
#[path = "support/tree.rs"]
mod tree;

use callrec::simulator::Settings;
use receiver::{Receiver, SILENT};
use serde_json::{Value, json};
use std::path::PathBuf;
use support::{Ended, Graph, How, Place};

const PSTN: &str = "getPstnCalls";
const DIRECT: &str = "getDirectRoutingCalls";
const LOGS: &str = "\n[logs]\ntables = [\"pstn_calls\", \"direct_routing_calls\"]\ndays = 20\noverlap_days = 20\n\
    requests_per_minute = 100000\nemergency_numbers = [\"112\"]\n";
const NAME: &str = "Somebody Special";

fn begin() -> (Graph, Place, Receiver) {
    let graph = Graph::start(Settings { throttle: false, ..Settings::default() });
    let place = Place::new(&graph.endpoint(), LOGS);
    (graph, place, Receiver::start())
}

fn at(days: i64) -> String {
    support::days_ago(days).to_rfc3339()
}

/// A row of `direct_routing_calls` with what no alert and no log line may show.
fn direct(id: &str, call_type: &str, days: i64) -> Value {
    json!({
        "id": id, "correlationId": "c-of-the-call", "userId": "u-of-the-call", "callType": call_type,
        "userDisplayName": NAME, "userPrincipalName": "special@contoso.example", "callerNumber": "+4989777",
        "calleeNumber": "112", "startDateTime": at(days), "successfulCall": true,
    })
}

fn put(graph: &Graph, function: &str, row: Value) {
    assert!(graph.simulator.put_log_row(function, row));
}

/// A run that tells; nothing of a call or of the address is in its log.
fn run(place: &Place, receiver: &Receiver, code: i32) -> Ended {
    let ended = place.callrec(&["--log-level", "trace", "run", "--alert-url", &receiver.url()]).expect(code);
    for secret in ["s3cret-of-the-hook", NAME, "of-the-call", "+4989777", "special@"] {
        assert!(!ended.stderr.contains(secret) && !ended.stdout.contains(secret), "{secret}: {}", ended.stderr);
    }
    ended
}

/// What the summary says: sent and pending.
fn told(ended: &Ended) -> (Value, Value) {
    let summary = ended.summary();
    (summary["alerts_sent"].clone(), summary["alerts_pending"].clone())
}

/// The ids of the rows that were told of.
fn ids(posts: &[(String, String)]) -> Vec<String> {
    let calls = |body: &str| serde_json::from_str::<Value>(body).unwrap()["calls"].as_array().unwrap().clone();
    let all = posts.iter().flat_map(|(_, body)| calls(body));
    all.map(|call| call["id"].as_str().unwrap().to_owned()).collect()
}

fn kept(place: &Place) -> Vec<PathBuf> {
    let mut kept = Vec::new();
    support::visit(&place.root().join("_callrec/alerts"), &mut |path| kept.push(path.to_owned()));
    kept
}

#[test]
fn every_new_emergency_call_is_told_of_once() {
    let (graph, place, receiver) = begin();
    put(&graph, DIRECT, direct("by type", "ByotOutEmergency", 2));
    put(&graph, DIRECT, direct("other", "ByotOut", 2));
    put(
        &graph,
        PSTN,
        json!({"id": "by number", "callType": "user_out", "calleeNumber": "112", "startDateTime": at(1),
        "callId": "c", "usageCountryCode": "DE", "userDisplayName": NAME}),
    );
    put(
        &graph,
        PSTN,
        json!({"id": "no emergency", "callType": "user_out", "calleeNumber": "113", "startDateTime": at(1)}),
    );
    let mut row = direct("other", "ByotOut", 2);
    row["calleeNumber"] = json!("+49301234");
    put(&graph, DIRECT, row);
    assert_eq!(told(&run(&place, &receiver, 0)), (json!(2), json!(0)));
    let posts = receiver.posts();
    let [(target, body)] = posts.as_slice() else { panic!("{posts:?}") };
    assert_eq!(target, "POST /hook?key=s3cret-of-the-hook");
    let alert: Value = serde_json::from_str(body).unwrap();
    assert_eq!((&alert["event"], &alert["id"]), (&json!("emergency_calls"), &json!("000001-1")));
    assert_eq!(alert["run_id"], place.newest_commit()["run_id"]);
    assert_eq!(alert["tenant_id"], support::TENANT);
    let start = |days| support::days_ago(days).to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    assert_eq!(
        alert["calls"],
        json!([
            {"table": "direct_routing_calls", "id": "by type", "correlation_id": "c-of-the-call",
             "user_id": "u-of-the-call", "start_date_time": start(2), "call_type": "ByotOutEmergency",
             "successful_call": true},
            {"table": "pstn_calls", "id": "by number", "call_id": "c", "start_date_time": start(1),
             "call_type": "user_out", "usage_country_code": "DE"},
        ])
    );
    assert_eq!(kept(&place), Vec::<PathBuf>::new());
    let settled = place.all_files();
    assert_eq!(told(&run(&place, &receiver, 0)), (json!(0), json!(0)));
    assert_eq!((receiver.posts().len(), place.all_files()), (0, settled));
    place.callrec(&["verify"]).expect(0);
}

#[test]
fn a_row_that_changes_is_told_of_only_when_it_becomes_an_emergency_call() {
    let (graph, place, receiver) = begin();
    for (id, call_type) in [("stays", "dr_emergency_out"), ("moves", "dr_emergency_out"), ("becomes", "dr_out")] {
        let mut row = direct(id, call_type, 5);
        row["calleeNumber"] = json!(null);
        put(&graph, DIRECT, row);
    }
    run(&place, &receiver, 0);
    assert_eq!(ids(&receiver.posts()), ["moves", "stays"]);
    put(&graph, DIRECT, direct("stays", "dr_emergency_out", 5));
    put(&graph, DIRECT, direct("moves", "dr_emergency_out", 3));
    put(&graph, DIRECT, direct("becomes", "dr_emergency_out", 5));
    let summary = run(&place, &receiver, 0).summary();
    assert_eq!(summary["logs"]["direct_routing_calls"]["changed"], 3, "{summary}");
    assert_eq!(ids(&receiver.posts()), ["becomes"]);
}

#[test]
fn without_a_receiver_nothing_is_kept_and_a_later_one_is_told_only_of_what_is_new() {
    let (graph, place, receiver) = begin();
    put(&graph, DIRECT, direct("before", "dr_emergency_out", 2));
    let ended = place.callrec(&["run"]).expect(0);
    assert_eq!(told(&ended), (Value::Null, Value::Null));
    assert!(!place.root().join("_callrec/alerts").exists());
    put(&graph, DIRECT, direct("after", "dr_emergency_out", 1));
    run(&place, &receiver, 0);
    assert_eq!(ids(&receiver.posts()), ["after"]);
}

#[test]
fn what_the_receiver_does_not_take_is_kept_and_told_of_by_the_next_run() {
    for status in [SILENT, 503, 404, 307] {
        let (graph, place, receiver) = begin();
        receiver.answers(status);
        put(&graph, DIRECT, direct("a", "dr_emergency_out", 2));
        let ended = run(&place, &receiver, 3);
        assert_eq!(told(&ended), (json!(0), json!(1)), "{status}");
        assert_eq!(ended.summary()["status"], "attention");
        assert!(ended.stderr.contains("the next run tries again"), "{status}: {}", ended.stderr);
        assert_eq!(place.column("direct_routing_calls", "id"), ["a"], "{status}");
        let posts = receiver.posts();
        assert_eq!(posts.len(), 3, "{status}: {posts:?}");
        assert!(posts.iter().all(|post| *post == posts[0] && post.0.contains("/hook?")), "{status}: {posts:?}");
        let [file] = kept(&place).try_into().unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
            assert_eq!(std::fs::metadata(file.parent().unwrap()).unwrap().mode() & 0o777, 0o700);
        }
        place.callrec(&["verify"]).expect(0);
        // A run that tells nobody leaves it, and says so.
        let quiet = place.callrec(&["run"]).expect(0);
        assert_eq!(told(&quiet), (Value::Null, json!(1)), "{status}");
        assert!(quiet.stderr.contains("--alert-url"), "{}", quiet.stderr);
        receiver.answers(204);
        put(&graph, DIRECT, direct("b", "dr_emergency_out", 1));
        assert_eq!(told(&run(&place, &receiver, 0)), (json!(2), json!(0)), "{status}");
        let later = receiver.posts();
        assert_eq!((&later[0], ids(&later)), (&posts[0], vec!["a".to_owned(), "b".to_owned()]), "{status}");
        assert_eq!(kept(&place), Vec::<PathBuf>::new());
        place.callrec(&["verify"]).expect(0);
    }
}

/// Where a run with a new emergency call dies, and how often it is told of by then.
const STEPS: [(&str, usize); 12] = [
    ("logs::archived", 0),
    ("logs::staged", 0),
    ("commit::renaming", 0),
    ("commit::written", 0),
    ("publish::alerts", 0),
    ("publish::raw", 0),
    ("publish::synced", 0),
    ("publish::marking", 0),
    ("publish::marked", 0),
    ("clean::done", 0),
    ("alerts::posting", 0),
    ("alerts::posted", 1),
];

#[test]
fn a_run_that_dies_at_any_step_loses_no_alert_and_tells_of_no_row_that_is_not_there() {
    let (graph, place, receiver) = begin();
    put(&graph, PSTN, json!({"id": "x", "callType": "user_out", "startDateTime": at(4)}));
    let url = receiver.url();
    let tell = ["run", "--alert-url", &url];
    place.callrec(&tell).expect(0);
    let before = tree::read(&place.root());
    put(&graph, DIRECT, direct("new", "dr_emergency_out", 2));
    for (point, posted) in STEPS {
        tree::restore(&place.root(), &before);
        // Starting cleans up after the commit before.
        place.disturb(&tell, point, if point == "clean::done" { 2 } else { 1 }, How::Abort);
        assert_eq!(ids(&receiver.posts()), vec!["new"; posted], "{point}");
        let ended = place.callrec(&tell).expect(0);
        assert_eq!(told(&ended), (json!(1), json!(0)), "{point}");
        assert_eq!(ids(&receiver.posts()), ["new"], "{point}");
        assert_eq!(place.column("direct_routing_calls", "id"), ["new"], "{point}");
        assert_eq!(kept(&place), Vec::<PathBuf>::new(), "{point}");
        let settled = place.all_files();
        place.callrec(&tell).expect(0);
        assert_eq!((receiver.posts().len(), place.all_files()), (0, settled), "{point}");
        place.callrec(&["verify"]).expect(0);
    }
}

#[test]
fn an_alert_that_was_killed_before_its_delivery_is_told_of_before_anything_else() {
    let (graph, place, receiver) = begin();
    put(&graph, DIRECT, direct("new", "dr_emergency_out", 2));
    let url = receiver.url();
    place.disturb(&["run", "--alert-url", &url], "alerts::posting", 1, How::Abort);
    // Graph refuses the log now: the run fails, and what waited is told of.
    assert!(graph.simulator.strike_log(DIRECT, "403", None));
    assert_eq!(told(&run(&place, &receiver, 77)), (json!(1), json!(0)));
    assert_eq!(ids(&receiver.posts()), ["new"]);
}

#[test]
fn many_calls_are_told_of_in_parts_and_purged_ones_not_at_all() {
    let (graph, place, receiver) = begin();
    for n in 0..600 {
        put(&graph, DIRECT, direct(&format!("{n:03}"), "dr_emergency_out", if n < 550 { 9 } else { 1 }));
    }
    receiver.answers(500);
    let days = [10, 0].map(|days| support::days_ago(days).date_naive().to_string());
    let logs = ["logs", "--from", &days[0], "--to", &days[1]];
    let mut command = place.command(&logs);
    command.env("CALLREC_ALERT_URL", receiver.url());
    assert_eq!(told(&support::ended(command).expect(3)), (json!(0), json!(600)));
    assert_eq!(kept(&place).len(), 2);
    // Of the second alert fifty calls are left.
    place.callrec(&["purge", "--before", &support::days_ago(5).date_naive().to_string()]).expect(0);
    assert_eq!(kept(&place).len(), 1);
    place.callrec(&["verify"]).expect(0);
    receiver.posts();
    receiver.answers(200);
    place.configure(&graph.endpoint(), "");
    assert_eq!(told(&run(&place, &receiver, 0)), (json!(50), json!(0)));
    let expected: Vec<String> = (550..600).map(|n| format!("{n:03}")).collect();
    assert_eq!(ids(&receiver.posts()), expected);
    place.callrec(&["verify"]).expect(0);
}

#[test]
fn a_damaged_alert_does_not_keep_the_others_or_the_export() {
    let (graph, place, receiver) = begin();
    receiver.answers(500);
    put(&graph, DIRECT, direct("a", "dr_emergency_out", 2));
    run(&place, &receiver, 3);
    support::overwrite(&place.root().join("_callrec/alerts/000000-1.json"), "{\"calls\":");
    receiver.answers(200);
    receiver.posts();
    put(&graph, DIRECT, direct("b", "dr_emergency_out", 1));
    let ended = run(&place, &receiver, 78);
    assert!(ended.stderr.contains("000000-1.json"), "{}", ended.stderr);
    assert_eq!((told(&ended), ids(&receiver.posts())), ((json!(2), json!(1)), vec!["a".to_owned(), "b".to_owned()]));
    assert_eq!(place.column("direct_routing_calls", "id").len(), 2);
}

#[test]
fn an_address_that_is_none_ends_the_command_before_its_work() {
    let (graph, place, _) = begin();
    for verb in [&["run"][..], &["logs", "--from", "2026-11-01", "--to", "2026-11-01"]] {
        for address in ["alerts.example/s3cret", "http://alerts.example/s3cret", "file:///s3cret"] {
            let ended = place.callrec(&[verb, &["--alert-url", address]].concat()).expect(2);
            assert!(ended.stderr.contains("--alert-url") && !ended.stderr.contains("s3cret"), "{}", ended.stderr);
        }
    }
    assert_eq!(graph.simulator.counts().requests, 0);
    assert!(!place.root().exists());
}
