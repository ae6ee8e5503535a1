//! docs/performance.md and the figures of its plots.

use crate::Settings;
use crate::corpus::{Corpus, SEED};
use crate::engine;
use crate::floor::Floor;
use crate::growth::{Growth, Point};
use crate::layouts::Layouts;
use crate::peers::{self, Peers, Taken};
use crate::process::{self, Run};
use crate::queries::Queries;
use serde::Serialize;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

/// What can be run, in the order of the text.
pub const SECTIONS: [&str; 5] = ["peers", "queries", "floor", "growth", "memory"];

#[derive(Default)]
pub struct Report {
    pub peers: Option<Peers>,
    pub queries: Option<Queries>,
    pub layouts: Option<Layouts>,
    pub floor: Option<Floor>,
    pub growth: Option<Growth>,
    pub passes: String,
}

/// What plots.py draws.
#[derive(Serialize, Default)]
struct Plots {
    peers: Vec<Bar>,
    growth: Vec<Curve>,
}

#[derive(Serialize)]
struct Bar {
    name: &'static str,
    wall: f64,
    cpu: f64,
    peak: f64,
    size: f64,
}

#[derive(Serialize)]
struct Curve {
    of: &'static str,
    at: Vec<u64>,
    cpu_ms_per_mb: Vec<f64>,
    wall_ms_per_mb: Vec<f64>,
    peak: Vec<f64>,
}

/// One thing that is wanted, and what was measured.
struct Want {
    what: String,
    measured: String,
    holds: bool,
}

fn draw(figures: &Plots, file: &Path, plots: &Path) {
    std::fs::write(file, serde_json::to_vec(figures).unwrap()).unwrap();
    let drawn = Command::new(process::python())
        .arg(process::repository().join("benches/performance/plots.py"))
        .args([file, plots])
        .status()
        .unwrap();
    assert!(drawn.success(), "the plots could not be drawn");
}

impl Report {
    pub fn write(&self, settings: &Settings, corpus: &Corpus) {
        let text = self.markdown(settings, corpus);
        let plots = settings.docs.join("performance");
        std::fs::create_dir_all(&plots).unwrap();
        let figures = self.plots();
        if !(figures.peers.is_empty() && figures.growth.is_empty()) {
            draw(&figures, &settings.work.join("figures.json"), &plots);
        }
        let path = settings.docs.join("performance.md");
        std::fs::write(&path, text).unwrap();
        eprintln!("wrote {}", path.display());
    }

    fn plots(&self) -> Plots {
        let mut plots = Plots::default();
        for taken in self.peers.iter().flat_map(|peers| &peers.taken).filter(|taken| !taken.runs.is_empty()) {
            plots.peers.push(Bar {
                name: taken.name,
                wall: taken.wall().median,
                cpu: taken.cpu().median,
                peak: taken.peak().most,
                size: taken.size.0 as f64 / 1e6,
            });
        }
        if let Some(growth) = &self.growth {
            let curve = |(of, points): (_, &Vec<Point>)| Curve {
                of,
                at: points.iter().map(|point| point.at).collect(),
                cpu_ms_per_mb: points.iter().map(|point| point.per_megabyte(|run| run.cpu).median).collect(),
                wall_ms_per_mb: points.iter().map(|point| point.per_megabyte(|run| run.wall).median).collect(),
                peak: points.iter().map(Point::peak).collect(),
            };
            plots.growth = growth.curves().into_iter().map(curve).collect();
        }
        plots
    }

    fn markdown(&self, settings: &Settings, corpus: &Corpus) -> String {
        let mut out = String::new();
        writeln!(
            out,
            "# Performance\n\n\
             Made by `make bench`; do not edit. Wall times of one machine say little: trust the ratios, which compare runs in\n\
             alternation on the same bytes.\n\n\
             Input: {} generated records (seed {SEED}), {:.0} MB of JSON, no value of a wrong type (the typed readers of the\n\
             neighbours end at the first one). Machine: {} cores, {}. All write zstd level {}.\n",
            corpus.records,
            corpus.bytes as f64 / 1e6,
            std::thread::available_parallelism().unwrap(),
            machine(),
            engine::ZSTD_LEVEL
        )
        .unwrap();
        self.wanted(&mut out);
        if let Some(peers) = &self.peers {
            writeln!(out, "{}", PEERS.replace("VERSIONS", &peers::versions())).unwrap();
            peers.report(&mut out);
            writeln!(out, "![Wall time, CPU time, peak memory and output size of all](performance/peers.svg)\n")
                .unwrap();
        }
        if let Some(queries) = &self.queries {
            queries.report(&mut out);
        }
        if let Some(layouts) = &self.layouts {
            layouts.report(&mut out);
        }
        if let Some(floor) = &self.floor {
            floor.report(&mut out, corpus, settings.rounds.min(5));
        }
        if let Some(growth) = &self.growth {
            growth.report(&mut out);
            writeln!(out, "![Time per MB and peak memory by records, dates and sessions](performance/growth.svg)\n")
                .unwrap();
        }
        out.push_str(&self.passes);
        let missing: Vec<&str> = SECTIONS.into_iter().filter(|section| !settings.has(section)).collect();
        if !missing.is_empty() {
            writeln!(out, "**Not run this time**: {}.\n", missing.join(", ")).unwrap();
        }
        writeln!(out, "The parts one by one, not kept here: `cargo bench --bench parts`.").unwrap();
        out
    }

