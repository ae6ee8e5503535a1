//! The loop of kills on a neighbour, as a baseline: see dlt_loop.py beside this file.

use crate::number;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

const REQUIREMENT: &str = "dlt[filesystem,parquet]==1.31.0";

/// Prints the figures. They are the neighbour's, so that none is a fault here.
pub fn report() -> u64 {
    let kills = number("CALLREC_TORTURE_DLT_KILLS", 300);
    let python = environment();
    let begun = Instant::now();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/torture/dlt_loop.py");
    let output = Command::new(python)
        .arg(script)
        .args([kills.to_string(), 5.to_string()])
        .env("RUNTIME__DLTHUB_TELEMETRY", "false")
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success(), "the baseline ended with {}", output.status);
    let figures: Value = serde_json::from_slice(&output.stdout).unwrap();
    println!("## The same loop on dlt\n");
    println!(
        "`{REQUIREMENT}`, append and incremental, filesystem destination, Parquet; the program beside this one is benches/torture/dlt_loop.py. A run that is left alone and fails three times in a row is wedged: a new dataset begins.\n"
    );
    println!(
        "| kills | datasets | comparisons | lost | doubled | torn | wedged | by |\n|---|---|---|---|---|---|---|---|"
    );
    let figure = |name: &str| figures[name].to_string();
    let names = ["kills", "series", "comparisons", "lost", "doubled", "torn", "wedged", "wedged_by"];
    println!("| {} |\n", names.map(figure).join(" | ").replace(['{', '}', '"'], ""));
    println!("{:.0} s.\n", begun.elapsed().as_secs_f64());
    0
}

/// A virtual environment with the neighbour, made once.
fn environment() -> PathBuf {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dlt");
    let python = home.join("bin/python");
    let has = |python: &Path| {
        let mut import = Command::new(python);
        import.args(["-c", "import dlt, pyarrow"]).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    };
    if !has(&python) {
        eprintln!("dlt: making the Python environment {}", home.display());
        let made = Command::new("python3").args(["-m", "venv"]).arg(&home).status().unwrap();
        assert!(made.success(), "python3 with venv is needed");
        let installed = Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", REQUIREMENT])
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(installed.success(), "{REQUIREMENT} could not be installed");
    }
    python
}
