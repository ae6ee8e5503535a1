//! Everything that can be wrong with the files of the notification log, one row
//! each: how the run ends, what it exports, what it refuses and why.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests fail by panics and damage files as they like"
)]

#[path = "support/odd.rs"]
mod odd;
mod support;

use odd::{Odd, whole};
use serde_json::{Value, json};
use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;
use std::sync::atomic::{AtomicI64, Ordering};
use support::{Graph, Place, STATE, call_id, days_ago, notification, record};

const LOG: &str = "events.jsonl";

/// What one run does.
#[derive(Default)]
struct Expected {
    code: i32,
    exported: u64,
    /// Reasons of what newly is in quarantine.
    refused: &'static [&'static str],
    gap: bool,
    /// A part of stderr.
    says: &'static str,
}

/// What is done to the log, and what the run after it does.
type Phase = (fn(&Place), Expected);

fn exports(exported: u64) -> Expected {
    Expected { exported, ..Expected::default() }
}

fn refuses(exported: u64, refused: &'static [&'static str]) -> Expected {
    Expected { code: 3, exported, refused, ..Expected::default() }
}

fn gap(exported: u64) -> Expected {
    Expected { code: 3, exported, gap: true, says: "is not found any more", ..Expected::default() }
}

fn ends(code: i32, says: &'static str) -> Expected {
    Expected { code, says, ..Expected::default() }
}

fn line(n: u32) -> String {
    format!("{}\n", json!({"value": [notification(&call_id(n), STATE)]}))
}

/// Appends a line with a notification of call `n`.
fn call(place: &Place, n: u32) {
    place.append(&line(n));
}

fn raw(place: &Place, bytes: &[u8]) {
    fs::OpenOptions::new().create(true).append(true).open(place.path(LOG)).unwrap().write_all(bytes).unwrap();
}

fn cut(place: &Place, keep: u64) {
    fs::OpenOptions::new().write(true).open(place.path(LOG)).unwrap().set_len(keep).unwrap();
}

