//! What comes of each rule that is switched off. The test and the torture hold the
//! model to it.

use super::io::Fault;
use super::rules::Rule;
use Verdict::{Caught, Covered, Redundant, Unfinished};

/// What comes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The first thing that goes wrong.
    Caught(Fault),
    /// Nothing goes wrong within the bounds, and why.
    Redundant(&'static str),
    /// Nothing goes wrong in as many states as are explored, which are not all; and why.
    Unfinished(&'static str),
    /// It never has anything to do while the other rules hold: what does it before.
    /// A row with both off says what it is for.
    Covered(&'static str),
}

/// Rules that are switched off together.
#[derive(Clone, Copy, Debug)]
pub struct Mutation {
    /// The rules.
    pub off: &'static [Rule],
    /// What comes of it.
    pub verdict: Verdict,
}

/// All mutations.
pub static MUTATIONS: &[Mutation] = &[
    Mutation {
        off: &[Rule::MadeInRoot],
        verdict: Redundant(
            "what is renamed into a new directory takes its name along, and the root is synced before the mark and at the next start",
        ),
    },
    Mutation {
        off: &[Rule::MadeInState],
        verdict: Redundant(
            "the next start syncs `_callrec`, and so does the one that made the directories, before it reads them",
        ),
    },
    Mutation {
        off: &[Rule::MadeInTable],
        verdict: Redundant(
            "what is renamed into a new date takes its name along, and the table is synced before the mark",
        ),
    },
    Mutation {
        off: &[Rule::MadeInSpools],
        verdict: Redundant("a spool that is lost costs requests: its ids are asked for again"),
    },
    Mutation {
        off: &[Rule::MadeInStagings],
        verdict: Redundant("`_callrec/staging` is synced again before the commit"),
    },
    Mutation { off: &[Rule::MadeInStaging], verdict: Redundant("the staging is synced again before the commit") },
    Mutation {
        off: &[Rule::MadeInStagedTable],
        verdict: Redundant("the staged table is synced again before the commit"),
    },
    Mutation {
        off: &[Rule::IntentFile],
        verdict: Redundant(
            "an intent that is torn does not parse, and its spool is not used: its ids are asked for again",
        ),
    },
    Mutation {
        off: &[Rule::IntentDirectory],
        verdict: Redundant("without its intent a spool is not used: its ids are asked for again"),
    },
    Mutation { off: &[Rule::StagedRaw], verdict: Caught(Fault::Torn) },
    Mutation { off: &[Rule::StagedPart], verdict: Caught(Fault::Torn) },
    Mutation { off: &[Rule::StagedLedger], verdict: Caught(Fault::Torn) },
    Mutation { off: &[Rule::StagedItems], verdict: Caught(Fault::Torn) },
    Mutation { off: &[Rule::DeltaFile], verdict: Redundant("no commit names a delta: what is made from it is synced") },
    Mutation { off: &[Rule::FinishDate], verdict: Caught(Fault::Wedged) },
    Mutation { off: &[Rule::RecordFile], verdict: Caught(Fault::Wedged) },
    Mutation { off: &[Rule::RecordDirectory], verdict: Caught(Fault::Lost) },
    Mutation { off: &[Rule::PublishedRaw], verdict: Caught(Fault::Lost) },
    Mutation { off: &[Rule::PublishedDate], verdict: Caught(Fault::Torn) },
    Mutation { off: &[Rule::PublishedLedger], verdict: Caught(Fault::Torn) },
    Mutation { off: &[Rule::PublishedItems], verdict: Caught(Fault::Lost) },
    Mutation { off: &[Rule::RecordSyncedAgain], verdict: Caught(Fault::Lost) },
    Mutation { off: &[Rule::FoundAtStart], verdict: Caught(Fault::Wedged) },
    Mutation { off: &[Rule::MarkFile], verdict: Redundant("a mark is empty: its name says all") },
    Mutation {
        off: &[Rule::MarkDirectory],
        verdict: Redundant("without its mark the newest commit is published again, which changes nothing"),
    },
    Mutation { off: &[Rule::RecoverThenSpool], verdict: Caught(Fault::Stale) },
    Mutation {
        off: &[Rule::SpoolThenStaging],
        verdict: Redundant(
            "what is staged before the commit record is dropped at the next start, and what is not spooled is asked for again",
        ),
    },
    Mutation { off: &[Rule::StagingThenCommit], verdict: Caught(Fault::Torn) },
    Mutation { off: &[Rule::CommitThenQuarantine], verdict: Caught(Fault::Doubled) },
    Mutation {
        off: &[Rule::QuarantineThenRaw],
        verdict: Redundant("a publish is done anew to its end before anything reads either"),
    },
    Mutation {
        off: &[Rule::RawThenChildren],
        verdict: Redundant("a publish is done anew to its end before anything reads the archive"),
    },
    Mutation {
        off: &[Rule::ChildrenThenCalls],
        verdict: Redundant(
            "a publish is done anew to its end before a run reads either; readers are told that tables may be a version apart",
        ),
    },
    Mutation {
        off: &[Rule::CallsThenLedger],
        verdict: Redundant("a publish is done anew to its end before a run reads the ledger"),
    },
    Mutation {
        off: &[Rule::LedgerThenRemove],
        verdict: Redundant("a publish is done anew to its end, and what is removed has its successor in place"),
    },
    Mutation { off: &[Rule::RemoveThenSync], verdict: Caught(Fault::Doubled) },
    Mutation { off: &[Rule::SyncThenMark], verdict: Caught(Fault::Lost) },
    Mutation {
        off: &[Rule::MarkThenClean],
        verdict: Redundant("staging is empty by then, and the spool of a commit that stands is not read"),
    },
    Mutation {
        off: &[Rule::SpoolThenStagingCleaned],
        verdict: Redundant("both belong to a commit that is marked: nothing reads either"),
    },
    Mutation {
        off: &[Rule::CleanThenStaging],
        verdict: Redundant("the two belong to different commits, and what is put off is done by the next start"),
    },
    Mutation { off: &[Rule::NewThenOld], verdict: Caught(Fault::Missed) },
    Mutation { off: &[Rule::MergedThenInputs], verdict: Caught(Fault::Missed) },
    Mutation { off: &[Rule::PublishedAgain], verdict: Caught(Fault::Lost) },
    Mutation { off: &[Rule::BatchAfterPublish], verdict: Caught(Fault::Lost) },
    Mutation {
        off: &[Rule::OlderArePublished],
        verdict: Redundant("a mark is durable before the next batch begins, so that no older commit lacks one"),
    },
    Mutation { off: &[Rule::FoundInPlace], verdict: Caught(Fault::Wedged) },
    Mutation { off: &[Rule::FoundDoneSynced], verdict: Caught(Fault::Lost) },
    Mutation { off: &[Rule::OldRowsGo], verdict: Caught(Fault::Doubled) },
    Mutation { off: &[Rule::IntentKept], verdict: Caught(Fault::Stale) },
    Mutation { off: &[Rule::FramesCut], verdict: Caught(Fault::Lost) },
    Mutation { off: &[Rule::AskedIfNotified], verdict: Caught(Fault::Stale) },
    Mutation { off: &[Rule::AskedIfByHand], verdict: Caught(Fault::Stale) },
    Mutation { off: &[Rule::SpooledIsStored], verdict: Caught(Fault::Lost) },
    Mutation { off: &[Rule::SpooledStaysPending], verdict: Caught(Fault::Stale) },
    Mutation { off: &[Rule::QueuedStaysPending], verdict: Caught(Fault::Stale) },
    Mutation { off: &[Rule::RefusedStaysPending], verdict: Caught(Fault::Stale) },
    Mutation { off: &[Rule::HighestInBatch], verdict: Caught(Fault::Stale) },
    Mutation { off: &[Rule::AllDatesLookedUp], verdict: Caught(Fault::Doubled) },
    Mutation { off: &[Rule::OnlyHigher], verdict: Caught(Fault::Doubled) },
    Mutation { off: &[Rule::CursorWithPending], verdict: Caught(Fault::Lost) },
    Mutation { off: &[Rule::HandKeepsCursor], verdict: Caught(Fault::Lost) },
    Mutation { off: &[Rule::HandKeepsPending], verdict: Caught(Fault::Lost) },
    Mutation { off: &[Rule::HandAddsUnsettled], verdict: Caught(Fault::Lost) },
    Mutation { off: &[Rule::MergeWaitsForSpool], verdict: Caught(Fault::Lost) },
    Mutation { off: &[Rule::MergeNumberIsNew], verdict: Caught(Fault::Wedged) },
    Mutation { off: &[Rule::RebuildWaitsForSpool], verdict: Caught(Fault::Lost) },
    Mutation {
        off: &[Rule::RebuildReadsCommitted],
        verdict: Unfinished("the start has dropped what was staged for a commit that was not written"),
    },
    Mutation { off: &[Rule::RebuildOverAllDates], verdict: Caught(Fault::Doubled) },
    Mutation { off: &[Rule::FinishTable], verdict: Covered("a staged table is synced when a date is made in it") },
    Mutation { off: &[Rule::FinishStaging], verdict: Covered("the staging is synced when a table is made in it") },
    Mutation {
        off: &[Rule::FinishStagings],
        verdict: Covered("`_callrec/staging` is synced when a staging is made in it"),
    },
    Mutation { off: &[Rule::PublishedTable], verdict: Covered("a table is synced when a date is made in it") },
    Mutation { off: &[Rule::PublishedState], verdict: Covered("`_callrec` is synced when a directory is made in it") },
    Mutation { off: &[Rule::PublishedRoot], verdict: Covered("the root is synced when a table is made in it") },
    Mutation {
        off: &[Rule::HashAgrees],
        verdict: Covered("what is staged is synced before the commit, so that the file in place is the right one"),
    },
    Mutation {
        off: &[Rule::IntentNeeded],
        verdict: Unfinished("an intent is durable before the first frame is written"),
    },
    Mutation {
        off: &[Rule::OtherSpoolsGo],
        verdict: Unfinished(
            "a spool of another number is never read: a spool begins empty, unless it has an intent of its number",
        ),
    },
    Mutation {
        off: &[Rule::StagingDropped],
        verdict: Unfinished("a staging is emptied when it begins, and nothing else reads one that no commit names"),
    },
    Mutation { off: &[Rule::StagingEmptied], verdict: Unfinished("staging is dropped at start") },
    Mutation { off: &[Rule::MadeInStagedTable, Rule::FinishTable], verdict: Caught(Fault::Wedged) },
    Mutation { off: &[Rule::MadeInState, Rule::FoundAtStart], verdict: Caught(Fault::Wedged) },
    Mutation { off: &[Rule::IntentNeeded, Rule::IntentFile], verdict: Caught(Fault::Stale) },
    Mutation { off: &[Rule::HashAgrees, Rule::FinishDate], verdict: Caught(Fault::Stale) },
    Mutation { off: &[Rule::MadeInStagings, Rule::FinishStagings], verdict: Caught(Fault::Wedged) },
    Mutation {
        off: &[Rule::MadeInTable, Rule::PublishedTable],
        verdict: Redundant("what is renamed into a new date takes its name along"),
    },
    Mutation {
        off: &[Rule::OlderArePublished, Rule::MarkDirectory],
        verdict: Redundant("the sync of the next commit record makes the mark before it durable as well"),
    },
    Mutation { off: &[Rule::MadeInStaging, Rule::FinishStaging], verdict: Caught(Fault::Wedged) },
    Mutation { off: &[Rule::MadeInRoot, Rule::PublishedRoot, Rule::FoundAtStart], verdict: Caught(Fault::Wedged) },
    Mutation { off: &[Rule::IntentNeeded, Rule::IntentDirectory], verdict: Caught(Fault::Stale) },
    Mutation { off: &[Rule::RebuildReadsCommitted, Rule::StagingDropped], verdict: Caught(Fault::Torn) },
];
