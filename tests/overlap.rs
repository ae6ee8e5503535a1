//! Commands and readers at the same time.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests fail by panics and read files as they like")]

#[path = "support/python.rs"]
mod python;
mod support;

use arrow::array::AsArray;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use support::{Graph, Place, call_id, days_ago, record, refused};

const CALLS: u32 = 12;
const SESSIONS: usize = 3;
/// A call that is purged and comes back.
const PURGED: u32 = 7;

/// Serves `version` of every call; each version begins on another date.
fn serve(graph: &Graph, version: u32) {
    for n in 0..CALLS {
        graph.put(&record(&call_id(n), i64::from(version), days_ago(i64::from((n + version) % 3) + 1), SESSIONS));
    }
}

fn place(graph: &Graph) -> Place {
    serve(graph, 1);
    let place = Place::new(&graph.endpoint(), "batch_records = 4\n");
    notify(&place);
    place
}

fn notify(place: &Place) {
    place.notify((0..CALLS).map(call_id).collect::<Vec<_>>().iter().map(String::as_str));
}

fn spawn(place: &Place, arguments: &[&str]) -> Child {
    place.command(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn assert_each_call_once(place: &Place) {
    place.callrec(&["run"]).expect(0);
    let ids = place.column("calls", "call_id");
    assert_eq!((ids.len(), ids.iter().collect::<BTreeSet<_>>().len()), (CALLS as usize, CALLS as usize));
    place.callrec(&["verify"]).expect(0);
}

#[test]
fn of_ten_runs_at_once_one_works_and_the_others_say_so() {
    let graph = Graph::empty();
    let place = place(&graph);
    let children: Vec<_> = (0..10).map(|_| spawn(&place, &["run"])).collect();
    let codes: Vec<_> = children.into_iter().map(|mut child| child.wait().unwrap().code()).collect();
    assert!(codes.iter().all(|code| matches!(code, Some(0 | 75))), "{codes:?}");
    assert!(codes.contains(&Some(0)), "{codes:?}");
    assert_each_call_once(&place);
}

#[test]
fn commands_that_change_the_dataset_take_turns() {
    let graph = Graph::empty();
    let place = place(&graph);
    place.callrec(&["run"]).expect(0);
    for version in 2..4 {
        graph.put(&refused(&call_id(90 + version), days_ago(1)));
        serve(&graph, version);
        notify(&place);
        place.notify([call_id(90 + version).as_str()]);
        let stranger = call_id(80);
        let commands: [&[&str]; 6] =
            [&["run"], &["compact"], &["rebuild"], &["purge", "--call", &stranger], &["quarantine", "retry"], &["run"]];
        let children: Vec<_> = commands.iter().map(|arguments| spawn(&place, arguments)).collect();
        let codes: Vec<_> = children.into_iter().map(|mut child| child.wait().unwrap().code()).collect();
        assert!(codes.iter().all(|code| matches!(code, Some(0 | 3 | 75))), "{codes:?}");
        assert!(codes.iter().any(|code| *code != Some(75)), "{codes:?}");
        let last = place.callrec(&["run"]);
        assert!(matches!(last.code, 0 | 3), "{}", last.stderr);
    }
    assert_each_call_once(&place);
    let versions: BTreeSet<String> = place.column("calls", "version").into_iter().collect();
    assert_eq!(versions, BTreeSet::from(["3".to_owned()]));
}

#[test]
#[cfg(feature = "failpoints")]
fn while_a_run_works_the_others_end_at_once_and_readers_of_state_work() {
    let graph = Graph::empty();
    let place = place(&graph);
    let mut command = place.command(&["run"]);
    command.env("FAILPOINTS", "publish::child=return(wait)").stdout(Stdio::null()).stderr(Stdio::piped());
    let mut holder = command.spawn().unwrap();
    let mut lines = BufReader::new(holder.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line == "crash point publish::child"));
    let call = call_id(1);
    for arguments in
        [&["run"][..], &["run", "--id", &call], &["compact"], &["rebuild"], &["purge", "--call", &call], &["verify"]]
    {
        let ended = place.callrec(arguments).expect(75);
        assert!(ended.stderr.contains("Another callrec works on"), "{arguments:?}: {}", ended.stderr);
    }
    let status = place.callrec(&["status", "--format", "json"]).expect(0).stdout;
    assert!(status.contains("\"newest_commit\":1") && status.contains("\"published\":false"), "{status}");
    place.callrec(&["quarantine", "list"]).expect(0);
    holder.kill().unwrap();
    holder.wait().unwrap();
    assert_each_call_once(&place);
}

/// The rows per call of a table in the files that a listing names; `None` if one
/// of them is gone before it is opened.
fn read(root: &Path, table: &str) -> Option<BTreeMap<String, usize>> {
    let mut paths: Vec<PathBuf> = Vec::new();
    for date in std::fs::read_dir(root.join(table)).unwrap() {
        match std::fs::read_dir(date.unwrap().path()) {
            Ok(files) => paths.extend(files.map(|file| file.unwrap().path())),
            Err(e) if e.kind() == ErrorKind::NotFound => return None,
            Err(e) => panic!("{e}"),
        }
    }
    let mut rows = BTreeMap::new();
    for path in paths {
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == ErrorKind::NotFound => return None,
            Err(e) => panic!("{e}"),
        };
        for batch in ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap() {
            let batch = batch.unwrap();
            for id in batch.column_by_name("call_id").unwrap().as_string::<i32>() {
                *rows.entry(id.unwrap().to_owned()).or_default() += 1;
            }
        }
    }
    Some(rows)
}

