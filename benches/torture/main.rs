//! The evidence behind docs/reliability.md: kills, rotating logs, failing system
//! calls and power loss against the release binary.
//!
//! `cargo bench --bench torture -- PART…`, parts `kills`, `logs`, `syscalls`, `power`,
//! `mutations`; `make torture` runs all and writes docs/torture.md. Ends with 1 if anything
//! was lost, doubled, torn or wedged.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types
)]

mod kills;
mod logs;
mod power;
#[path = "../../tests/support/rotating.rs"]
mod rotating;
mod scenario;
#[path = "../../tests/support/mod.rs"]
mod support;
mod syscalls;
mod trace;

const PARTS: [&str; 5] = ["kills", "logs", "syscalls", "power", "mutations"];

fn main() {
    let parts: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let unknown = parts.iter().find(|part| !PARTS.contains(&part.as_str()));
    assert!(unknown.is_none(), "there is no part {unknown:?}; the parts are {PARTS:?}");
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|p| p == part);
    let mut faults = 0;
    println!("# Torture\n");
    println!("Made by `make torture`; do not edit. What the parts do and promise stands in reliability.md.\n");
    if wanted("kills") {
        faults += kills::report();
    }
    if wanted("logs") {
        faults += logs::report();
    }
    if wanted("syscalls") {
        faults += syscalls::report();
    }
    if wanted("power") {
        faults += power::report();
    }
    if wanted("mutations") {
        power::mutations();
    }
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

/// Runs `each` for every item on as many threads as there are cores; the
/// results in the order of the items.
fn side_by_side<T: Sync, R: Send>(items: &[T], each: impl Fn(&T) -> R + Sync) -> Vec<R> {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(index) else { return };
                    let result = each(item);
                    results.lock().unwrap().push((index, result));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap();
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}
