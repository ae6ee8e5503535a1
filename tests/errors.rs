//! What goes wrong between Graph and the tables, on the real binary: exit code,
//! message and dataset. What single answers can do is in hostile_graph.rs.
#![allow(clippy::unwrap_used, clippy::disallowed_types, reason = "tests fail by panics")]

#[path = "support/odd.rs"]
mod odd;
mod support;

use odd::{Odd, json as answer, whole};
use serde_json::{Value, json};
use std::io::Write;
use std::sync::atomic::Ordering;
use std::time::Duration;
use support::{Graph, Place, call_id, days_ago, record};

fn one() -> Value {
    record(&call_id(1), 1, days_ago(1), 2)
}

fn notified(odd: &Odd, more: &str) -> Place {
    let place = Place::new(&odd.endpoint, more);
    place.notify([call_id(1).as_str()]);
    place
}

fn assert_exported(place: &Place) {
    assert_eq!(place.column("calls", "call_id"), [call_id(1)]);
    assert_eq!(place.column("sessions", "call_id").len(), 2);
    assert_eq!(place.column("participants", "call_id").len(), 2);
    place.callrec(&["verify"]).expect(0);
}

#[test]
fn no_request_begins_inside_the_window_of_retry_after() {
    let soon = httpdate::fmt_http_date((days_ago(0) + chrono::TimeDelta::seconds(1)).into());
    let base = httpdate::fmt_http_date(days_ago(0).into());
    let forms = [
        (429, "Retry-After: 0.250\r\n".to_owned(), 250),
        (503, "Retry-After: 1\r\n".to_owned(), 1000),
        (429, format!("Retry-After: {soon}\r\nDate: {base}\r\n"), 1000),
    ];
    for (status, header, millis) in forms {
        let named = header.clone();
        let odd = Odd::start(move |path, before| match (path.contains("sessions"), before) {
            (true, 0) => answer(status, "{}", &named),
            _ => whole(path, &one()),
        });
        let place = notified(&odd, "");
        let summary = place.callrec(&["run"]).expect(0).summary();
        assert_eq!(summary["throttled"], 1, "{header}");
        let asked: Vec<_> = odd.requests().into_iter().filter(|a| a.path.contains("sessions")).collect();
        let waited = asked[1].at - asked[0].at;
        assert!(waited >= Duration::from_millis(millis), "{header}: {waited:?}");
        assert_exported(&place);
    }
}

#[test]
fn a_401_costs_one_new_token_and_a_second_one_ends_the_run() {
    let odd =
        Odd::start(
            |path, before| {
                if path.contains("sessions") && before == 0 { answer(401, "{}", "") } else { whole(path, &one()) }
            },
        );
    let place = notified(&odd, "");
    place.callrec(&["run"]).expect(0);
    assert_exported(&place);
    assert_eq!(odd.tokens.load(Ordering::SeqCst), 2);

    let odd = Odd::start(|_, _| answer(401, "{}", ""));
    let place = notified(&odd, "");
    let ended = place.callrec(&["run"]).expect(77);
    assert_eq!(odd.tokens.load(Ordering::SeqCst), 2, "one refresh");
    assert_eq!(ended.summary()["pending"], 1);
    assert!(!ended.stderr.contains("token-"), "{}", ended.stderr);
}

