//! The record tables beside those that pandas, pyarrow, Polars and DuckDB make of the
//! same records by the scripts of the bench: the same rows, sums and counts.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "files of a test need no modes, and what is compared is any JSON"
)]

#[path = "support/python.rs"]
mod python;

use callrec::simulator::generator::{self, Shape};
use chrono::{DateTime, Utc};
use python::python;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers").join(name)
}

fn printed(command: &mut Command) -> Vec<u8> {
    let output = command.output().expect("it starts");
    assert!(output.status.success(), "{command:?}:\n{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn checked(dataset: &Path) -> Value {
    serde_json::from_slice(&printed(python().arg(script("check.py")).arg(dataset))).expect("JSON")
}

#[test]
fn four_engines_make_the_same_tables_of_the_same_records() {
    let folder = tempfile::tempdir().expect("a directory");
    let path = |name: &str| folder.path().join(name);
    let now: DateTime<Utc> = "2026-11-20T00:00:00Z".parse().expect("an instant");
    // No value has a wrong type: the typed readers of the engines end at the first one.
    let shape = Shape { misfits: false, ..Shape::default() };
    let lines: String = (0..150).map(|index| generator::record(7, index, now, shape).json + "\n").collect();
    fs::write(path("records.ndjson"), lines).expect("written");
    let callrec = || Command::new(env!("CARGO_BIN_EXE_callrec"));
    fs::write(path("schema.json"), printed(callrec().args(["schema", "--format", "json"]))).expect("written");
    printed(callrec().arg("flatten").arg(path("records.ndjson")).arg("--output").arg(path("callrec")));
    let ours = checked(&path("callrec"));
    let tables = ours["sums"].as_object().expect("sums by table");
    assert_eq!(tables.len(), 8, "{ours}");
    for (table, sums) in tables {
        assert!(sums.as_object().expect("sums").values().all(|sum| sum != "None"), "{table}: {sums}");
    }
    for engine in ["pandas", "pyarrow", "polars", "duckdb"] {
        let output = path(engine);
        let mut command = python();
        command.arg(script(&format!("{engine}_peer.py"))).args([
            &path("records.ndjson"),
            &output,
            &path("schema.json"),
        ]);
        let (zstd_level, threads) = ("3", "2");
        printed(command.args([zstd_level, threads]));
        assert_eq!(checked(&output), ours, "{engine}");
    }
}