/// Lets the readers end, also when the test fails.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Publishes versions of all calls, each on another date than the one before,
/// and merges, rebuilds and purges in between.
fn change(graph: &Graph, place: &Place) {
    let purged = call_id(PURGED);
    for version in 2..4 {
        serve(graph, version);
        notify(place);
        for command in [&["run"][..], &["compact"], &["purge", "--call", &purged], &["rebuild"]] {
            place.callrec(command).expect(0);
        }
    }
    serve(graph, 4);
    notify(place);
    place.callrec(&["run"]).expect(0);
}

/// What the advice of docs/reading.md goes by: the newest commit, if all of it is
/// in place.
fn published(place: &Place) -> Option<u64> {
    #[derive(Deserialize)]
    struct Status {
        newest_commit: u64,
        published: bool,
    }
    let ended = place.callrec(&["status", "--format", "json"]);
    let status: Status = serde_json::from_str(ended.stdout.trim()).ok()?;
    status.published.then_some(status.newest_commit)
}

/// One reading as the advice says; `None` if it has to be repeated.
fn advised(place: &Place) -> Option<()> {
    let before = published(place)?;
    let calls = read(&place.root(), "calls")?;
    let sessions = read(&place.root(), "sessions")?;
    (published(place)? == before).then_some(())?;
    assert!(calls.keys().eq(sessions.keys()), "tables are apart");
    let missing: Vec<u32> = (0..CALLS).filter(|n| !calls.contains_key(&call_id(*n))).collect();
    assert!(missing.is_empty() || missing == [PURGED], "missing: {missing:?}");
    assert!(calls.values().all(|rows| *rows == 1), "{calls:?}");
    assert!(sessions.values().all(|rows| *rows == SESSIONS), "{sessions:?}");
    Some(())
}

#[test]
fn readers_see_whole_files_and_who_follows_the_advice_sees_no_moment_between() {
    let graph = Graph::empty();
    let place = place(&graph);
    place.callrec(&["run"]).expect(0);
    let (done, readings, careful) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for table in ["calls", "sessions"] {
            let (place, done, readings) = (&place, &done, &readings);
            scope.spawn(move || {
                let once = if table == "calls" { 1 } else { SESSIONS };
                while !done.load(Ordering::Relaxed) {
                    let Some(rows) = read(&place.root(), table) else { continue };
                    readings.fetch_add(1, Ordering::Relaxed);
                    for (id, rows) in rows {
                        // Missing, whole, or whole more than once: never a part of a call.
                        assert!(rows % once == 0, "{table}: {id} has {rows} rows");
                    }
                }
            });
        }
        let _done = Done(&done);
        let (place, done, careful) = (&place, &done, &careful);
        scope.spawn(move || {
            while !done.load(Ordering::Relaxed) {
                careful.fetch_add(u64::from(advised(place).is_some()), Ordering::Relaxed);
            }
        });
        change(&graph, place);
    });
    assert!(readings.load(Ordering::Relaxed) > 0, "no reading came to its end");
    advised(&place).expect("nothing is under way");
    assert_each_call_once(&place);
}

#[derive(Debug, Deserialize)]
struct Seen {
    readings: u64,
    faults: Vec<String>,
    most: BTreeMap<String, u64>,
}

#[test]
fn readers_of_analysts_see_no_torn_file_while_runs_publish() {
    let graph = Graph::empty();
    let place = place(&graph);
    place.callrec(&["run"]).expect(0);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/readers/loop.py");
    let mut readers = Vec::new();
    for reader in ["pyarrow", "polars", "polars_one_handle", "duckdb"] {
        let mut child = python::python()
            .arg(&script)
            .arg(place.root())
            .args([reader, &SESSIONS.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().expect(reader).unwrap(), "ready", "{reader}");
        readers.push((reader, child, lines));
    }
    change(&graph, &place);
    for (reader, mut child, mut lines) in readers {
        drop(child.stdin.take());
        let seen: Seen = serde_json::from_str(&lines.next().expect(reader).unwrap()).unwrap();
        assert!(child.wait().unwrap().success(), "{reader}");
        assert!(seen.readings > 2 && seen.faults.is_empty(), "{reader}: {seen:?}");
        assert!(seen.most.values().all(|most| *most <= 3), "{reader}: {seen:?}");
    }
    assert_each_call_once(&place);
}
