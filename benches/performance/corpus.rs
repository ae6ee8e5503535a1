//! The corpora: generated records, the same bytes on every machine.

use callrec::simulator::generator::{self, Record, Shape};
use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

pub const SEED: u64 = 7;
/// Records that a thread makes at a time.
const PIECE: u64 = 256;

/// A file of records.
pub struct Corpus {
    pub path: PathBuf,
    pub records: u64,
    pub bytes: u64,
}

fn now() -> DateTime<Utc> {
    "2026-11-20T00:00:00Z".parse().unwrap()
}

/// No value has a wrong type: the typed readers of the neighbours end at the first one.
fn record(index: u64, now: DateTime<Utc>, max_sessions: usize) -> Record {
    generator::record(SEED, index, now, Shape { max_sessions, misfits: false })
}

fn write(path: &Path, lines: impl Iterator<Item = String>) -> Corpus {
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path).unwrap());
    let (mut records, mut bytes) = (0, 0);
    for line in lines {
        file.write_all(line.as_bytes()).unwrap();
        file.write_all(b"\n").unwrap();
        records += 1;
        bytes += line.len() as u64 + 1;
    }
    file.flush().unwrap();
    Corpus { path: path.to_owned(), records, bytes }
}

/// The lines of so many records in their order, made on all cores.
fn lines(records: u64, make: impl Fn(u64) -> String + Sync) -> impl Iterator<Item = String> {
    let threads = std::thread::available_parallelism().unwrap().get();
    (0..records).step_by(threads * PIECE as usize).flat_map(move |begin| {
        std::thread::scope(|scope| {
            let make = &make;
            let piece = |thread: u64| {
                let first = (begin + thread * PIECE).min(records);
                scope.spawn(move || (first..(first + PIECE).min(records)).map(make).collect::<Vec<_>>())
            };
            let pieces: Vec<_> = (0..threads as u64).map(piece).collect();
            pieces.into_iter().flat_map(|piece| piece.join().unwrap()).collect::<Vec<_>>()
        })
    })
}

/// The first `records` of the generator, over 25 dates.
pub fn plain(path: &Path, records: u64) -> Corpus {
    let most = Shape::default().max_sessions;
    write(path, lines(records, |index| record(index, now(), most).json))
}

/// The same records moved by whole days, so that they lie on so many dates.
pub fn on_dates(path: &Path, records: u64, dates: u64) -> Corpus {
    let most = Shape::default().max_sessions;
    let first = (now() - TimeDelta::days(31)).date_naive();
    let lines = lines(records, |index| {
        let drawn = record(index, now(), most).start.date_naive();
        let wanted = first + TimeDelta::days(i64::try_from(index % dates).unwrap());
        record(index, now() + (wanted - drawn), most).json
    });
    write(path, lines)
}

#[derive(Deserialize)]
struct Sessions<'a> {
    #[serde(borrow)]
    sessions: Vec<&'a RawValue>,
}

/// Meetings of exactly so many sessions, until there are so many bytes of them.
/// The sessions are those of the generator's records, in their order.
pub fn of_sessions(path: &Path, bytes: u64, sessions: usize) -> Corpus {
    let mut pool: Vec<String> = Vec::new();
    let (mut index, mut written) = (0, 0);
    let lines = std::iter::from_fn(|| {
        let mut head = None;
        while written < bytes {
            let made = record(index, now(), 60).json;
            index += 1;
            let list: Sessions<'_> = serde_json::from_str(&made).unwrap();
            pool.extend(list.sessions.into_iter().map(|session| session.get().to_owned()));
            head.get_or_insert_with(|| {
                let at = made.find("\"sessions\":[").unwrap() + "\"sessions\":[".len();
                made[..at].to_owned()
            });
            if pool.len() >= sessions {
                let line = head.take().unwrap() + &pool.drain(..sessions).collect::<Vec<_>>().join(",") + "]}";
                written += line.len() as u64;
                return Some(line);
            }
        }
        None
    });
    write(path, lines)
}
