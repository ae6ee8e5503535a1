//! A log that is written, rotated, cut and packed in random order while runs
//! read it: every notified call is exported once, and what was cut unread is
//! reported, then and only then.
#![allow(clippy::unwrap_used, reason = "tests fail by panics")]

#[path = "support/rotating.rs"]
mod rotating;
mod support;

use rotating::Step;
use std::collections::BTreeSet;
use support::{Graph, Place, call_id};

const STEPS: usize = 70;

fn play(seed: u64) -> Vec<Step> {
    let graph = Graph::empty();
    let place = Place::new(&graph.endpoint(), "merge_parts = 1000\n");
    let (log, history) = rotating::play(&graph, &place, seed, STEPS, |log, history, ended| {
        let wanted = if log.gap { 3 } else { 0 };
        assert_eq!(ended.code, wanted, "seed {seed} after {history:?}: {}{}", ended.stdout, ended.stderr);
    });
    let again = place.callrec(&["run"]).expect(0).summary();
    assert_eq!(again["notifications_read"], 0, "seed {seed}: {again}");
    let exported = place.column("calls", "call_id");
    let wanted: BTreeSet<String> = (1..log.next).filter(|n| !log.lost.contains(n)).map(call_id).collect();
    assert_eq!(exported.len(), wanted.len(), "seed {seed}: {history:?}");
    assert_eq!(exported.into_iter().collect::<BTreeSet<_>>(), wanted, "seed {seed}: {history:?}");
    place.callrec(&["verify"]).expect(0);
    history
}

#[test]
fn nothing_is_lost_doubled_or_reported_without_need() {
    let taken: BTreeSet<Step> = std::thread::scope(|scope| {
        let halves: Vec<_> = (0..2)
            .map(|first| scope.spawn(move || (0..3).flat_map(|n| play(2 * n + first)).collect::<Vec<_>>()))
            .collect();
        halves.into_iter().flat_map(|half| half.join().unwrap()).collect()
    });
    assert_eq!(taken.len(), 9, "every kind of step was taken: {taken:?}");
}
