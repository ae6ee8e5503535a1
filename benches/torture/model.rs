//! The commit protocol as a state machine: what the model explored, and what it
//! says of each rule that is switched off.

#[path = "../../tests/model/protocol/mod.rs"]
mod protocol;

use protocol::tried::{configurations, named, try_out, unchanged};
use protocol::verdicts::{MUTATIONS, Verdict};

pub use protocol::reasons::{reason_of, reason_of_swap};

/// Prints what the model found; the number of faults: violations of the protocol
/// as it is, and verdicts that are not those of the table.
pub fn report() -> u64 {
    println!("## The protocol as a state machine\n");
    println!("Every kill and every power loss after every step, also of recoveries, without a bound on how many:\n");
    let explored = unchanged();
    let mut faults = explored.iter().filter(|explored| !explored.is_whole).count() as u64;
    println!("{}", configurations(&explored));
    println!("One rule switched off, or two stages swapped:\n");
    println!("| rule | verdict | configuration | steps of the counterexample | states |\n|---|---|---|---|---|");
    for mutation in MUTATIONS {
        let tried = try_out(mutation, &explored);
        let name = named(mutation.off);
        match &tried.counterexample {
            Some((fault, around, steps)) => {
                println!("| {name} | {} | {around} | {} | {} |", fault.text(), steps.len(), tried.states);
                faults += u64::from(!matches!(mutation.verdict, Verdict::Caught(expected) if expected == *fault));
            }
            None => {
                let verdict = match (tried.matters, tried.is_whole) {
                    (false, _) => "nothing left for it to do",
                    (true, true) => "no violation",
                    (true, false) => "no violation in so many states, which are not all",
                };
                println!("| {name} | {verdict} | {} | | {} |", tried.explored.join(", "), tried.states);
                faults += u64::from(
                    matches!(mutation.verdict, Verdict::Caught(_))
                        || tried.is_whole == matches!(mutation.verdict, Verdict::Unfinished(_)),
                );
            }
        }
    }
    println!();
    faults
}