#[test]
fn a_wrong_secret_is_named_by_its_code_and_never_shown() {
    let graph = Graph::empty();
    let place = Place::new(&graph.endpoint(), "");
    place.notify([call_id(1).as_str()]);
    let mut command = place.command(&["run"]);
    command.env("CALLREC_GRAPH__AUTH__CLIENT_SECRET", "canary-of-a-secret");
    let ended = support::ended(command).expect(77);
    assert!(ended.stderr.contains("7000215"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("canary") && !ended.stdout.contains("canary"));
}

#[test]
fn a_403_stays_pending_and_is_quarantined_after_three_runs_that_fetched_others() {
    let graph = Graph::empty();
    let place = Place::new(&graph.endpoint(), "");
    let mut refused = record(&call_id(99), 1, days_ago(1), 1);
    refused["@callrec.simulator"] = json!({"status": 403});
    graph.put(&refused);
    place.notify([call_id(99).as_str()]);
    place.callrec(&["run"]).expect(0);
    for (run, code) in [(1, 0), (2, 0), (3, 3)] {
        graph.put(&record(&call_id(run), 1, days_ago(1), 1));
        place.notify([call_id(run).as_str()]);
        let summary = place.callrec(&["run"]).expect(code).summary();
        assert_eq!(summary["exported_new"], 1, "run {run}");
    }
    let listed = place.callrec(&["quarantine", "list"]).expect(0).stdout;
    assert!(listed.contains("forbidden") && listed.contains(&call_id(99)), "{listed}");
    // Once the permission is there, a retry exports it and empties the quarantine.
    graph.put(&record(&call_id(99), 2, days_ago(1), 1));
    place.callrec(&["quarantine", "retry"]).expect(0);
    assert!(place.callrec(&["quarantine", "list"]).expect(0).stdout.starts_with("0 items"));
    assert_eq!(place.column("calls", "call_id").len(), 4);
    place.callrec(&["verify"]).expect(0);
}

#[test]
fn twenty_403_in_a_row_are_a_missing_permission() {
    let odd = Odd::start(|_, _| answer(403, "{\"error\":{\"code\":\"Authorization_RequestDenied\"}}", ""));
    let place = Place::new(&odd.endpoint, "");
    let ids: Vec<String> = (1..=25).map(call_id).collect();
    place.notify(ids.iter().map(String::as_str));
    let ended = place.callrec(&["run"]).expect(77);
    assert!(ended.stderr.contains("CallRecords.Read.All"), "{}", ended.stderr);
    assert_eq!(ended.summary()["pending"], 25);
}

#[test]
fn a_record_that_is_not_there_yet_is_exported_by_the_first_run_in_which_it_is_due_and_readable() {
    let place = Place::new("simulator", "");
    std::fs::create_dir(place.path("records")).unwrap();
    let start = "2026-11-01T12:00:00Z".parse().unwrap();
    let mut late = record(&call_id(1), 1, start, 2);
    late["@callrec.simulator"] = json!({"available_at": "2026-11-01T13:00:00Z"});
    for (name, value) in [("a.json", &late), ("b.json", &record(&call_id(9), 1, start, 1))] {
        std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(place.path("records").join(name))
            .unwrap()
            .write_all(value.to_string().as_bytes())
            .unwrap();
    }
    let run_at = |now: &str| {
        place.configure("simulator", &format!("\n[simulator]\nrecords = \"records\"\nnow = \"{now}\"\n"));
        place.callrec(&["run"]).expect(0).summary()
    };
    let ledger = || support::rows(&place.root(), "ledger", &["call_id", "state", "reason", "version"]);
    place.notify([call_id(1).as_str(), call_id(8).as_str()]);
    assert_eq!(run_at("2026-11-01T12:30:00Z")["pending"], 2);
    assert!(
        ledger().contains(&vec![call_id(1), "pending".into(), "not-found".into(), "null".into()]),
        "{:?}",
        ledger()
    );
    let too_soon = run_at("2026-11-01T12:40:00Z");
    assert_eq!((&too_soon["requests"], &too_soon["pending"]), (&json!(0), &json!(2)), "not due yet");
    assert_eq!(run_at("2026-11-01T12:46:00Z")["pending"], 2, "due, not readable");
    let there = run_at("2026-11-01T13:17:00Z");
    assert_eq!((&there["exported_new"], &there["pending"]), (&json!(1), &json!(1)), "{there}");
    assert_eq!(run_at("2026-12-01T12:29:00Z")["expired"], 0);
    let end = run_at("2026-12-02T12:31:00Z");
    assert_eq!((&end["expired"], &end["pending"]), (&json!(1), &json!(0)), "{end}");
    let rows = ledger();
    assert!(rows.contains(&vec![call_id(1), "exported".into(), "null".into(), "1".into()]), "{rows:?}");
    assert!(rows.contains(&vec![call_id(8), "expired".into(), "not-found".into(), "null".into()]), "{rows:?}");
    place.callrec(&["verify"]).expect(0);
}

#[test]
fn a_404_of_a_subscription_that_ended_long_ago_expires_at_once() {
    let graph = Graph::empty();
    let place = Place::new(&graph.endpoint(), "");
    let mut old = support::notification(&call_id(1), support::STATE);
    old["subscriptionExpirationDateTime"] = json!("2020-01-01T00:00:00+02:00");
    place.append(&format!("{old}\n"));
    let summary = place.callrec(&["run"]).expect(0).summary();
    assert_eq!((&summary["expired"], &summary["pending"]), (&json!(1), &json!(0)));
    assert_eq!(place.column("ledger", "state"), ["expired"]);
}

#[test]
fn another_tenants_notification_costs_no_request() {
    let odd = Odd::start(|_, _| answer(404, "{}", ""));
    let place = Place::new(&odd.endpoint, "");
    let mut foreign = support::notification(&call_id(1), support::STATE);
    foreign["tenantId"] = json!("99999999-9999-4999-8999-999999999999");
    place.append(&format!("{foreign}\n"));
    let summary = place.callrec(&["run"]).expect(0).summary();
    assert_eq!(summary["notifications_skipped"]["other-tenant"], 1);
    assert!(odd.requests().is_empty());
}

#[test]
fn a_full_disk_or_a_file_in_the_way_leaves_the_tables_as_they_were() {
    let graph = Graph::empty();
    let place = Place::new(&graph.endpoint(), "");
    graph.put(&record(&call_id(1), 1, days_ago(1), 2));
    place.notify([call_id(1).as_str()]);
    place.callrec(&["run"]).expect(0);
    let before = place.record_tables();
    graph.put(&record(&call_id(1), 2, days_ago(1), 2));
    graph.put(&record(&call_id(2), 1, days_ago(2), 40));
    place.notify([call_id(1), call_id(2)].iter().map(String::as_str));
    // A file may not grow past a few blocks: what a full disk does, for every user.
    let mut limited = std::process::Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 24; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_callrec"), "--config"]);
    limited.arg(place.config()).arg("run").current_dir(place.directory.path());
    let ended = support::ended(limited).expect(74);
    assert!(ended.stderr.contains("annot write") || ended.stderr.contains("annot sync"), "{}", ended.stderr);
    assert_eq!(place.record_tables(), before);
    let requests = graph.simulator.counts().requests;
    let summary = place.callrec(&["run"]).expect(0).summary();
    assert_eq!((&summary["exported_new"], &summary["exported_updated"]), (&json!(1), &json!(1)), "{summary}");
    assert!(graph.simulator.counts().requests - requests <= 4);
    place.callrec(&["verify"]).expect(0);

    let blocked = Place::new(&graph.endpoint(), "");
    std::fs::OpenOptions::new().create(true).append(true).open(blocked.root()).unwrap();
    blocked.notify([call_id(1).as_str()]);
    let ended = blocked.callrec(&["run"]).expect(74);
    assert!(ended.stderr.contains("out"), "{}", ended.stderr);
}

#[test]
fn whoever_watches_learns_of_a_run_that_could_not_begin() {
    let graph = Graph::empty();
    let place = Place::new(&graph.endpoint(), "");
    let text = std::fs::read_to_string(place.config()).unwrap();
    support::overwrite(&place.config(), &text.replace("client_secret =", "# client_secret ="));
    let asked = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = asked.clone();
    let odd = Odd::start(move |path, _| {
        seen.lock().unwrap().push(path.to_owned());
        answer(200, "", "")
    });
    let ping = format!("{}/job/{{exit_code}}", odd.endpoint);
    place.callrec(&["run", "--metrics-file", "m.prom", "--summary-file", "s.json", "--ping-url", &ping]).expect(78);
    let metrics = std::fs::read_to_string(place.path("m.prom")).unwrap();
    assert!(metrics.contains("callrec_run_exit_code 78\n"), "{metrics}");
    let summary = std::fs::read_to_string(place.path("s.json")).unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&summary).unwrap()["exit_code"], 78);
    assert!(asked.lock().unwrap().iter().any(|path| path.contains("/job/78")), "{asked:?}");
}
