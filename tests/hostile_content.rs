//! Ids, names and texts that want to be paths, partitions, log lines or commands
//! of a terminal.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types, reason = "tests fail by panics")]

#[path = "support/odd.rs"]
mod odd;
mod support;

use odd::{Odd, json as answer, whole};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use support::{Ended, Graph, Place, STATE, call_id, days_ago, notification, record};

/// What no path, id or date may be made from.
fn forged() -> Vec<String> {
    let mut forged: Vec<String> = [
        "../../x",
        "..%2f..%2fx",
        "a/b",
        "a\\b",
        "%2e%2e",
        "nul\0nul",
        "CON",
        "call_date=2020-01-01",
        "00000001-0000-4000-8000-000000000000/../../x",
        "00000001-0000-4000-8000-00000000000/",
        "00000001-0000-4000-8000-000000000000\n",
        "\u{202e}00000001-0000-4000-8000-00000000000",
        "{00000001-0000-4000-8000-000000000000}",
        "０0000001-0000-4000-8000-000000000000",
        "",
        "\u{1b}]52;c;ZWNobyBwd25lZA==\u{7}",
        "line\n2026-01-01T00:00:00.000000Z ERROR forged",
    ]
    .map(str::to_owned)
    .to_vec();
    forged.push("x".repeat(300));
    forged
}

/// What acts on a terminal or forges a line, by code; none may be printed.
const ACTS: [char; 12] = [
    '\u{1b}', '\u{7}', '\u{8}', '\r', '\0', '\u{7f}', '\u{9b}', '\u{9d}', '\u{202e}', '\u{2066}', '\u{2028}',
    '\u{feff}',
];
const EVIL: &str = "\u{1b}[2J\u{1b}]52;c;ZQ==\u{7}\u{9b}31m\u{9d}0;t\u{202e}\u{2066}\u{2028}\u{feff}\r\u{8}\u{7f}x";

fn assert_tame(what: &str, ended: &Ended) {
    for (stream, text) in [("stdout", &ended.stdout), ("stderr", &ended.stderr)] {
        let found: BTreeSet<char> = text.chars().filter(|c| ACTS.contains(c)).collect();
        assert!(found.is_empty(), "{what} writes {found:?} to {stream}: {text:?}");
        assert!(!text.contains("\nforged"), "{what} forges a line of {stream}: {text}");
    }
}

/// The names of everything below the root.
fn names(place: &Place) -> BTreeSet<String> {
    place.all_files().into_keys().collect()
}

fn assert_names_are_ours(place: &Place) {
    for name in names(place) {
        let ours = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "/_-=.".contains(c));
        assert!(ours && !name.contains(".."), "{name:?}");
    }
}

#[test]
fn forged_ids_of_notifications_name_nothing() {
    let graph = Graph::empty();
    let place = Place::new(&graph.endpoint(), "");
    graph.put(&record(&call_id(1), 1, days_ago(1), 1));
    place.notify([call_id(1).as_str()]);
    let mut lines = 0;
    for id in forged() {
        let mut of_data = notification(&call_id(1), STATE);
        of_data["resource"] = json!("communications/callRecords");
        of_data["resourceData"] = json!({"@odata.type": "#Microsoft.Graph.callRecord", "id": id});
        let mut of_tenant = notification(&call_id(1), STATE);
        of_tenant["tenantId"] = json!(format!("{id}!"));
        let mut of_both = notification(&id, STATE);
        of_both["subscriptionId"] = json!(id);
        for forged in [of_data, of_tenant, of_both] {
            place.append(&format!("{forged}\n"));
            lines += 1;
        }
    }
    let ended = place.callrec(&["run"]).expect(3);
    assert_tame("run", &ended);
    let summary = ended.summary();
    let skipped: u64 = summary["notifications_skipped"].as_object().unwrap().values().filter_map(Value::as_u64).sum();
    assert_eq!(summary["quarantined"].as_u64().unwrap() + skipped, lines - known(&summary), "{summary}");
    assert_eq!(place.column("calls", "call_id"), [call_id(1)]);
    assert_eq!(summary["requests"], 2, "no forged id was asked for");
    assert_names_are_ours(&place);
    for format in ["text", "json"] {
        assert_tame("quarantine list", &place.callrec(&["quarantine", "list", "--format", format]).expect(0));
    }
    place.callrec(&["quarantine", "retry"]).expect(3);
    place.callrec(&["verify"]).expect(0);
    assert_names_are_ours(&place);
}

