//! The program beside its neighbours, in alternation, on the same records.

use crate::corpus::Corpus;
use crate::engine;
use crate::process::{self, Run, Spread, spread};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The argument with which this program runs itself for the columns of the neighbours.
pub const CHILD: &str = "--columns-of-the-peers";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Group {
    Callrec,
    Fast,
    Slow,
}

struct Peer {
    name: &'static str,
    script: &'static str,
    group: Group,
}

const fn peer(name: &'static str, script: &'static str, group: Group) -> Peer {
    Peer { name, script, group }
}

/// Each is a script in benches/peers, whose head says how it goes about it.
const PEERS: [Peer; 8] = [
    peer("callrec flatten", "", Group::Callrec),
    peer("callrec, the peers' columns", CHILD, Group::Callrec),
    peer("DuckDB", "duckdb_peer.py", Group::Fast),
    peer("Polars", "polars_peer.py", Group::Fast),
    peer("pyarrow", "pyarrow_peer.py", Group::Fast),
    peer("pandas", "pandas_peer.py", Group::Slow),
    peer("Spark", "spark_peer.py", Group::Slow),
    peer("dlt", "dlt_peer.py", Group::Slow),
];

/// What one peer took in all rounds.
pub struct Taken {
    pub name: &'static str,
    pub runs: Vec<Run>,
    /// Bytes and files.
    pub size: (u64, u64),
    content: Option<Content>,
    group: Group,
    /// Why there is nothing.
    failed: Option<&'static str>,
}

