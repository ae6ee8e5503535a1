//! Whole processes, measured; and figures of several rounds.

use serde::Deserialize;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub const MIB: f64 = 1024.0 * 1024.0;

/// What one run took.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct Run {
    /// Seconds.
    pub wall: f64,
    /// Seconds of all processes, user and system.
    pub cpu: f64,
    /// Bytes.
    pub peak: f64,
    code: i32,
}

pub fn python() -> PathBuf {
    std::env::var_os("CALLREC_BENCH_PYTHON").map_or_else(|| repository().join(".venv-bench/bin/python"), PathBuf::from)
}

pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn script(name: &str) -> PathBuf {
    repository().join("benches/peers").join(name)
}

/// Runs a command to its end; `None` if it failed.
pub fn try_measure<S: AsRef<OsStr>>(command: &[S]) -> Option<Run> {
    let output = Command::new(python())
        .arg(script("measure.py"))
        .args(command)
        .env("RUNTIME__DLTHUB_TELEMETRY", "false")
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    let run: Run =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("measure.py ended with {}", output.status));
    (run.code == 0).then_some(run)
}

pub fn measure<S: AsRef<OsStr> + std::fmt::Debug>(command: &[S]) -> Run {
    try_measure(command).unwrap_or_else(|| panic!("failed: {command:?}"))
}

/// `callrec flatten` into a new directory.
pub fn flatten(input: &Path, output: &Path, threads: usize) -> Run {
    flatten_by(OsStr::new(env!("CARGO_BIN_EXE_callrec")), input, output, threads)
}

/// The same by another build.
pub fn flatten_by(program: &OsStr, input: &Path, output: &Path, threads: usize) -> Run {
    let threads = threads.to_string();
    measure(&[
        program,
        "flatten".as_ref(),
        input.as_os_str(),
        "--output".as_ref(),
        output.as_os_str(),
        "--threads".as_ref(),
        threads.as_ref(),
        "--quiet".as_ref(),
    ])
}

/// Bytes and number of the Parquet files below a directory.
pub fn size(directory: &Path) -> (u64, u64) {
    let mut sum = (0, 0);
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let (bytes, files) = if path.is_dir() {
            size(&path)
        } else if path.extension().is_some_and(|extension| extension == "parquet") {
            (std::fs::metadata(&path).unwrap().len(), 1)
        } else {
            (0, 0)
        };
        sum = (sum.0 + bytes, sum.1 + files);
    }
    sum
}

/// The median of what was measured, with the least and the most.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

pub fn spread(values: impl Iterator<Item = f64>) -> Spread {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    let (low, high) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
    Spread { median: f64::midpoint(low, high), least: sorted[0], most: sorted[sorted.len() - 1] }
}

impl Spread {
    /// `7.58 (7.35–7.60)`; of one value the value.
    pub fn text(&self, digits: usize) -> String {
        if self.least == self.most {
            format!("{:.digits$}", self.median)
        } else {
            format!("{:.digits$} ({:.digits$}–{:.digits$})", self.median, self.least, self.most)
        }
    }
}
