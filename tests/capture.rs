//! Files of Event Hubs Capture as the notification log: whole, growing, damaged
//! and hostile ones.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests fail by panics and damage files as they like"
)]

#[path = "support/avro.rs"]
mod avro;
#[path = "support/phases.rs"]
mod phases;
mod support;

use avro::{EVENT, SYNC, block, bytes, event, file, header, number};
use callrec::notifications::{Collected, LogCursor, Settings, collect};
use phases::graph;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use support::{Ended, Place, STATE, call_id, notification};

const CODECS: [&str; 4] = ["null", "deflate", "snappy", "zstandard"];

/// A collection of notifications of those calls.
fn body(calls: &[u32]) -> Vec<u8> {
    json!({"value": calls.iter().map(|n| notification(&call_id(*n), STATE)).collect::<Vec<_>>()})
        .to_string()
        .into_bytes()
}

/// A place whose log are the captures of a hub.
fn place(endpoint: &str) -> Place {
    let place = Place::new(endpoint, "");
    let text = fs::read_to_string(place.config()).unwrap();
    fs::write(place.config(), text.replace("events.jsonl*", "captured/**/*.avro")).unwrap();
    place
}

/// Puts the capture of a partition and window in place.
fn capture(place: &Place, partition: u32, window: &str, bytes: &[u8]) -> PathBuf {
    let path = place.path(&format!("captured/space/hub/{partition}/2026/11/02/{window}.avro"));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    path
}

fn run(place: &Place, code: i32) -> (Ended, u64, u64) {
    let ended = place.callrec(&["run"]).expect(code);
    let summary = ended.summary();
    (ended, summary["exported_new"].as_u64().unwrap(), summary["notifications_read"].as_u64().unwrap())
}

fn reasons(place: &Place) -> Vec<String> {
    let listed = place.callrec(&["quarantine", "list", "--format", "json"]);
    let items: Vec<Value> = serde_json::from_str(listed.stdout.trim()).unwrap_or_default();
    items.iter().map(|item| item["reason"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn an_hour_of_captures_is_exported_once() {
    let graph = graph();
    let place = place(&graph.endpoint());
    let (one, two, more) = (body(&[1]), body(&[2, 3, 4]), body(&[5, 1]));
    let spaced = serde_json::to_vec_pretty(&serde_json::from_slice::<Value>(&body(&[6])).unwrap()).unwrap();
    let marked = [b"\xef\xbb\xbf", &body(&[7])[..]].concat();
    let old = [
        capture(&place, 0, "10/00/00", &file("deflate", &[&[Some(&one), None], &[Some(&two)]])),
        capture(&place, 0, "10/05/00", &header(EVENT, "deflate")),
        capture(&place, 1, "10/00/00", &file("null", &[&[None, Some(&more), Some(b"")], &[], &[Some(&spaced)]])),
        capture(&place, 1, "10/05/00", b""),
        capture(&place, 1, "10/10/00", &file("snappy", &[&[Some(&marked)]])),
    ];
    let (_, exported, read) = run(&place, 0);
    assert_eq!((exported, read), (7, 8));
    let (ended, exported, read) = run(&place, 0);
    assert_eq!((exported, read), (0, 0), "{}", ended.stderr);

    capture(&place, 0, "10/10/00", &file("deflate", &[&[Some(&body(&[8]))]]));
    let (_, exported, read) = run(&place, 0);
    assert_eq!((exported, read), (1, 1));

    // What has been read may be removed, and moved.
    old[..4].iter().for_each(|path| fs::remove_file(path).unwrap());
    capture(&place, 2, "10/10/00", b"");
    fs::rename(&old[4], place.path("captured/space/kept.avro")).unwrap();
    let (ended, exported, read) = run(&place, 0);
    assert_eq!((exported, read), (0, 0), "{}", ended.stderr);
    assert!(!ended.stderr.contains("is not found any more"), "{}", ended.stderr);
    place.callrec(&["verify"]).expect(0);
}

#[test]
fn a_damaged_capture_is_refused_once_and_what_stands_before_the_damage_kept() {
    let (one, two) = (body(&[1]), body(&[2]));
    let good = file("deflate", &[&[Some(&one)], &[Some(&two)]]);
    let head = header(EVENT, "deflate").len();
    let last = good.len() - 1;
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 0xff;
        bytes
    };
    let unknown = header(EVENT, "bzip2");
    let other = header(r#"{"type":"record","name":"Other","fields":[{"name":"Body","type":"long"}]}"#, "null");
    let short = [header(EVENT, "null"), block("null", 2, &event(1, Some(&one)))].concat();
    let rest =
        [header(EVENT, "null"), block("null", 1, &[event(1, Some(&one)), event(2, Some(&two))].concat())].concat();
    // The size of the first block, which is stored in two bytes.
    let mut long = good.clone();
    long[head + 2] += 1;
    let rows: [(&str, Vec<u8>, u64, &str); 9] = [
        ("the end of the last block", flipped(last), 1, "damaged-archive"),
        ("the end of the header", flipped(head - 1), 0, "damaged-archive"),
        ("a block", flipped(head + 4), 0, "damaged-archive"),
        ("the size of a block", long, 0, "damaged-archive"),
        ("the first byte", flipped(0), 0, "damaged-archive"),
        ("fewer events than it says", short, 1, "damaged-archive"),
        ("more events than it says", rest, 1, "damaged-archive"),
        ("packed in an unknown way", unknown, 0, "not-a-capture"),
        ("another schema", other, 0, "not-a-capture"),
    ];
    let graph = graph();
    for (name, damaged, before, reason) in rows {
        let place = place(&graph.endpoint());
        capture(&place, 0, "10/00/00", &damaged);
        capture(&place, 0, "10/05/00", &file("deflate", &[&[Some(&body(&[9]))]]));
        let (ended, exported, _) = run(&place, 3);
        assert_eq!((exported, reasons(&place)), (before + 1, vec![reason.to_owned()]), "{name}: {}", ended.stderr);
        let (ended, exported, read) = run(&place, 0);
        assert_eq!((exported, read, reasons(&place).len()), (0, 0, 1), "{name}: {}", ended.stderr);
        // Copied once more, as it should have been.
        capture(&place, 0, "10/00/00", &good);
        let (ended, exported, _) = run(&place, 0);
        assert_eq!(exported, 2 - before, "{name}: {}", ended.stderr);
    }
}

/// One file and the cursors of the collect before.
struct Log {
    directory: tempfile::TempDir,
    cursors: Vec<LogCursor>,
}

impl Log {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), cursors: Vec::new() }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("00.avro")
    }

    fn collect(&mut self) -> Collected {
        let settings = Settings {
            patterns: vec![self.path()],
            client_state: None,
            other_client_states: Vec::new(),
            tenant_id: None,
            max_line_bytes: 1 << 20,
        };
        let collected = collect(&settings, &self.cursors).unwrap();
        self.cursors.clone_from(&collected.cursors);
        collected
    }

    fn of(&mut self, bytes: &[u8]) -> Collected {
        fs::write(self.path(), bytes).unwrap();
        self.collect()
    }
}

