//! A backlog that lasts for minutes at the published limits: how much of them
//! is used, and how often Graph must refuse.

use crate::number;
use crate::support::{Graph, Place};
use callrec::simulator::Settings;
use std::time::{Duration, Instant};

const SPAN: Duration = Duration::from_secs(20);
const LIMIT: f64 = 1500.0;
const LEAST_SHARE: f64 = 0.97;
const MOST_REFUSED: f64 = 0.005;

/// Prints the figures; the number of faults.
pub fn report() -> u64 {
    let seconds = number("CALLREC_TORTURE_SECONDS", 180);
    // Two requests each: enough for longer than is measured.
    let records = seconds * 1500 / 20 / 2 * 11 / 10 + 100;
    let graph = Graph::start(Settings {
        generate: Some(records),
        max_sessions: 20,
        latency_ms: 20,
        throttle: true,
        ..Settings::default()
    });
    let place = Place::new(&graph.endpoint(), "");
    let ids = graph.simulator.ids();
    place.notify(ids.iter().map(String::as_str));
    let ended = place.callrec(&["-q", "run", "--max-runtime", &format!("{}s", seconds + 5)]);
    let (counts, arrivals) = (graph.simulator.counts(), graph.simulator.arrivals());
    let first = arrivals.first().copied().unwrap_or_else(Instant::now);
    let measured = Duration::from_secs(seconds);
    let inside = arrivals.iter().filter(|at| **at < first + measured).count();
    let spans = measured.as_secs_f64() / SPAN.as_secs_f64();
    let achieved = inside as f64 / spans;
    let share = achieved / LIMIT;
    let refused = counts.throttled as f64 / counts.requests.max(1) as f64;
    println!("## The rate\n");
    println!(
        "A backlog of {records} records for {seconds} s, at the published limits and 20 ms latency; `run` ended with {}:\n",
        ended.code
    );
    println!("| requests per 20 s | share of what is allowed | most in any 20 s | answered with 429 |");
    println!("|---|---|---|---|");
    println!(
        "| {achieved:.0} | {:.1} % | {} | {} of {} |\n",
        share * 100.0,
        most(&arrivals),
        counts.throttled,
        counts.requests
    );
    u64::from(share < LEAST_SHARE) + u64::from(refused >= MOST_REFUSED) + u64::from(ended.code != 75)
}

/// The most requests in any span.
fn most(arrivals: &[Instant]) -> usize {
    let ends = |begin: &Instant| arrivals.partition_point(|at| *at < *begin + SPAN);
    arrivals.iter().enumerate().map(|(index, begin)| ends(begin) - index).max().unwrap_or(0)
}
