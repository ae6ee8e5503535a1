//! Runs, merges and readers at the same time.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests fail by panics and read files as they like")]

mod support;

use arrow::array::AsArray;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use support::{Graph, Place, call_id, days_ago, record};

const CALLS: u32 = 20;

fn place(graph: &Graph) -> Place {
    for n in 0..CALLS {
        graph.put(&record(&call_id(n), 1, days_ago(i64::from(n % 3) + 1), 3));
    }
    let place = Place::new(&graph.endpoint(), "batch_records = 4\n");
    notify(&place);
    place
}

fn notify(place: &Place) {
    place.notify((0..CALLS).map(call_id).collect::<Vec<_>>().iter().map(String::as_str));
}

#[test]
fn of_ten_runs_at_once_one_works_and_the_others_say_so() {
    let graph = Graph::empty();
    let place = place(&graph);
    let children: Vec<_> =
        (0..10).map(|_| place.command(&["run"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()).collect();
    let codes: Vec<_> = children.into_iter().map(|mut child| child.wait().unwrap().code()).collect();
    assert!(codes.iter().all(|code| matches!(code, Some(0 | 75))), "{codes:?}");
    assert!(codes.contains(&Some(0)), "{codes:?}");
    place.callrec(&["run"]).expect(0);
    let ids = place.column("calls", "call_id");
    assert_eq!((ids.len(), ids.iter().collect::<BTreeSet<_>>().len()), (CALLS as usize, CALLS as usize));
    place.callrec(&["verify"]).expect(0);
}

/// The rows per call of a table in the files that a listing names; `None` if one
/// of them is gone before it is opened.
fn read(place: &Place, table: &str) -> Option<BTreeMap<String, usize>> {
    let mut paths: Vec<PathBuf> = Vec::new();
    for date in std::fs::read_dir(place.root().join(table)).unwrap() {
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

#[test]
fn readers_see_whole_files_and_every_call_while_runs_publish_and_merge() {
    let graph = Graph::empty();
    let place = place(&graph);
    place.callrec(&["run"]).expect(0);
    let (done, readings) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for table in ["calls", "sessions"] {
            let (place, done, readings) = (&place, &done, &readings);
            scope.spawn(move || {
                let rows_of_a_call = if table == "calls" { 1 } else { 3 };
                while !done.load(Ordering::Relaxed) {
                    let Some(rows) = read(place, table) else { continue };
                    readings.fetch_add(1, Ordering::Relaxed);
                    assert_eq!(rows.len(), CALLS as usize, "{table}: a call is missing");
                    for (id, rows) in rows {
                        // Once, or twice while a merge has not removed its inputs.
                        assert!(rows == rows_of_a_call || rows == 2 * rows_of_a_call, "{table}: {id} has {rows} rows");
                    }
                }
            });
        }
        let _done = Done(&done);
        for version in 2..6 {
            for n in 0..CALLS {
                graph.put(&record(&call_id(n), version, days_ago(i64::from(n % 3) + 1), 3));
            }
            notify(&place);
            for command in ["run", "compact", "rebuild"] {
                place.callrec(&[command]).expect(0);
            }
        }
    });
    assert!(readings.load(Ordering::Relaxed) > 0, "no reading came to its end");
    place.callrec(&["verify"]).expect(0);
}