/// What check.py finds in a dataset.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
struct Content {
    rows: BTreeMap<String, u64>,
    sums: BTreeMap<String, BTreeMap<String, Sum>>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
enum Sum {
    Number(f64),
    Text(String),
}

pub struct Peers {
    pub taken: Vec<Taken>,
    rounds: usize,
    slow_rounds: usize,
}

pub struct Rounds {
    pub fast: usize,
    pub slow: usize,
    /// Or only those whose files can be asked beside callrec's.
    pub all: bool,
}

fn command(peer: &Peer, corpus: &Corpus, output: &Path, schema: &Path, threads: usize) -> Vec<OsString> {
    let text = |given: &dyn AsRef<OsStr>| given.as_ref().to_owned();
    let threads = threads.to_string();
    match peer.script {
        "" => vec![
            text(&env!("CARGO_BIN_EXE_callrec")),
            text(&"flatten"),
            text(&corpus.path),
            text(&"--output"),
            text(&output),
            text(&"--threads"),
            text(&threads),
            text(&"--quiet"),
        ],
        CHILD => {
            vec![
                text(&std::env::current_exe().unwrap()),
                text(&CHILD),
                text(&corpus.path),
                text(&output),
                text(&threads),
            ]
        }
        script => vec![
            text(&process::python()),
            text(&process::script(script)),
            text(&corpus.path),
            text(&output),
            text(&schema),
            text(&engine::ZSTD_LEVEL.to_string()),
            text(&threads),
        ],
    }
}

pub fn measure(corpus: &Corpus, work: &Path, rounds: &Rounds, keep: Option<&Path>) -> Peers {
    let threads = std::thread::available_parallelism().unwrap().get();
    let schema = work.join("schema.json");
    let described = Command::new(env!("CARGO_BIN_EXE_callrec")).args(["schema", "--format", "json"]).output().unwrap();
    std::fs::write(&schema, described.stdout).unwrap();
    let mut all: Vec<Taken> = PEERS
        .iter()
        .map(|peer| Taken {
            name: peer.name,
            runs: Vec::new(),
            size: (0, 0),
            content: None,
            group: peer.group,
            failed: (peer.script == "spark_peer.py" && !has_java()).then_some("not run: no Java"),
        })
        .collect();
    let turn = |peer: &Peer, taken: &mut Taken, counts: bool| {
        let is_asked = peer.script != CHILD && peer.script != "dlt_peer.py";
        if taken.failed.is_some() || !(rounds.all || is_asked) {
            return;
        }
        let output = work.join("peer");
        let Some(run) = process::try_measure(&command(peer, corpus, &output, &schema, threads)) else {
            taken.failed = Some("not measured: it failed");
            eprintln!("FAILED: {}", peer.name);
            std::fs::remove_dir_all(&output).ok();
            return;
        };
        eprintln!("  {}: {:.2} s, CPU {:.2} s, peak {:.0} MiB", peer.name, run.wall, run.cpu, run.peak / process::MIB);
        if counts {
            taken.runs.push(run);
        }
        if taken.content.is_none() {
            taken.size = process::size(&output);
            taken.content = Some(content(&output));
            if let Some(keep) = keep {
                std::fs::create_dir_all(keep).unwrap();
                std::fs::remove_dir_all(kept(keep, peer.name)).ok();
                let moved = Command::new("cp").arg("-r").arg(&output).arg(kept(keep, peer.name)).status().unwrap();
                assert!(moved.success());
            }
        }
        std::fs::remove_dir_all(&output).unwrap();
    };
    for round in 0..=rounds.fast {
        eprintln!(
            "fast peers, {}",
            if round == 0 { "warm-up".to_owned() } else { format!("round {round} of {}", rounds.fast) }
        );
        for (peer, taken) in PEERS.iter().zip(&mut all).filter(|(peer, _)| peer.group != Group::Slow) {
            turn(peer, taken, round > 0);
        }
    }
    for round in 1..=rounds.slow {
        eprintln!("slow peers, round {round} of {}", rounds.slow);
        for (peer, taken) in PEERS.iter().zip(&mut all).filter(|(peer, _)| peer.group == Group::Slow) {
            turn(peer, taken, true);
        }
    }
    Peers { taken: all, rounds: rounds.fast, slow_rounds: rounds.slow }
}

/// Where the output of a peer is kept.
pub fn kept(keep: &Path, name: &str) -> PathBuf {
    keep.join(name.replace([' ', ',', '\''], "_"))
}

fn has_java() -> bool {
    Command::new("java").arg("-version").stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

fn content(output: &Path) -> Content {
    let checked = Command::new(process::python())
        .arg(process::script("check.py"))
        .arg(output)
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(checked.status.success(), "the output cannot be checked");
    serde_json::from_slice(&checked.stdout).unwrap()
}

impl Taken {
    pub fn cpu(&self) -> Spread {
        spread(self.runs.iter().map(|run| run.cpu))
    }
    pub fn wall(&self) -> Spread {
        spread(self.runs.iter().map(|run| run.wall))
    }
    pub fn peak(&self) -> Spread {
        spread(self.runs.iter().map(|run| run.peak / process::MIB))
    }
    /// Over callrec, in each round; of the slow peers over its medians.
    pub fn ratio(&self, callrec: &Self, figure: fn(&Run) -> f64) -> Spread {
        let median = spread(callrec.runs.iter().map(figure)).median;
        let base = |at: usize| if self.group == Group::Slow { median } else { figure(&callrec.runs[at]) };
        spread(self.runs.iter().enumerate().map(|(at, run)| figure(run) / base(at)))
    }
    /// Whether it makes the same tables: it can be told from their sums.
    pub fn has_same_columns(&self) -> bool {
        self.content.as_ref().is_some_and(|content| !content.sums.is_empty())
    }
    pub const fn is_fast(&self) -> bool {
        matches!(self.group, Group::Fast)
    }
}

impl Peers {
    /// What all agree on, and what differs.
    fn agreement(&self) -> String {
        let Some(ours) = &self.taken[0].content else { return "nothing was compared".to_owned() };
        let mut differences = Vec::new();
        let mut counted = Vec::new();
        for taken in &self.taken[1..] {
            let Some(theirs) = &taken.content else { continue };
            for (table, rows) in &ours.rows {
                if theirs.rows.get(table) != Some(rows) {
                    differences.push(format!(
                        "{}: {:?} rows of {table}, not {rows}",
                        taken.name,
                        theirs.rows.get(table)
                    ));
                }
            }
            if theirs.sums.is_empty() {
                counted.push(taken.name);
            }
            for (table, sums) in &theirs.sums {
                for (what, sum) in sums {
                    if ours.sums[table].get(what) != Some(sum) {
                        differences.push(format!("{}: {what} of {table} is {sum:?}", taken.name));
                    }
                }
            }
        }
        let sums: usize = ours.sums.values().map(BTreeMap::len).sum();
        let compared = format!(
            "Compared: the rows of all {} tables, and {sums} sums and counts over their columns{}.",
            ours.rows.len(),
            if counted.is_empty() { String::new() } else { format!(" (of {} the rows alone)", counted.join(", ")) }
        );
        if differences.is_empty() {
            format!("{compared} All are equal.")
        } else {
            format!("{compared} **These differ**: {}.", differences.join("; "))
        }
    }

    pub fn report(&self, out: &mut String) {
        let callrec = &self.taken[0];
        writeln!(
            out,
            "| | wall s | CPU s | peak MiB | output MB | files | x wall | x CPU |\n|---|--:|--:|--:|--:|--:|--:|--:|"
        )
        .unwrap();
        for taken in &self.taken {
            if let Some(why) = taken.failed {
                writeln!(out, "| {} | **{why}** | | | | | | |", taken.name).unwrap();
            } else if !taken.runs.is_empty() {
                writeln!(
                    out,
                    "| {} | {} | {} | {:.0} | {:.1} | {} | {} | {} |",
                    taken.name,
                    taken.wall().text(2),
                    taken.cpu().text(2),
                    taken.peak().most,
                    taken.size.0 as f64 / 1e6,
                    taken.size.1,
                    taken.ratio(callrec, |run| run.wall).text(2),
                    taken.ratio(callrec, |run| run.cpu).text(2),
                )
                .unwrap();
            }
        }
        let slow = if self.slow_rounds == 0 {
            "pandas, Spark and dlt were not run".to_owned()
        } else {
            format!("{} of pandas, Spark and dlt, compared with the medians", self.slow_rounds)
        };
        writeln!(
            out,
            "\nRounds in alternation after a warm-up: {} ({slow}). Medians (least–most); x is the ratio to\n\
             `callrec flatten` in the same round; the peak is the highest of all rounds.\n\n{}\n",
            self.rounds,
            self.agreement()
        )
        .unwrap();
    }
}

/// `name version` of each package that the environment of the peers has.
pub fn versions() -> String {
    let pinned = std::fs::read_to_string(process::repository().join("benches/requirements.txt")).unwrap();
    let names: Vec<&str> = pinned.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
    names.join(", ").replace("==", " ")
}

pub fn child(arguments: &[String]) {
    let [input, output, threads] = arguments else { panic!("{CHILD} INPUT OUTPUT THREADS") };
    engine::convert(&PathBuf::from(input), &PathBuf::from(output), threads.parse().unwrap());
}
