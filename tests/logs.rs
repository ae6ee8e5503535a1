//! What can stand in the notification log, one row each: how the run ends, what it
//! exports, what it refuses and why.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests fail by panics and damage files as they like"
)]

#[path = "support/odd.rs"]
mod odd;
#[path = "support/phases.rs"]
mod phases;
mod support;

use odd::{Odd, whole};
use phases::LOG;
use phases::{Phase, call, cut, exports, graph, line, play, raw, refuses};
use serde_json::{Value, json};
use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::sync::atomic::{AtomicI64, Ordering};
use support::{Place, STATE, call_id, days_ago, notification, record};

#[test]
fn lines_of_every_kind() {
    let rows: Vec<(&str, &str, Vec<Phase>)> = vec![
        (
            "duplicates",
            "",
            vec![(
                |place| {
                    call(place, 1);
                    place.notify([1, 2, 1, 1].map(call_id).iter().map(String::as_str));
                    call(place, 2);
                },
                exports(2),
            )],
        ),
        ("out of order", "", vec![(|place| [3, 1, 2].iter().for_each(|n| call(place, *n)), exports(3))]),
        (
            "an unknown changeType, none, and deleted",
            "",
            vec![(
                |place| {
                    for (n, change) in [(1, json!("frobbed")), (2, Value::Null), (3, json!("deleted")), (4, json!(7))] {
                        let mut item = notification(&call_id(n), STATE);
                        item["changeType"] = change;
                        place.append(&format!("{item}\n"));
                    }
                },
                exports(3),
            )],
        ),
        (
            "CRLF, BOM, empty and blank lines",
            "",
            vec![(
                |place| {
                    raw(place, b"\xef\xbb\xbf\r\n\r\n");
                    raw(place, line(1).replace('\n', "\r\n").as_bytes());
                    raw(place, b"\n \t \n");
                    raw(place, line(2).as_bytes());
                },
                exports(2),
            )],
        ),
        (
            "a BOM before a first line",
            "",
            vec![(|place| raw(place, &[b"\xef\xbb\xbf", line(1).as_bytes()].concat()), exports(1))],
        ),
        (
            "UTF-16",
            "",
            vec![(
                |place| {
                    let text: Vec<u8> = line(1).trim_end().encode_utf16().flat_map(u16::to_le_bytes).collect();
                    raw(place, &[b"\xff\xfe", &text[..], b"\n"].concat());
                    call(place, 2);
                },
                refuses(1, &["not-utf8"]),
            )],
        ),
        (
            "NUL bytes",
            "",
            vec![(
                |place| {
                    raw(place, line(1).replace("updated", "upd\0ated").as_bytes());
                    call(place, 2);
                },
                refuses(1, &["not-json"]),
            )],
        ),
        (
            "a hole of NULs before a line, as a cut leaves it under a writer with an old offset",
            "max_line_bytes = 4096",
            vec![
                (|place| call(place, 1), exports(1)),
                (
                    |place| {
                        fs::copy(place.path(LOG), place.path("events.jsonl.1")).unwrap();
                        cut(place, 0);
                        let mut log = fs::OpenOptions::new().write(true).open(place.path(LOG)).unwrap();
                        log.seek(SeekFrom::Start(1 << 20)).unwrap();
                        log.write_all(line(2).as_bytes()).unwrap();
                    },
                    exports(1),
                ),
                (|place| call(place, 3), exports(1)),
            ],
        ),
        (
            "NULs at the end that the writer fills later",
            "",
            vec![
                (
                    |place| {
                        call(place, 1);
                        raw(place, &[0; 4096]);
                    },
                    exports(1),
                ),
                (
                    |place| {
                        let end = line(1).len() as u64;
                        let mut log = fs::OpenOptions::new().write(true).open(place.path(LOG)).unwrap();
                        log.seek(SeekFrom::Start(end)).unwrap();
                        log.write_all(line(2).as_bytes()).unwrap();
                    },
                    exports(1),
                ),
            ],
        ),
        (
            "invalid UTF-8, not JSON, no notification, two values in a line",
            "",
            vec![(
                |place| {
                    raw(place, b"{\"a\":\"\xff\xfe\"}\n{]\n42\n{\"a\":1}\n");
                    raw(place, format!("{}{}", line(1).trim_end(), line(2)).as_bytes());
                    call(place, 3);
                },
                refuses(1, &["not-utf8", "not-json", "not-a-notification", "not-a-notification", "not-json"]),
            )],
        ),
        (
            "depth, duplicate members, huge numbers, lone surrogates",
            "",
            vec![(
                |place| {
                    raw(place, format!("{}{}\n", "[".repeat(10_000), "]".repeat(10_000)).as_bytes());
                    let item = notification(&call_id(1), STATE).to_string();
                    raw(
                        place,
                        format!("{},\"n\":1e400,\"m\":-0,\"s\":\"\\ud800\"}}\n", &item[..item.len() - 1]).as_bytes(),
                    );
                    let item = notification(&call_id(2), STATE).to_string();
                    raw(place, format!("{},\"clientState\":\"other\"}}\n", &item[..item.len() - 1]).as_bytes());
                    call(place, 3);
                },
                refuses(2, &["too-deep", "client-state"]),
            )],
        ),
        (
            "a line over the limit, whole at last",
            "max_line_bytes = 4096",
            vec![
                (
                    |place| {
                        call(place, 1);
                        (0..300).for_each(|_| raw(place, &[b'x'; 10_000]));
                    },
                    exports(1),
                ),
                (
                    |place| {
                        raw(place, b"\n");
                        call(place, 2);
                    },
                    refuses(1, &["too-long"]),
                ),
            ],
        ),
        (
            "a line that grows from run to run",
            "",
            vec![
                (|place| raw(place, &line(1).as_bytes()[..1]), exports(0)),
                (|place| raw(place, &line(1).as_bytes()[1..90]), exports(0)),
                (|place| raw(place, &line(1).trim_end().as_bytes()[90..]), exports(1)),
                (|place| raw(place, format!("\n{}", line(2)).as_bytes()), exports(1)),
            ],
        ),
    ];
    let graph = graph();
    for (name, config, phases) in rows {
        play(&graph, name, config, phases);
    }
}

#[test]
fn an_older_version_after_a_newer_one_changes_nothing() {
    let version = std::sync::Arc::new(AtomicI64::new(7));
    let served = version.clone();
    let odd =
        Odd::start(move |path, _| whole(path, &record(&call_id(1), served.load(Ordering::SeqCst), days_ago(1), 2)));
    let place = Place::new(&odd.endpoint, "");
    for (serves, new, updated, unchanged, stored) in
        [(7, 1, 0, 0, "7"), (3, 0, 0, 1, "7"), (7, 0, 0, 1, "7"), (9, 0, 1, 0, "9"), (8, 0, 0, 1, "9")]
    {
        version.store(serves, Ordering::SeqCst);
        call(&place, 1);
        let summary = place.callrec(&["run"]).expect(0).summary();
        assert_eq!(
            (&summary["exported_new"], &summary["exported_updated"], &summary["unchanged"]),
            (&json!(new), &json!(updated), &json!(unchanged)),
            "version {serves}: {summary}"
        );
        assert_eq!(place.column("calls", "version"), [stored]);
    }
    place.callrec(&["verify"]).expect(0);
}

#[test]
fn a_bad_line_and_a_wrong_client_state_go_to_quarantine_and_the_rest_is_exported() {
    let graph = graph();
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