fn rename(place: &Place, from: &str, to: &str) {
    fs::rename(place.path(from), place.path(to)).unwrap();
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn fifo(place: &Place, name: &str) {
    assert!(Command::new("mkfifo").arg(place.path(name)).status().unwrap().success());
}

/// Runs the phases one after the other on one place; then nothing may be left
/// to do, and the dataset is sound.
fn play(graph: &Graph, name: &str, config: &str, phases: Vec<Phase>) {
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

fn graph() -> Graph {
    let graph = Graph::empty();
    for n in 1..=9 {
        graph.put(&record(&call_id(n), 1, days_ago(1), 1));
    }
    graph
}

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
                (|place| raw(place, line(1).trim_end()[90..].as_bytes()), exports(1)),
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
fn files_that_are_moved_cut_packed_and_swapped() {
    let rows: Vec<(&str, Vec<Phase>)> = vec![
        (
            "renamed, the writer going on in the old file for a while",
            vec![
                (|place| call(place, 1), exports(1)),
                (
                    |place| {
                        call(place, 2);
                        rename(place, LOG, "events.jsonl.1");
                        fs::OpenOptions::new()
                            .append(true)
                            .open(place.path("events.jsonl.1"))
                            .unwrap()
                            .write_all(line(3).as_bytes())
                            .unwrap();
                        call(place, 4);
                    },
                    exports(3),
                ),
            ],
        ),
        (
            "copied and cut",
            vec![
                (|place| call(place, 1), exports(1)),
                (
                    |place| {
                        call(place, 2);
                        fs::copy(place.path(LOG), place.path("events.jsonl.1")).unwrap();
                        cut(place, 0);
                        call(place, 3);
                    },
                    exports(2),
                ),
            ],
        ),
        (
            "cut to nothing, with a line unread",
            vec![
                (|place| call(place, 1), exports(1)),
                (
                    |place| {
                        call(place, 2);
                        cut(place, 0);
                    },
                    gap(0),
                ),
                (|place| call(place, 3), exports(1)),
            ],
        ),
        (
            "cut to nothing and longer than before at the next run",
            vec![
                (|place| call(place, 1), exports(1)),
                (
                    |place| {
                        call(place, 2);
                        cut(place, 0);
                        [3, 4, 5].iter().for_each(|n| call(place, *n));
                    },
                    gap(3),
                ),
            ],
        ),
        (
            "packed with gzip after a rotation, two packs in one file",
            vec![
                (|place| call(place, 1), exports(1)),
                (
                    |place| {
                        call(place, 2);
                        let packed = [gzip(line(1).as_bytes()), gzip(line(2).as_bytes())].concat();
                        fs::write(place.path("events.jsonl.1.gz"), packed).unwrap();
                        fs::remove_file(place.path(LOG)).unwrap();
                        call(place, 3);
                    },
                    exports(2),
                ),
            ],
        ),
        (
            "packed with zstd after a rotation, half of it there at first",
            vec![
                (|place| call(place, 1), exports(1)),
                (
                    |place| {
                        call(place, 2);
                        rename(place, LOG, "events.jsonl.1");
                        let packed = zstd::encode_all(&fs::read(place.path("events.jsonl.1")).unwrap()[..], 3).unwrap();
                        fs::write(place.path("events.jsonl.1.zst"), &packed[..packed.len() / 2]).unwrap();
                        call(place, 3);
                    },
                    exports(2),
                ),
                (
                    |place| {
                        let packed = zstd::encode_all(&fs::read(place.path("events.jsonl.1")).unwrap()[..], 3).unwrap();
                        fs::write(place.path("events.jsonl.1.zst"), packed).unwrap();
                        fs::remove_file(place.path("events.jsonl.1")).unwrap();
                    },
                    exports(0),
                ),
                (|place| fs::remove_file(place.path("events.jsonl.1.zst")).unwrap(), exports(0)),
            ],
        ),
        (
            "a damaged pack",
            vec![(
                |place| {
                    let mut packed = gzip(format!("{}{}", line(1), line(2)).as_bytes());
                    let end = packed.len();
                    packed[end - 6] ^= 0xff;
                    fs::write(place.path("events.jsonl.1.gz"), packed).unwrap();
                    call(place, 3);
                },
                refuses(3, &["damaged-archive"]),
            )],
        ),
        (
            "deleted and made anew, perhaps with the same inode",
            vec![
                (|place| call(place, 1), exports(1)),
                (
                    |place| {
                        fs::remove_file(place.path(LOG)).unwrap();
                        [2, 3].iter().for_each(|n| call(place, *n));
                    },
                    gap(2),
                ),
            ],
        ),
        (
            "a link that is swapped to another file",
            vec![
                (
                    |place| {
                        fs::write(place.path("a.log"), line(1)).unwrap();
                        symlink(place.path("a.log"), place.path(LOG)).unwrap();
                    },
                    exports(1),
                ),
                (
                    |place| {
                        fs::write(place.path("b.log"), line(2)).unwrap();
                        symlink(place.path("b.log"), place.path("swap")).unwrap();
                        rename(place, "swap", LOG);
                    },
                    gap(1),
                ),
                (|place| call(place, 3), exports(1)),
            ],
        ),
        (
            "gone, and back again",
            vec![
                (|place| call(place, 1), exports(1)),
                (|place| rename(place, LOG, "elsewhere"), gap(0)),
                (
                    |place| {
                        rename(place, "elsewhere", LOG);
                        call(place, 2);
                    },
                    exports(1),
                ),
            ],
        ),
    ];
    let graph = graph();
    for (name, phases) in rows {
        play(&graph, name, "", phases);
    }
}

#[test]
fn what_is_no_log_at_all() {
    let rows: Vec<(&str, &str, Vec<Phase>)> = vec![
        ("a FIFO", "", vec![(|place| fifo(place, LOG), ends(78, "no regular file"))]),
        (
            "a FIFO beside the log",
            "",
            vec![(
                |place| {
                    call(place, 1);
                    fifo(place, "events.jsonl.pipe");
                },
                ends(78, "events.jsonl.pipe"),
            )],
        ),
        (
            "a link to a device",
            "",
            vec![(|place| symlink("/dev/zero", place.path(LOG)).unwrap(), ends(78, "no regular file"))],
        ),
        ("a link to itself", "", vec![(|place| symlink(LOG, place.path(LOG)).unwrap(), ends(74, LOG))]),
        ("a link to nothing", "", vec![(|place| symlink("nowhere", place.path(LOG)).unwrap(), exports(0))]),
        (
            "a directory with a log of that name in it",
            "",
            vec![(
                |place| {
                    fs::create_dir(place.path(LOG)).unwrap();
                    fs::write(place.path(LOG).join("inner"), line(1)).unwrap();
                },
                exports(0),
            )],
        ),
        ("nothing", "", vec![(|_| (), exports(0)), (|place| call(place, 1), exports(1))]),
        (
            "a hole of 1 GiB and a line after it",
            "max_line_bytes = 4096",
            vec![
                (
                    |place| {
                        call(place, 1);
                        cut(place, 1 << 30);
                    },
                    exports(1),
                ),
                (|place| call(place, 2), exports(1)),
            ],
        ),
    ];
    let graph = graph();
    for (name, config, phases) in rows {
        play(&graph, name, config, phases);
    }
}

#[test]
fn a_log_that_may_not_be_read_is_named_and_read_once_it_may() {
    let graph = graph();
    let place = Place::new(&graph.endpoint(), "");
    call(&place, 1);
    let mode = |mode| fs::set_permissions(place.path(LOG), fs::Permissions::from_mode(mode)).unwrap();
    mode(0);
    if fs::File::open(place.path(LOG)).is_ok() {
        // Nothing is closed to this user.
        return;
    }
    let ended = place.callrec(&["run"]).expect(74);
    assert!(ended.stderr.contains(LOG) && ended.stderr.contains("let the user"), "{}", ended.stderr);
    mode(0o400);
    assert_eq!(place.callrec(&["run"]).expect(0).summary()["exported_new"], 1);
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
