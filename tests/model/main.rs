//! The commit protocol explored as a state machine: see docs/model.md.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::print_stdout)]

mod protocol;

use protocol::explore::explore;
use protocol::world::CONFIGURATIONS;

#[test]
fn the_protocol_keeps_its_promise_in_every_configuration() {
    for around in CONFIGURATIONS {
        let explored = explore(around, &[]);
        assert!(explored.counterexample.is_none(), "{}: {:#?}", around.name, explored.counterexample);
        println!("{}: {} states", around.name, explored.states);
    }
}