    fn wanted(&self, out: &mut String) {
        let mut wants = Vec::new();
        if let Some(floor) = &self.floor {
            wants.push(want("CPU over the floor, on two threads", floor.over[1].median, "at most", 1.6));
            wants.push(want("two threads over one thread, wall", floor.speed_up.median, "at least", 1.8));
        }
        if let Some(peers) = &self.peers {
            against(peers, &mut wants);
        }
        for (of, points) in self.growth.iter().flat_map(Growth::curves).take(2) {
            let [first, .., last] = points.as_slice() else { continue };
            for (what, figure) in FIGURES {
                let change = last.change_from(first, figure);
                wants.push(Want {
                    what: format!("{what} per record from {} to {} {of}: within 10 %", first.at, last.at),
                    measured: format!(
                        "{:+.1} % ({:+.1}–{:+.1})",
                        change.median * 100.0,
                        change.least * 100.0,
                        change.most * 100.0
                    ),
                    holds: change.median.abs() <= 0.1,
                });
            }
            wants.push(want(&format!("peak MiB of {} {of}", last.at), last.peak(), "at most", 256.0));
        }
        writeln!(out, "| wanted | measured | |\n|---|--:|---|").unwrap();
        for want in wants {
            let verdict = if want.holds { "yes" } else { "**no**" };
            writeln!(out, "| {} | {} | {verdict} |", want.what, want.measured).unwrap();
        }
        writeln!(out).unwrap();
    }
}

type Figure = fn(&Run) -> f64;
const FIGURES: [(&str, Figure); 2] = [("CPU", |run| run.cpu), ("wall time", |run| run.wall)];

fn want(what: &str, measured: f64, limit: &str, bound: f64) -> Want {
    let holds = if limit == "at most" { measured <= bound } else { measured >= bound };
    Want { what: format!("{what}: {limit} {bound}"), measured: format!("{measured:.2}"), holds }
}

fn against(peers: &Peers, wants: &mut Vec<Want>) {
    let fast: Vec<&Taken> = peers.taken.iter().filter(|taken| taken.is_fast() && !taken.runs.is_empty()).collect();
    for callrec in &peers.taken[..2] {
        let name = callrec.name;
        let least = |ratio: &dyn Fn(&Taken) -> f64| fast.iter().map(|taken| ratio(taken)).fold(f64::INFINITY, f64::min);
        if fast.is_empty() || callrec.runs.is_empty() {
            continue;
        }
        let cpu = least(&|taken| taken.ratio(callrec, |run| run.cpu).median);
        let wall = least(&|taken| taken.ratio(callrec, |run| run.wall).median);
        wants.push(want(&format!("{name}: CPU of the best of DuckDB, Polars, pyarrow over it"), cpu, "at least", 3.2));
        wants.push(want(&format!("{name}: wall time of the best of them over it"), wall, "at least", 2.9));
        if let Some(dlt) = peers.taken.iter().find(|taken| taken.name == "dlt" && !taken.runs.is_empty()) {
            let cpu = dlt.ratio(callrec, |run| run.cpu).median;
            wants.push(want(&format!("{name}: CPU of dlt over it"), cpu, "at least", 25.0));
        }
        wants.push(want(&format!("{name}: peak MiB"), callrec.peak().most, "at most", 256.0));
        let smallest = peers.taken[2..].iter().filter(|taken| taken.has_same_columns()).map(|taken| taken.size.0).min();
        let megabytes = |bytes: u64| bytes as f64 / 1e6;
        wants.push(Want {
            what: format!(
                "{name}: output no larger than the smallest with the same tables, {:.1} MB",
                megabytes(smallest.unwrap_or(0))
            ),
            measured: format!("{:.1} MB", megabytes(callrec.size.0)),
            holds: Some(callrec.size.0) <= smallest,
        });
    }
}

fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    cpu.lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':').map(|(_, name)| name.trim().to_owned()))
        .unwrap_or_else(|| "unknown processor".to_owned())
}

/// What is compared, in words.
const PEERS: &str = "\
## Against its neighbours

VERSIONS. Each is a script in
`benches/peers`, written with the fast idiom of its engine, whole process, all cores. All make the same eight tables in folders by `call_date`, with the columns and types of `callrec schema`: those that come
straight from the record, and the keys and positions of the parents.

What the neighbours are spared: the columns that callrec derives (quality, sender and receiver, counts, kinds and
sources of identities, `extra_json`), losslessness (unknown members and values of a wrong type are dropped or an
error), the latest version of a call that comes twice, rows sorted by the start of the call, bloom filters and page
index, null for `\"\"`, the eight kinds of identity that the corpus has not, and fsync. Of the places that an identity
may be in, they take the first that has the field. Polars and pyarrow know the six feedback tokens beforehand, and only
lengths of the form PT…S. dlt makes its own tables and names: no folders by date, no keys of the parents, lengths as
text, zstd at pyarrow's level (1), which it cannot set. So there are two rows of callrec: the program as it is, and
its library with the columns of the neighbours (and `extra_json`, kinds and sources of identities, which its core
cannot leave out).
";
