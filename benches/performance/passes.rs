//! Passes over records in memory on one thread: what the parser and the careful mode cost.

use crate::floor::{cpu, skip_serde, skip_sonic};
use crate::process::{MIB, spread};
use callrec::dataset::tables::Tables;
use callrec::flatten::{Flattener, Mode};
use callrec::schema::Catalogue;
use std::fmt::Write;
use std::io::{BufRead, BufReader};
use std::path::Path;

const MEGABYTES: usize = 100;

fn head(path: &Path) -> Vec<Vec<u8>> {
    let mut bytes = 0;
    let lines = BufReader::new(std::fs::File::open(path).unwrap()).split(b'\n').map(Result::unwrap);
    lines
        .take_while(|line| {
            bytes += line.len();
            bytes <= MEGABYTES * 1_000_000
        })
        .collect()
}

pub fn report(out: &mut String, path: &Path, rounds: usize) {
    let lines = head(path);
    let bytes: usize = lines.iter().map(Vec::len).sum();
    let tables = Tables::new(Catalogue::embedded()).unwrap();
    let flatten = |mode: Mode| {
        let mut flattener = Flattener::with_mode(tables.plan.clone(), mode);
        for line in &lines {
            flattener.push(line).unwrap();
            if flattener.buffered_bytes() as f64 > 8.0 * MIB {
                std::hint::black_box(flattener.flush().unwrap());
            }
        }
        std::hint::black_box(flattener.flush().unwrap());
    };
    type Pass<'a> = (&'static str, Box<dyn Fn() + 'a>);
    let all: [Pass<'_>; 5] = [
        ("parse and skip, sonic-rs", Box::new(|| assert!(lines.iter().all(|line| skip_sonic(line))))),
        ("parse and skip, serde_json", Box::new(|| assert!(lines.iter().all(|line| skip_serde(line))))),
        ("flatten", Box::new(|| flatten(Mode::Fast))),
        ("flatten, careful mode for every record", Box::new(|| flatten(Mode::CarefulOnly))),
        ("tree of serde_json values, then dropped", Box::new(|| assert!(lines.iter().all(|line| tree(line))))),
    ];
    let mut times = vec![Vec::new(); all.len()];
    for round in 1..=rounds {
        eprintln!("passes in memory, round {round} of {rounds}");
        for ((_, pass), times) in all.iter().zip(&mut times) {
            let begun = cpu();
            pass();
            times.push(cpu() - begun);
        }
    }
    let medians: Vec<f64> = times.into_iter().map(|of| spread(of.into_iter()).median).collect();
    writeln!(
        out,
        "## Flattening in memory\n\nThe first {} records, {:.0} MB, on one thread and in one process: no file is read or written, nothing is encoded.\n\n\
         | pass | MB per CPU s | x parse and skip of sonic-rs |\n|---|--:|--:|",
        lines.len(),
        bytes as f64 / 1e6
    )
    .unwrap();
    for ((name, _), seconds) in all.iter().zip(&medians) {
        writeln!(out, "| {name} | {:.0} | {:.2} |", bytes as f64 / 1e6 / seconds, seconds / medians[0]).unwrap();
    }
    writeln!(out).unwrap();
}

#[expect(clippy::disallowed_types, reason = "what the job never does, as a comparison")]
fn tree(line: &[u8]) -> bool {
    serde_json::from_slice::<serde_json::Value>(line).is_ok()
}
