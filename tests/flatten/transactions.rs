//! A record is all there or not at all, whatever came before and after it, and
//! in whichever mode it is read.

use crate::cells::{self, Row};
use crate::flattener;
use crate::random::Records;
use callrec::flatten::{Flattener, Mode, Refused, head};
use callrec::schema::Catalogue;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use std::collections::BTreeMap;

const MODES: [Mode; 2] = [Mode::Fast, Mode::CarefulOnly];

fn records(seed: u64, count: usize) -> Vec<String> {
    let mut records = Records::new(seed);
    (0..count).map(|_| records.next_record()).collect()
}

fn flush(flattener: &mut Flattener) -> Vec<Vec<Row>> {
    cells::rows(&flattener.flush().expect("batches"))
}

fn rows_of<T: AsRef<[u8]>>(mode: Mode, texts: &[T]) -> Vec<Vec<Row>> {
    let mut flattener = flattener(mode);
    for text in texts {
        flattener.push(text.as_ref()).expect("a record");
    }
    flush(&mut flattener)
}

#[test]
fn every_mode_gives_the_same_rows_and_drift() {
    let mut plain_records = 0;
    for seed in 2_000..2_010 {
        let texts = records(seed, 60);
        let [fast, careful] = MODES.map(|mode| {
            let mut flattener = flattener(mode);
            texts.iter().for_each(|text| flattener.push(text.as_bytes()).expect("a record"));
            (flattener.flush().expect("batches"), flattener.take_drift(), flattener.careful_records())
        });
        assert_eq!(fast.0, careful.0, "seed {seed}");
        assert_eq!(fast.1, careful.1, "seed {seed}");
        assert_eq!(careful.2, 60);
        plain_records += 60 - fast.2;
    }
    assert!((1..500).contains(&plain_records), "both modes are used: {plain_records} plain records");
}

#[test]
fn a_refused_record_leaves_nothing() {
    for (seed, mode) in std::iter::zip(2_100..2_106, MODES.into_iter().cycle()) {
        let texts = records(seed, 30);
        let alone = rows_of(mode, &texts);
        let mut flattener = flattener(mode);
        let mut random = seed as usize;
        for text in &texts {
            for _ in 0..3 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let cut = &text.as_bytes()[..(random >> 33) % text.len()];
                let refused = flattener.push(cut).expect_err("half a record");
                assert!([Refused::NotJson, Refused::NotUtf8].contains(&refused), "{refused}");
            }
            let twice = format!("{},\"id\":\"another\"}}", &text[..text.rfind('}').unwrap()]);
            assert_eq!(flattener.push(twice.as_bytes()), Err(Refused::Ambiguous), "{twice}");
            let ended = format!("{},\"startDateTime\":\"never\"}}", &text[..text.rfind('}').unwrap()]);
            assert_eq!(flattener.push(ended.as_bytes()), Err(Refused::Ambiguous), "{ended}");
            flattener.push(text.as_bytes()).expect("a record");
        }
        assert_eq!(flush(&mut flattener), alone, "seed {seed}");
    }
}

#[test]
fn flushes_may_come_anywhere() {
    for (seed, mode) in std::iter::zip(2_200..2_206, MODES.into_iter().cycle()) {
        let texts = records(seed, 40);
        let whole = rows_of(mode, &texts);
        for every in [1, 3, 7, 39] {
            let mut flattener = flattener(mode);
            let mut parts = vec![Vec::new(); whole.len()];
            for part in texts.chunks(every) {
                part.iter().for_each(|text| flattener.push(text.as_bytes()).expect("a record"));
                for (all, rows) in std::iter::zip(&mut parts, flush(&mut flattener)) {
                    all.extend(rows);
                }
            }
            assert_eq!(parts, whole, "seed {seed}, a flush every {every} records");
            assert!(flush(&mut flattener).iter().all(Vec::is_empty));
        }
    }
}