fn calls(collected: &Collected) -> Vec<String> {
    collected.notifications.iter().map(|notification| notification.call_id.to_string()).collect()
}

#[test]
fn a_capture_that_grows_is_read_block_by_block() {
    let (one, two, three) = (body(&[1]), body(&[2, 3]), body(&[4]));
    for codec in CODECS {
        let whole = file(codec, &[&[Some(&one), Some(&two)], &[Some(&three), None]]);
        let first = file(codec, &[&[Some(&one), Some(&two)]]).len();
        for cut in 0..=whole.len() {
            let mut log = Log::new();
            let mut found = log.of(&whole[..cut]);
            let expected = if cut == whole.len() {
                4
            } else if cut >= first {
                3
            } else {
                0
            };
            assert_eq!((found.notifications.len(), found.rejected.len()), (expected, 0), "{codec} cut at {cut}");
            let rest = log.of(&whole);
            assert_eq!((rest.rejected.len(), rest.gaps.len()), (0, 0), "{codec} cut at {cut}");
            found.notifications.extend(rest.notifications);
            assert_eq!(calls(&found), [1, 2, 3, 4].map(call_id), "{codec} cut at {cut}");
            assert_eq!(log.collect().read, 0);
        }
    }
}

#[test]
fn captures_of_another_writer_are_read() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/capture");
    for codec in CODECS {
        let found = Log::new().of(&fs::read(directory.join(format!("{codec}.avro"))).unwrap());
        assert_eq!((calls(&found), found.rejected), ([1, 2, 3, 4].map(call_id).to_vec(), vec![]), "{codec}");
    }
    let found = Log::new().of(&fs::read(directory.join("empty.avro")).unwrap());
    assert_eq!((found.read, found.rejected, found.gaps), (0, vec![], vec![]));
}

/// A source of numbers that depends on its seed alone.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 20) % limit as u64) as usize
    }
}

