//! Every mutation tried, and the tables that say what came of it.

use super::explore::{self, Explored};
use super::io::Fault;
use super::rules::Rule;
use super::verdicts::{MUTATIONS, Mutation, Verdict};
use super::world::CONFIGURATIONS;
use std::fmt::Write;

/// The protocol as it is, in every configuration.
pub fn unchanged() -> Vec<Explored> {
    CONFIGURATIONS.iter().map(|around| explore::explore(around, &[], explore::LIMIT)).collect()
}

/// What came of a mutation.
pub struct Tried {
    /// What went wrong first, the configuration, and a shortest way to it.
    pub counterexample: Option<(Fault, &'static str, Vec<String>)>,
    /// The configurations that were explored.
    pub explored: Vec<&'static str>,
    /// States in all of them.
    pub states: usize,
    /// Whether all worlds of these were seen, and nothing was wrong in any.
    pub is_whole: bool,
    /// Whether an exploration came to a place where the rules that are off matter.
    pub matters: bool,
}

/// Explores all configurations that come to a place where a rule of the mutation
/// matters, one after the other until something is wrong.
pub fn try_out(mutation: &Mutation, unchanged: &[Explored]) -> Tried {
    let limit = if matches!(mutation.verdict, Verdict::Unfinished(_)) { explore::LIMIT / 10 } else { explore::LIMIT };
    let mut tried = Tried { counterexample: None, explored: Vec::new(), states: 0, is_whole: true, matters: false };
    let matters = |explored: &Explored| mutation.off.iter().any(|rule| explored.asked.has(*rule));
    // Where a rule is kept the model may drop what it is about, unasked.
    let is_unasked = !unchanged.iter().any(matters);
    for (around, before) in CONFIGURATIONS.iter().zip(unchanged) {
        if !matters(before) && !is_unasked {
            continue;
        }
        let explored = explore::explore(around, mutation.off, limit);
        tried.explored.push(around.name);
        tried.states += explored.states;
        tried.is_whole &= explored.is_whole;
        tried.matters |= matters(&explored);
        if let Some((fault, steps)) = explored.counterexample {
            tried.counterexample = Some((fault, around.name, steps));
            return tried;
        }
    }
    tried
}

/// The rules of a mutation in words.
pub fn named(rules: &[Rule]) -> String {
    rules.iter().map(|rule| rule.text().trim()).collect::<Vec<_>>().join("; and ")
}

/// Rules and verdicts, as docs/model.md has them.
pub fn verdicts() -> String {
    let mut table = String::from("| rule switched off, or stages swapped | without it |\n|---|---|\n");
    for mutation in MUTATIONS {
        let verdict = match mutation.verdict {
            Verdict::Caught(fault) => fault.text().to_owned(),
            Verdict::Redundant(reason) => format!("no violation: {reason}"),
            Verdict::Unfinished(reason) => format!("no violation in the states explored, which are not all: {reason}"),
            Verdict::Covered(reason) => format!("nothing is left for it to do: {reason}"),
        };
        let _ = writeln!(table, "| {} | {verdict} |", named(mutation.off));
    }
    table
}

/// Configurations with their bounds and states.
pub fn configurations(explored: &[Explored]) -> String {
    let mut table = String::from("| configuration | bounds | states |\n|---|---|---|\n");
    for (around, explored) in CONFIGURATIONS.iter().zip(explored) {
        let _ = writeln!(table, "| {} | {} | {} |", around.name, around.bounds, explored.states);
    }
    table
}