#[test]
fn drift_is_counted_by_path_and_kept_paths_are_none() {
    let record = |rest: &str| format!(r#"{{"id":"a","startDateTime":"2020-02-25T18:52:21Z","version":1{rest}}}"#);
    let counts =
        |known: &[(&str, u64)]| known.iter().map(|&(path, count)| (path.to_owned(), count)).collect::<BTreeMap<_, _>>();
    // What is served, unknown members, unknown enum members, misfits.
    type Case<'a> = (&'a str, &'a [(&'a str, u64)], &'a [(&'a str, u64)], &'a [(&'a str, u64)]);
    let cases: [Case; 10] = [
        ("", &[], &[], &[]),
        (r#","new":1,"empty":{"a":[null,""]},"sessions@odata.count":3"#, &[("new", 1)], &[], &[]),
        (r#","sessions":[{"new":1},{"new":{"a":1}}]"#, &[("sessions[].new", 2)], &[], &[]),
        (r#","type":"conference","modalities":["audio","smell","taste"]"#, &[], &[("modalities", 2), ("type", 1)], &[]),
        (r#","type":7,"endDateTime":"soon""#, &[], &[], &[("endDateTime", 1), ("type", 1)]),
        (r#","organizer":{"user":{"id":"u","new":1}},"organizer_v2":{"identity":{"user":{"id":"u"}}}"#, &[], &[], &[]),
        (r#","participants_v2":[{"id":"u"}],"participants":[{"user":{"id":"u"}}]"#, &[], &[], &[]),
        (r#","sessions":{"a":1}"#, &[], &[], &[("sessions[]", 1)]),
        (r#","sessions":[{},7,null]"#, &[], &[], &[("sessions[]", 1)]),
        (
            r#","sessions":[{"caller":{"feedback":{"tokens":{"a":true,"b":"yes"}}}}]"#,
            &[],
            &[],
            &[("sessions[].caller.feedback.tokens{}", 1)],
        ),
    ];
    for ((rest, unknown, members, misfits), mode) in cases.iter().flat_map(|case| MODES.map(|mode| (case, mode))) {
        let mut flattener = flattener(mode);
        flattener.push(record(rest).as_bytes()).expect("a record");
        let drift = flattener.take_drift();
        assert_eq!(drift.unknown_members, counts(unknown), "{rest}");
        assert_eq!(drift.unknown_enum_members, counts(members), "{rest}");
        assert_eq!(drift.misfits, counts(misfits), "{rest}");
        assert!(flattener.take_drift().is_empty());
    }
}

#[test]
fn the_sample_records_give_the_same_rows_in_every_mode() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/sample_data/records");
    for entry in std::fs::read_dir(directory).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let [fast, careful] = MODES.map(|mode| rows_of(mode, &[&text]));
        assert!(fast == careful, "{text}");
        assert_eq!(fast.len(), Catalogue::embedded().tables.len());
    }
}

/// One change to the bytes of a record.
#[derive(Clone, Debug)]
enum Change {
    Replace(prop::sample::Index, u8),
    Insert(prop::sample::Index, Vec<u8>),
    Remove(prop::sample::Index, usize),
    Repeat(prop::sample::Index, usize),
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<prop::sample::Index>;
    let tokens = prop::sample::select(vec![
        "{", "}", "[", "]", ",", ":", "\"", "\\", "null", "1e999", "-", "\\ud800", "\u{feff}", "\0", "{\"a\":", "[[",
    ]);
    let byte = prop_oneof![any::<u8>(), prop::sample::select(b"{}[],:\"\\0-eE.ntf ".to_vec())];
    prop_oneof![
        (at(), byte).prop_map(|(at, byte)| Change::Replace(at, byte)),
        (at(), tokens).prop_map(|(at, token)| Change::Insert(at, token.as_bytes().to_vec())),
        (at(), 1..40_usize).prop_map(|(at, length)| Change::Remove(at, length)),
        (at(), 1..80_usize).prop_map(|(at, length)| Change::Repeat(at, length)),
    ]
}

fn changed(text: &str, changes: &[Change]) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for change in changes {
        if bytes.is_empty() {
            break;
        }
        match change {
            Change::Replace(at, byte) => *at.get_mut(&mut bytes) = *byte,
            Change::Insert(at, more) => {
                let at = at.index(bytes.len());
                bytes.splice(at..at, more.iter().copied());
            }
            Change::Remove(at, length) => {
                let at = at.index(bytes.len());
                bytes.drain(at..bytes.len().min(at + length));
            }
            Change::Repeat(at, length) => {
                let at = at.index(bytes.len());
                bytes.extend_from_within(at..bytes.len().min(at + length));
            }
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, rng_seed: RngSeed::Fixed(7), ..ProptestConfig::default() })]

    #[test]
    fn changed_records_are_taken_whole_or_refused(seed in 3_000..3_200_u64, changes in prop::collection::vec(change(), 1..4)) {
        let text = records(seed, 1).remove(0);
        let bytes = changed(&text, &changes);
        let outcomes = MODES.map(|mode| {
            let mut flattener = flattener(mode);
            let outcome = flattener.push(&bytes);
            (outcome, flush(&mut flattener))
        });
        prop_assert_eq!(&outcomes[0], &outcomes[1]);
        let [(outcome, tables), ..] = outcomes;
        let is_json = serde_json::from_slice::<&serde_json::value::RawValue>(&bytes).is_ok();
        match outcome {
            Ok(()) => {
                prop_assert!(is_json);
                prop_assert_eq!(tables[0].len(), 1);
                let id = tables[0][0]["call_id"].text().map(str::to_owned);
                prop_assert_eq!(head(&bytes).ok().map(|head| head.call_id), id);
                crate::rebuild::assert_rebuilt(std::str::from_utf8(&bytes).unwrap(), &tables);
            }
            Err(refused) => {
                prop_assert!(tables.iter().all(Vec::is_empty));
                prop_assert!(!is_json || refused != Refused::NotJson);
            }
        }
    }

    #[test]
    fn any_bytes_are_taken_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for mode in MODES {
            let mut flattener = flattener(mode);
            prop_assert!(flattener.push(&bytes).is_err());
            prop_assert!(head(&bytes).is_err());
        }
    }
}
