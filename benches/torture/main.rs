//! The evidence behind docs/reliability.md: kills, failing system calls, power
//! loss and a hostile Graph against the release binary, and the protocol as a
//! state machine.
//!
//! `cargo bench --bench torture -- PART…` runs some parts; `make torture` runs all
//! and writes docs/torture.md. Ends with 1 if anything was lost, doubled, torn or
//! wedged, or a limit was passed.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types
)]

#[path = "../../tests/support/ends.rs"]
mod ends;
mod graph;
mod kills;
mod listen;
#[path = "../../tests/support/listening.rs"]
#[allow(dead_code, reason = "shared with tests")]
mod listening;
mod logs;
mod memory;
mod model;
mod neighbour;
mod power;
#[path = "../support/process.rs"]
#[allow(dead_code, reason = "shared with other benches")]
mod process;
mod rate;
#[path = "../../tests/support/rotating.rs"]
mod rotating;
mod scenario;
#[path = "../../tests/support/side_by_side.rs"]
mod side_by_side;
#[path = "../../tests/support/mod.rs"]
mod support;
mod syscalls;
mod trace;

use side_by_side::side_by_side;

/// Its name, and what prints its section and gives the number of faults.
type Part = (&'static str, fn() -> u64);

const PARTS: [Part; 11] = [
    ("kills", kills::report),
    ("logs", logs::report),
    ("listen", listen::report),
    ("neighbour", neighbour::report),
    ("syscalls", syscalls::report),
    ("power", power::report),
    ("mutations", power::mutations),
    ("model", model::report),
    ("graph", graph::report),
    ("rate", rate::report),
    ("memory", memory::report),
];

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let unknown = wanted.iter().find(|wanted| PARTS.iter().all(|(part, _)| part != wanted));
    assert!(unknown.is_none(), "there is no part {unknown:?}; the parts are {:?}", PARTS.map(|(part, _)| part));
    println!("# Torture\n");
    println!("Made by `make torture`; do not edit. What the parts do and promise stands in reliability.md.\n");
    let chosen = PARTS.iter().filter(|(part, _)| wanted.is_empty() || wanted.iter().any(|wanted| wanted == part));
    let faults: u64 = chosen.map(|(_, report)| report()).sum();
    if faults > 0 {
        eprintln!("{faults} faults");
        std::process::exit(1);
    }
}

/// A number of the environment.
fn number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")),
        Err(_) => default,
    }
}