/// Lines whose forged id still names the one call, such as by its resource:
/// they were taken as a notification of it.
fn known(summary: &Value) -> u64 {
    summary["notifications_read"].as_u64().unwrap()
        - 1
        - summary["quarantined"].as_u64().unwrap()
        - summary["notifications_skipped"].as_object().unwrap().values().filter_map(Value::as_u64).sum::<u64>()
}

#[test]
fn forged_ids_by_hand_are_refused_and_a_forged_run_id_is_only_text() {
    let graph = Graph::empty();
    let place = Place::new(&graph.endpoint(), "");
    graph.put(&record(&call_id(1), 1, days_ago(1), 1));
    let beside: BTreeSet<_> = fs::read_dir(place.directory.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    for id in forged() {
        fs::write(place.path("ids.txt"), format!("{}\n{id}x\n", call_id(1))).unwrap();
        assert_tame("run --ids-file", &place.callrec(&["run", "--ids-file", "ids.txt"]).expect(2));
        fs::remove_file(place.path("ids.txt")).unwrap();
        if id.contains('\0') {
            continue;
        }
        assert_tame("run --id", &place.callrec(&["run", "--id", &id]).expect(2));
        assert_tame("purge --call", &place.callrec(&["purge", "--call", &id]).expect(2));
        assert_tame("quarantine retry", &place.callrec(&["quarantine", "retry", &format!("x{id}")]).expect_not(0));
        let ended = place.callrec(&["run", "--id", &call_id(1), "--run-id", &id]).expect(0);
        assert_tame("run --run-id", &ended);
        assert_eq!(ended.summary()["run_id"], id);
        for format in ["text", "json"] {
            assert_tame("status", &place.callrec(&["status", "--format", format]).expect(0));
        }
    }
    let after: BTreeSet<_> = fs::read_dir(place.directory.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(after.difference(&beside).collect::<Vec<_>>(), ["out"]);
    assert_names_are_ours(&place);
}

#[test]
fn a_start_is_a_date_that_every_reader_has_or_the_record_is_refused() {
    let starts = [
        ("2026-11-01T23:59:59.9999999Z", Some("2026-11-01")),
        ("2026-11-01T23:59:59-00:30", Some("2026-11-02")),
        ("9999-12-31T23:59:59Z", Some("9999-12-31")),
        ("0000-01-01T00:00:00Z", None),
        ("0001-01-01T00:00:00Z", None),
        ("10000-01-01T00:00:00Z", None),
        ("+10000-01-01T00:00:00Z", None),
        ("-0001-01-01T00:00:00Z", None),
        ("9999-12-31T23:59:59-01:00", None),
        ("0001-01-01T00:00:00+01:00", None),
        ("../../2026-11-01T00:00:00Z", None),
        ("2026-11-01/../..T00:00:00Z", None),
        ("2026-11-01T00:00:00Z\u{0}", None),
        ("2026-02-30T00:00:00Z", None),
        ("２026-11-01T00:00:00Z", None),
    ];
    let odd = Odd::start(move |path, _| {
        let number: usize = path.split("callRecords/").nth(1).unwrap()[..8].parse().unwrap();
        let mut record = record(&call_id(u32::try_from(number).unwrap()), 1, days_ago(1), 1);
        record["startDateTime"] = json!(starts[number].0);
        whole(path, &record)
    });
    let place = Place::new(&odd.endpoint, "");
    place.notify(
        (0..starts.len()).map(|n| call_id(u32::try_from(n).unwrap())).collect::<Vec<_>>().iter().map(String::as_str),
    );
    place.callrec(&["run"]).expect(3);
    let mut dates: Vec<(String, String)> = Vec::new();
    for (number, (_, date)) in starts.iter().enumerate() {
        if let Some(date) = date {
            dates.push((call_id(u32::try_from(number).unwrap()), (*date).to_owned()));
        }
    }
    let partitions: BTreeSet<String> = fs::read_dir(place.root().join("calls"))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    let wanted: BTreeSet<String> = dates.iter().map(|(_, date)| format!("call_date={date}")).collect();
    assert_eq!(partitions, wanted);
    let mut calls = place.column("calls", "call_id");
    calls.sort();
    assert_eq!(calls, dates.iter().map(|(id, _)| id.clone()).collect::<Vec<_>>());
    for verb in ["compact", "rebuild", "verify"] {
        place.callrec(&[verb]).expect(0);
    }
    assert_names_are_ours(&place);
}

/// A record that acts on terminals wherever text can stand.
fn evil_record(id: &str, start: &str) -> Value {
    let mut record = record(id, 1, days_ago(1), 1);
    record["organizer_v2"]["identity"]["user"]["displayName"] = json!(EVIL);
    record["joinWebUrl"] = json!(EVIL);
    record["type"] = json!(EVIL);
    record[EVIL] = json!({EVIL: EVIL});
    record["sessions"][0]["id"] = json!(EVIL);
    record["sessions"][0][format!("{EVIL}\nforged")] = json!(1);
    record["x".repeat(5000)] = json!(1);
    if !start.is_empty() {
        record["startDateTime"] = json!(start);
    }
    record
}

#[test]
fn nothing_that_acts_on_a_terminal_is_printed() {
    let odd = Odd::start(|path, _| {
        let Some(id) = path.split("callRecords/").nth(1) else {
            return answer(200, &json!({"value": [], EVIL: EVIL}).to_string(), "");
        };
        let number: u32 = id[..8].parse().unwrap();
        let id = call_id(number);
        let error = json!({"error": {"code": format!("{EVIL}\nforged"), "message": EVIL}}).to_string();
        match number {
            1 => whole(path, &evil_record(&id, "")),
            2 => whole(path, &evil_record(&id, EVIL)),
            3 => answer(400, &error, "request-id: \u{9b}31m\u{1b}[2J\r\n"),
            4 => answer(500, &error, "request-id: x\u{1b}[2J\r\nRetry-After: \u{1b}[2J\r\n"),
            5 => {
                let mut record = record(&id, 1, days_ago(1), 1);
                record["sessions@odata.nextLink"] = json!(format!("https://{EVIL}/{EVIL}"));
                answer(200, &record.to_string(), "")
            }
            0 => answer(404, &error, ""),
            _ => answer(302, &error, "Location: http://\u{1b}[2J/\r\n"),
        }
    });
    let place = Place::new(&odd.endpoint, "");
    let config = fs::read_to_string(place.config()).unwrap().replace("backoff_seconds", "tries = 2\nbackoff_seconds");
    // A log, a root and a config whose names act, too.
    let (log, root) = (format!("events.jsonl-{}\nforged", EVIL.replace('\r', "")), format!("out{EVIL}\nforged"));
    let quoted = serde_json::to_string(&root).unwrap().replace('\u{7f}', "\\u007f");
    let config = config.replace("root = \"out\"", &format!("root = {quoted}"));
    let file = place.path(&format!("{EVIL}\nforged.toml"));
    fs::write(&file, config).unwrap();
    place.notify((1..=6).map(call_id).collect::<Vec<_>>().iter().map(String::as_str));
    place.append(&format!("{EVIL}\n"));
    fs::rename(place.path("events.jsonl"), place.path(&log)).unwrap();
    let records = place.path(&format!("{EVIL}\nforged.ndjson"));
    fs::write(&records, format!("{}\n{EVIL}\n", evil_record(&call_id(1), ""))).unwrap();
    let records = records.to_str().unwrap();
    let tables = place.path("tables");
    let verbs: [(&[&str], i32); 15] = [
        (&["run", "--progress", "plain"], 75),
        (&["status"], 0),
        (&["status", "--format", "json"], 0),
        (&["quarantine", "list"], 0),
        (&["quarantine", "list", "--format", "json"], 0),
        (&["quarantine", "retry"], 75),
        (&["verify"], 0),
        (&["verify", "--format", "json"], 0),
        (&["compact"], 0),
        (&["rebuild"], 0),
        (&["check"], 0),
        (&["init", file.to_str().unwrap()], 2),
        (&["init", records], 2),
        (&["flatten", records, "--output", tables.to_str().unwrap()], 3),
        (&["flatten", &log, "--output", "elsewhere"], 2),
    ];
    for format in ["text", "json"] {
        for (arguments, code) in verbs {
            let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_callrec"));
            command.arg("--config").arg(&file).args(["--log-level", "trace", "--log-format", format]).args(arguments);
            let ended = support::ended_in(command, place.directory.path());
            let code = if format == "json" && arguments[0] == "flatten" { 2 } else { code };
            assert_tame(&format!("{arguments:?} as {format}"), &ended);
            let ended = ended.expect(code);
            for line in ended.stderr.lines() {
                let whole = if format == "json" { line.starts_with("{\"timestamp\"") } else { line.starts_with("20") };
                assert!(whole, "a line that is none of ours after {arguments:?}: {line}");
            }
        }
    }
    let gone = support::ended_in(
        {
            let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_callrec"));
            command.args(["--config", &format!("{EVIL}\nforged"), "run"]);
            command
        },
        place.directory.path(),
    )
    .expect(78);
    assert_tame("a config that is missing", &gone);
}