#[test]
fn changed_bytes_end_with_notifications_or_a_reason() {
    let bodies = [body(&[1]), body(&[2, 3]), body(&[4])];
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let (mut refused, mut whole) = (0, 0);
    let mut log = Log::new();
    for round in 0..2000 {
        let codec = CODECS[round % CODECS.len()];
        let mut bytes = file(codec, &[&[Some(&bodies[0]), None, Some(&bodies[1])], &[Some(&bodies[2])]]);
        for _ in 0..=dice.below(3) {
            let at = dice.below(bytes.len());
            match dice.below(5) {
                0 => bytes[at] ^= 1 << dice.below(8),
                1 => bytes[at] = [0x00, 0x7f, 0x80, 0xff][dice.below(4)],
                2 => drop(bytes.drain(at..(at + 1 + dice.below(8)).min(bytes.len()))),
                3 => bytes.splice(at..at, std::iter::repeat_n(0xff, 1 + dice.below(9))).for_each(drop),
                _ => bytes.truncate(at + 1),
            }
        }
        log.cursors.clear();
        let found = log.of(&bytes);
        assert!(found.read <= 200 && found.gaps.is_empty(), "round {round}: {found:?}");
        refused += usize::from(!found.rejected.is_empty());
        whole += usize::from(calls(&found) == [1, 2, 3, 4].map(call_id));
        assert_eq!(log.collect().rejected, [], "round {round}");
    }
    assert!(refused > 500 && whole > 50, "{refused} refused, {whole} whole");
}

/// A schema whose first field has that type and whose second is the body.
fn schema(first: &str) -> String {
    format!(
        r#"{{"type":"record","name":"E","fields":[{{"name":"First","type":{first}}},{{"name":"Body","type":["null","bytes"]}}]}}"#
    )
}

#[test]
fn files_that_are_made_to_take_time_or_memory_are_refused() {
    // Forty levels of records, each of two of the next: 2^40 values of no byte.
    let doubled = (0..40).fold("\"null\"".to_owned(), |inner, level| {
        format!(
            r#"{{"type":"record","name":"R{level}","fields":[{{"name":"a","type":{inner}}},{{"name":"b","type":{}}}]}}"#,
            if level == 0 { "\"null\"".to_owned() } else { format!("\"R{}\"", level - 1) }
        )
    });
    let endless = r#"{"type":"record","name":"R","fields":[{"name":"a","type":"R"}]}"#;
    let nulls = r#"{"type":"array","items":"null"}"#;
    let deep = format!("{}\"null\"{}", r#"{"type":"array","items":"#.repeat(5000), "}".repeat(5000));
    let many: Vec<u8> = number(i64::MAX).repeat(1000);
    let with = |first: &str, codec: &str, count: i64, events: &[u8]| {
        [header(&schema(first), codec), block(codec, count, events)].concat()
    };
    let claims = |packed: Vec<u8>| [header(EVENT, "snappy"), number(1), bytes(&packed), SYNC.to_vec()].concat();
    let rows: Vec<(&str, Vec<u8>)> = vec![
        ("doubled", with(&doubled, "null", 1, &[0])),
        ("endless", with(endless, "null", 1, &[0])),
        ("arrays of nulls", with(nulls, "null", 1, &many)),
        ("nested beyond measure", with(&deep, "null", 1, &[0])),
        ("so many events", with("\"null\"", "null", i64::MAX, &[0])),
        ("a negative number of events", with("\"null\"", "null", -1, &[0])),
        ("a block of more than there is", [header(EVENT, "null"), number(1), number(i64::MAX), vec![0; 99]].concat()),
        ("a body of more than there is", with("\"null\"", "null", 1, &[number(1), number(i64::MAX)].concat())),
        (
            "a fixed one of all bytes",
            with(r#"{"type":"fixed","name":"F","size":18446744073709551615}"#, "null", 1, &[0]),
        ),
        (
            "a map whose block has all bytes",
            with(r#"{"type":"map","values":"int"}"#, "null", 1, &[number(-1), number(i64::MAX)].concat()),
        ),
        ("metadata of all bytes", [b"Obj\x01", &number(1)[..], &number(i64::MAX)[..], &[0; 9]].concat()),
        ("metadata without end", [b"Obj\x01", &number(i64::MIN)[..], &number(0)[..], &[0; 3 << 20]].concat()),
        ("4 GiB of Snappy", claims(vec![0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0, 0, 0])),
        ("more than a block may be", with("\"null\"", "zstandard", 1, &vec![0; 129 << 20])),
    ];
    for (name, bytes) in rows {
        let found = Log::new().of(&bytes);
        assert_eq!((found.read, found.rejected.len()), (1, 1), "{name}");
    }
}
