//! The same records give the same bytes, whatever way they came.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests fail by panics and write files as they like"
)]

mod support;

use callrec::simulator::generator::{self, Shape};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{Graph, Place};

/// Generated records of the last days, in the order of their index.
fn records(count: u64) -> Vec<Value> {
    let now = support::days_ago(0);
    let shape = Shape { max_sessions: 20, misfits: true };
    (0..count).map(|index| serde_json::from_str(&generator::record(21, index, now, shape).json).unwrap()).collect()
}

fn id(record: &Value) -> String {
    record["id"].as_str().unwrap().to_owned()
}

fn flatten(inputs: &[PathBuf], output: &Path, threads: usize) -> BTreeMap<String, (usize, String)> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_callrec"));
    command.arg("flatten").args(inputs).arg("--output").arg(output).args(["--threads", &threads.to_string()]);
    support::ended(command).expect(0);
    support::record_tables(output)
}

/// Digests without the number of files.
fn digests(tables: BTreeMap<String, (usize, String)>) -> BTreeMap<String, String> {
    tables.into_iter().map(|(name, (_, sha256))| (name, sha256)).collect()
}

#[test]
fn order_batches_threads_and_file_kinds_change_no_byte() {
    let records = records(40);
    let graph = Graph::empty();
    for record in &records {
        graph.put(record);
    }
    let mut tables = Vec::new();
    // All at once; in batches of three and reversed; one by one with runs between.
    for way in 0..3 {
        let place =
            Place::new(&graph.endpoint(), if way == 1 { "batch_records = 3\nthreads = 1\n" } else { "threads = 2\n" });
        let mut ids: Vec<String> = records.iter().map(id).collect();
        if way == 1 {
            ids.reverse();
        }
        let slices: Vec<&[String]> = if way == 2 { ids.chunks(9).collect() } else { vec![&ids] };
        for slice in slices {
            place.notify(slice.iter().map(String::as_str));
            place.callrec(&["run"]).expect(0);
        }
        place.callrec(&["compact"]).expect(0);
        let compacted = place.record_tables();
        let unchanged = place.all_files();
        place.callrec(&["compact"]).expect(0);
        assert_eq!(place.all_files(), unchanged, "a second compact changes nothing");
        place.callrec(&["rebuild"]).expect(0);
        assert_eq!(place.record_tables(), compacted, "way {way}");
        place.callrec(&["verify"]).expect(0);
        tables.push(digests(compacted));
    }
    assert_eq!(tables[0], tables[1]);
    assert_eq!(tables[0], tables[2]);

    // What Graph serves is what the simulator was given, but for annotations.
    let home = tempfile::tempdir().unwrap();
    let lines: Vec<String> = records.iter().map(Value::to_string).collect();
    let (half, rest) = lines.split_at(17);
    let write = |name: &str, bytes: &[u8]| {
        let path = home.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let ndjson = write("a.ndjson", (half.join("\n") + "\n").as_bytes());
    let document = write("b.json", format!("[\n  {}\n]", rest.join(",\n  ")).as_bytes());
    let whole = lines.join("\n");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(whole.as_bytes()).unwrap();
    let gzip = write("c.ndjson.gz", &gzip.finish().unwrap());
    let zstd = write("d.jsonl.zst", &zstd::encode_all(whole.as_bytes(), 1).unwrap());
    let reference = flatten(&[ndjson.clone(), document.clone()], &home.path().join("1"), 1);
    let others = [
        flatten(&[document, ndjson.clone()], &home.path().join("2"), 2),
        flatten(std::slice::from_ref(&gzip), &home.path().join("3"), 3),
        flatten(&[zstd, gzip, ndjson], &home.path().join("4"), 2),
    ];
    for other in others {
        assert_eq!(other, reference);
    }
    assert_eq!(digests(reference), tables[0], "flatten, and run with compact");
}

#[test]
fn flatten_takes_the_latest_version_and_refuses_a_directory_that_is_not_empty() {
    let home = tempfile::tempdir().unwrap();
    let call = support::call_id(1);
    let versions: Vec<String> = [2, 3, 1]
        .iter()
        .map(|v| support::record(&call, *v, support::days_ago(1), usize::try_from(*v).unwrap()).to_string())
        .collect();
    let input = home.path().join("in.ndjson");
    fs::write(&input, versions.join("\n") + "\nno json\n").unwrap();
    let output = home.path().join("out");
    let run = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_callrec"));
        command.arg("flatten").arg(&input).arg("--output").arg(&output);
        support::ended(command)
    };
    let summary = run().expect(3).summary();
    assert_eq!(
        (&summary["records"], &summary["exported"], &summary["quarantined"]),
        (&4.into(), &1.into(), &1.into()),
        "{summary}"
    );
    assert_eq!(support::rows(&output, "sessions", &["call_id"]).len(), 3);
    let again = run().expect(2);
    assert!(again.stderr.contains("not empty"), "{}", again.stderr);
}
