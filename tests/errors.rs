//! What goes wrong between Graph and the tables, on the real binary: exit code,
//! message and dataset.
#![allow(clippy::unwrap_used, clippy::disallowed_types, reason = "tests fail by panics")]

#[path = "support/odd.rs"]
mod odd;
mod support;

use odd::{Odd, bytes, json as answer, whole};
use serde_json::{Value, json};
use std::io::Write;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
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
fn what_passes_is_tried_again_and_what_does_not_pass_stays_pending() {
    let failures: [fn() -> Vec<u8>; 6] = [
        || answer(500, "{}", ""),
        || answer(504, "{}", ""),
        || bytes(200, b"<html>sign in</html>", "Content-Type: text/html\r\n"),
        || answer(200, "{\"error\":{\"code\":\"InternalServerError\"}}", ""),
        || b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{\"id\":".to_vec(),
        Vec::new,
    ];
    for failure in failures {
        let healed = Arc::new(AtomicUsize::new(0));
        let state = healed.clone();
        let odd = Odd::start(move |path, before| {
            if path.contains("sessions") && (state.load(Ordering::SeqCst) == 0 || before == 0) {
                failure()
            } else {
                whole(path, &one())
            }
        });
        let place = notified(&odd, "");
        let config =
            std::fs::read_to_string(place.config()).unwrap().replace("backoff_seconds", "tries = 2\nbackoff_seconds");
        std::io::Write::write_all(
            &mut std::fs::OpenOptions::new().write(true).truncate(true).open(place.config()).unwrap(),
            config.as_bytes(),
        )
        .unwrap();
        let summary = place.callrec(&["run"]).expect(75).summary();
        assert_eq!(
            (&summary["pending"], &summary["exported_new"], &summary["status"]),
            (&json!(1), &json!(0), &json!("temporary"))
        );
        assert_eq!(place.column("ledger", "state"), ["pending"]);
        healed.store(1, Ordering::SeqCst);
        place.callrec(&["run"]).expect(0);
        assert_exported(&place);
        assert_eq!(place.column("ledger", "state"), ["exported"]);
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

/// A host that must not be asked; how often it was.
fn elsewhere() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    std::thread::spawn(move || {
        while listener.accept().is_ok() {
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    (format!("http://{address}"), count)
}

#[test]
fn no_next_link_leads_to_another_host() {
    let path = format!("/v1.0/communications/callRecords/{}/sessions", call_id(1));
    for form in ["foreign", "user info", "fragment", "metadata", "loop"] {
        let (foreign, count) = elsewhere();
        let (form_of, sub) = (form.to_owned(), path.clone());
        let odd = Odd::start(move |asked, _| {
            if asked.starts_with(&sub) {
                return answer(200, &json!({"value": one()["sessions"]}).to_string(), "");
            }
            if asked.contains("$select") {
                return answer(200, &json!({"id": call_id(1), "version": 1}).to_string(), "");
            }
            if !asked.contains("sessions") {
                return whole(asked, &one());
            }
            let mut record = one();
            record.as_object_mut().unwrap().remove("participants_v2");
            record["sessions"].as_array_mut().unwrap().truncate(1);
            let link = match form_of.as_str() {
                "foreign" => format!("{foreign}{sub}?$skiptoken=1"),
                "user info" => format!("http://graph@{}{sub}", foreign.trim_start_matches("http://")),
                "fragment" => format!("{foreign}/v1.0/#x"),
                "metadata" => format!("{foreign}/v1.0/$metadata#communications/callRecords('x')/sessions?$skiptoken=1"),
                _ => format!("{foreign}{asked}"),
            };
            record["sessions@odata.nextLink"] = json!(link);
            answer(200, &record.to_string(), "")
        });
        let place = notified(&odd, "");
        place.callrec(&["run"]).expect(0);
        assert_exported(&place);
        assert_eq!(count.load(Ordering::SeqCst), 0, "{form}");
    }
}

#[test]
fn a_redirect_is_never_followed() {
    let (foreign, count) = elsewhere();
    let odd = Odd::start(move |_, _| answer(302, "{}", &format!("Location: {foreign}/v1.0/x\r\n")));
    let place = notified(&odd, "");
    let config =
        std::fs::read_to_string(place.config()).unwrap().replace("backoff_seconds", "tries = 2\nbackoff_seconds");
    std::fs::OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(place.config())
        .unwrap()
        .write_all(config.as_bytes())
        .unwrap();
    let summary = place.callrec(&["run"]).expect(75).summary();
    assert_eq!(summary["pending"], 1);
    assert_eq!(count.load(Ordering::SeqCst), 0);
}

/// The answer to a path.
type Case = Box<dyn Fn(&str) -> Vec<u8> + Send + Sync>;

#[test]
fn what_cannot_be_taken_goes_to_quarantine_with_its_reason() {
    let bomb = || {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        let block = vec![b' '; 1 << 20];
        for _ in 0..80 {
            encoder.write_all(&block).unwrap();
        }
        bytes(200, &encoder.finish().unwrap(), "Content-Type: application/json\r\nContent-Encoding: gzip\r\n")
    };
    let cases: [(&str, Case); 4] = [
        ("wrong-id", Box::new(|path| whole(path, &record(&call_id(2), 1, days_ago(1), 1)))),
        ("too-deep", Box::new(|_| answer(200, &format!("{{\"id\":{}{}}}", "[".repeat(90), "]".repeat(90)), ""))),
        ("too-large", Box::new(move |_| bomb())),
        (
            "no-start",
            Box::new(|path| {
                let mut broken = one();
                broken["startDateTime"] = json!("yesterday");
                whole(path, &broken)
            }),
        ),
    ];
    for (reason, case) in cases {
        let odd = Odd::start(move |path, _| {
            if path.contains(&call_id(3)) { whole(path, &record(&call_id(3), 1, days_ago(1), 1)) } else { case(path) }
        });
        let place = notified(&odd, "");
        place.notify([call_id(3).as_str()]);
        let ended = place.callrec(&["run"]).expect(3);
        let summary = ended.summary();
        assert_eq!(
            (&summary["quarantined"], &summary["exported_new"], &summary["pending"]),
            (&json!(1), &json!(1), &json!(0)),
            "{reason}: {}",
            ended.stderr
        );
        let listed = place.callrec(&["quarantine", "list"]).expect(0).stdout;
        assert!(listed.contains(reason) && listed.contains(&call_id(1)), "{reason}: {listed}");
        assert_eq!(place.column("calls", "call_id"), [call_id(3)], "{reason}");
        let ledger = support::rows(&place.root(), "ledger", &["call_id", "state", "reason"]);
        assert!(ledger.contains(&vec![call_id(1), "quarantined".into(), reason.into()]), "{reason}: {ledger:?}");
        place.callrec(&["verify"]).expect(0);
        place.callrec(&["run"]).expect(0);
    }
}

#[test]
fn versions_are_never_mixed() {
    let odd = Odd::start(|path, before| {
        let old = before == 0 && path.contains("participants_v2");
        let version = if old { 1 } else { 2 };
        whole(path, &record(&call_id(1), version, days_ago(1), 2))
    });
    let place = notified(&odd, "");
    place.callrec(&["run"]).expect(0);
    assert_exported(&place);
    assert_eq!(place.column("calls", "version"), ["2"]);
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
