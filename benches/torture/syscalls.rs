//! Every system call of a run that touches files, killed once and failed once.
//!
//! strace injects the fault at the n-th call of a kind, for n from 1 until a run
//! ends without meeting it. It traces the main thread alone: that is the only one
//! that changes files, as the recordings of power loss check.

use crate::scenario::Scenario;
use crate::side_by_side;
use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Calls that change something, and those that look.
const CHANGES: [&str; 11] =
    ["openat", "write", "fsync", "rename", "unlink", "unlinkat", "mkdir", "rmdir", "chmod", "ftruncate", "flock"];
const LOOKS: [&str; 4] = ["read", "statx", "getdents64", "lseek"];
/// The runtime's own descriptors have no disk behind them that could be full; a
/// wake-up that fails may stop it for ever.
const FOREIGN: [&str; 5] = ["anon_inode:", "socket:", "pipe:", "TCP:", "UNIX"];
/// A run that takes longer does not end.
const PATIENCE: Duration = Duration::from_secs(60);
const KILL: (&str, &str) = ("killed", "signal=KILL");
const ENOSPC: (&str, &str) = ("ENOSPC", "error=ENOSPC");
const EIO: (&str, &str) = ("EIO", "error=EIO");

#[derive(Default)]
struct Figures {
    points: u64,
    /// How the disturbed runs ended.
    codes: BTreeMap<i32, u64>,
    faults: u64,
}

/// Prints the figures; the number of faults.
pub fn report() -> u64 {
    let begun = Instant::now();
    let mut jobs = Vec::new();
    for fault in [KILL, ENOSPC, EIO] {
        jobs.extend(CHANGES.map(|call| (call, fault)));
    }
    // A kill at a look leaves the disk as a kill at the next change does.
    jobs.extend(LOOKS.map(|call| (call, EIO)));
    if let Ok(only) = std::env::var("CALLREC_TORTURE_CALLS") {
        jobs.retain(|(call, (fault, _))| only.split(',').any(|one| one == format!("{call}:{fault}") || one == *call));
    }
    let done = side_by_side(&jobs, |&(call, (name, injection))| {
        let figures = every_point(call, injection);
        eprintln!("syscalls: {call} {name}: {} points, {} faults", figures.points, figures.faults);
        figures
    });
    println!("## Every system call\n");
    println!(
        "The n-th call of each kind of a `run` killed, or failed with an error, for every n; then a run recovers:\n"
    );
    println!("| call | fault | points | exit codes of the disturbed run | not recovered |\n|---|---|---|---|---|");
    let (mut points, mut faults) = (0, 0);
    for ((call, (name, _)), figures) in jobs.iter().zip(&done) {
        let codes: Vec<String> = figures.codes.iter().map(|(code, n)| format!("{code}: {n}")).collect();
        println!("| `{call}` | {name} | {} | {} | {} |", figures.points, codes.join(", "), figures.faults);
        points += figures.points;
        faults += figures.faults;
    }
    println!("\n{points} points, {faults} not recovered from; {:.0} s.\n", begun.elapsed().as_secs_f64());
    faults
}

/// How the command ended; `None` if it did not.
fn ended(strace: &mut Command, scenario: &Scenario) -> Option<ExitStatus> {
    let mut child = strace.spawn().expect("strace is installed");
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        if let Some(ended) = child.try_wait().unwrap() {
            return Some(ended);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    // What strace traces does not end with it.
    let _ = Command::new("pkill").args(["-KILL", "-f"]).arg(scenario.place.config()).status();
    let _ = child.wait();
    None
}

fn every_point(call: &str, injection: &str) -> Figures {
    let scenario = Scenario::begin();
    let output = scenario.place.path("strace");
    let mut figures = Figures::default();
    for n in 1.. {
        scenario.restore(&scenario.before);
        let command = scenario.place.command(&["run"]);
        let mut strace = Command::new("strace");
        strace.args(["-qq", "-y", "-e"]).arg(format!("trace={call}")).arg("-e");
        strace.arg(format!("inject={call}:{injection}:when={n}")).arg("-o").arg(&output).arg("--");
        strace.arg(command.get_program()).args(command.get_args()).current_dir(scenario.place.directory.path());
        let ended = ended(strace.stdout(Stdio::null()).stderr(Stdio::null()), &scenario);
        let trace = std::fs::read_to_string(&output).unwrap();
        let failed = trace.lines().find(|line| line.contains("(INJECTED)"));
        let is_foreign = failed.is_some_and(|line| FOREIGN.iter().any(|of| line.contains(of)));
        let Some(ended) = ended else {
            if !is_foreign {
                eprintln!("syscalls: {call} {injection} {n}: does not end");
                figures.faults += 1;
            }
            continue;
        };
        if ended.signal() != Some(9) && failed.is_none() {
            return figures;
        }
        if is_foreign {
            continue;
        }
        figures.points += 1;
        let code = ended.code().unwrap_or(-9);
        *figures.codes.entry(code).or_default() += 1;
        // A run that was not killed says how it ended; 101 is a panic.
        let lied = code == 101 || code == 134;
        if lied {
            eprintln!("syscalls: {call} {injection} {n}: exit code {code}");
        }
        let fault = scenario.fault();
        if let Some(fault) = &fault {
            eprintln!("syscalls: {call} {injection} {n}: {fault}");
        }
        figures.faults += u64::from(fault.is_some() || lied);
    }
    figures
}
