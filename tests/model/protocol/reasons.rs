//! Why the torture on a real disk finds some syncs and some orders harmless: the
//! mutation of the model that stands for each, and what the model says of it.

use super::rules::Rule;
use super::verdicts::{MUTATIONS, Verdict};

/// Classes of syncs as docs/torture.md names them, and the rule of each.
const CLASSES: &[(&str, Rule)] = &[
    ("<table>", Rule::MadeInTable),
    ("_callrec", Rule::MadeInState),
    ("_callrec/commits", Rule::MarkDirectory),
    ("_callrec/commits/nn.tmp", Rule::MarkFile),
    ("_callrec/spool", Rule::MadeInSpools),
    ("_callrec/spool/nn", Rule::IntentDirectory),
    ("_callrec/spool/nn/intent.tmp", Rule::IntentFile),
    ("_callrec/staging", Rule::MadeInStagings),
    ("_callrec/staging/nn", Rule::MadeInStaging),
    ("_callrec/staging/nn/<table>", Rule::MadeInStagedTable),
    ("_callrec/staging/nn/ledger", Rule::MadeInStagedTable),
    ("_callrec/staging/nn/raw", Rule::MadeInStagedTable),
    ("ledger", Rule::MadeInTable),
    ("raw", Rule::MadeInTable),
    ("the root", Rule::MadeInRoot),
];

/// Stages as docs/torture.md names them, and the rule of their order.
const ORDERS: &[(&str, &str, Rule)] = &[
    ("recover", "spool", Rule::RecoverThenSpool),
    ("spool", "staging", Rule::SpoolThenStaging),
    ("staging", "commit record", Rule::StagingThenCommit),
    ("commit record", "publish quarantine", Rule::CommitThenQuarantine),
    ("publish quarantine", "publish raw", Rule::QuarantineThenRaw),
    ("publish raw", "publish children", Rule::RawThenChildren),
    ("publish children", "publish calls", Rule::ChildrenThenCalls),
    ("publish calls", "publish ledger", Rule::CallsThenLedger),
    ("publish ledger", "remove", Rule::LedgerThenRemove),
    ("remove", "sync of directories", Rule::RemoveThenSync),
    ("sync of directories", "mark", Rule::SyncThenMark),
    ("mark", "clean-up", Rule::MarkThenClean),
    ("clean-up", "staging", Rule::CleanThenStaging),
    // A merge has no spool: what it finds at start to be done is a clean-up.
    ("recover", "staging", Rule::CleanThenStaging),
];

/// The mutation that leaves out a class of syncs, and why it is harmless or what
/// the model finds where the torture finds nothing.
pub fn reason_of(class: &str) -> Option<(&'static str, &'static str)> {
    let is_delta = class.starts_with("_callrec/staging/nn/delta");
    let rule = CLASSES.iter().find(|(name, _)| *name == class).map(|(_, rule)| *rule);
    said_of(rule.or(is_delta.then_some(Rule::DeltaFile))?)
}

/// As [`reason_of`], of two stages that are swapped.
pub fn reason_of_swap(first: &str, then: &str) -> Option<(&'static str, &'static str)> {
    said_of(ORDERS.iter().find(|(a, b, _)| *a == first && *b == then)?.2)
}

fn said_of(rule: Rule) -> Option<(&'static str, &'static str)> {
    let mutation = MUTATIONS.iter().find(|mutation| mutation.off == [rule])?;
    let reason = match mutation.verdict {
        Verdict::Redundant(reason) | Verdict::Unfinished(reason) | Verdict::Covered(reason) => reason,
        Verdict::Caught(fault) => fault.text(),
    };
    Some((rule.text().trim_ascii(), reason))
}
