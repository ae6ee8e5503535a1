//! A log that is written, rotated, cut and packed in random order while runs
//! read it: every notified call is exported once, and what was cut unread is
//! reported, then and only then.
#![allow(clippy::unwrap_used, reason = "tests fail by panics")]

#[path = "support/rotating.rs"]
mod rotating;
mod support;

use rotating::{Dice, Rotating, Step, take};
use std::collections::BTreeSet;
use support::{Graph, Place, call_id, days_ago, record};

const STEPS: usize = 70;

fn play(seed: u64) -> Vec<Step> {
    let graph = Graph::empty();
    let place = Place::new(&graph.endpoint(), "merge_parts = 1000\n");
    let mut log = Rotating::new(place.directory.path());
    let (mut dice, mut served, mut history) = (Dice::new(seed), 0, Vec::new());
    for number in 0..STEPS {
        let step = if number + 1 == STEPS { Step::Run } else { dice.step() };
        if step != Step::Run {
            if take(&mut log, step, &mut dice) {
                history.push(step);
            }
            continue;
        }
        history.push(Step::Run);
        if number + 1 == STEPS {
            log.complete();
        }
        while served + 1 < log.next {
            served += 1;
            graph.put(&record(&call_id(served), 1, days_ago(1), 1));
        }
        let ended = place.callrec(&["run"]);
        let wanted = if log.gap { 3 } else { 0 };
        assert_eq!(ended.code, wanted, "seed {seed} after {history:?}: {}{}", ended.stdout, ended.stderr);
        log.ran();
    }
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
