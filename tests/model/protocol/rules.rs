//! Every rule of the protocol that can be switched off.

use std::fmt::{Debug, Formatter, Result};

macro_rules! rules {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// A rule: a sync, an order of two stages, or another one.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Rule {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Rule {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// What the rule says.
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($($doc),+),)+
                }
            }
        }
    };
}

rules! {
    /// sync of the root when a directory is made in it
    MadeInRoot,
    /// sync of `_callrec` when a directory is made in it
    MadeInState,
    /// sync of a table when a date is made in it
    MadeInTable,
    /// sync of `_callrec/spool` when a spool is made
    MadeInSpools,
    /// sync of `_callrec/staging` when a staging is made
    MadeInStagings,
    /// sync of a staging when a table is made in it
    MadeInStaging,
    /// sync of a staged table when a date is made in it
    MadeInStagedTable,
    /// sync of the intent before its rename
    IntentFile,
    /// sync of the spool after the intent's rename
    IntentDirectory,
    /// sync of a staged segment
    StagedRaw,
    /// sync of a staged part
    StagedPart,
    /// sync of a staged ledger part
    StagedLedger,
    /// sync of staged items of the quarantine
    StagedItems,
    /// sync of a delta
    DeltaFile,
    /// sync of the directories of staged files before the commit
    FinishDate,
    /// sync of staged tables above dates before the commit
    FinishTable,
    /// sync of the staging before the commit
    FinishStaging,
    /// sync of `_callrec/staging` before the commit
    FinishStagings,
    /// sync of the commit record before its rename
    RecordFile,
    /// sync of `_callrec/commits` after the record's rename
    RecordDirectory,
    /// sync of the published dates of the archive
    PublishedRaw,
    /// sync of the published dates of the tables
    PublishedDate,
    /// sync of the published dates of the ledger
    PublishedLedger,
    /// sync of the quarantine
    PublishedItems,
    /// sync of the tables above published dates
    PublishedTable,
    /// sync of `_callrec` above the quarantine
    PublishedState,
    /// sync of the root above published tables
    PublishedRoot,
    /// sync of `_callrec/commits` before a commit is published again
    RecordSyncedAgain,
    /// sync of the root and `_callrec` at start, also where a killed run made what is in them
    FoundAtStart,
    /// sync of the mark before its rename
    MarkFile,
    /// sync of `_callrec/commits` after the mark's rename
    MarkDirectory,

    /// recover, then spool
    RecoverThenSpool,
    /// spool, then staging
    SpoolThenStaging,
    /// staging, then commit record
    StagingThenCommit,
    /// commit record, then publish quarantine
    CommitThenQuarantine,
    /// publish quarantine, then publish raw
    QuarantineThenRaw,
    /// publish raw, then publish children
    RawThenChildren,
    /// publish children, then publish calls
    ChildrenThenCalls,
    /// publish calls, then publish ledger
    CallsThenLedger,
    /// publish ledger, then remove
    LedgerThenRemove,
    /// remove, then sync of directories
    RemoveThenSync,
    /// sync of directories, then mark
    SyncThenMark,
    /// mark, then clean-up
    MarkThenClean,
    /// clean-up of the spool, then of staging
    SpoolThenStagingCleaned,
    /// clean-up, then staging of the next commit
    CleanThenStaging,
    /// the new part of a moved call, then the old one
    NewThenOld,
    /// the merged part in place, then its inputs removed
    MergedThenInputs,

    /// the newest commit is published again if it is not marked
    PublishedAgain,
    /// no batch begins before the commit before it is published
    BatchAfterPublish,
    /// older commits count as published whatever marks are there
    OlderArePublished,
    /// a file missing in staging may be in place
    FoundInPlace,
    /// a file in place counts only if its hash agrees
    HashAgrees,
    /// directories are synced also for steps found done
    FoundDoneSynced,
    /// what no row is left of is removed
    OldRowsGo,
    /// while there are frames, their intent is kept
    IntentKept,
    /// a spool without an intent is not used
    IntentNeeded,
    /// frames count up to the first bad one
    FramesCut,
    /// a spooled record with a later notification is asked for again
    AskedIfNotified,
    /// a spooled record named by hand is asked for again
    AskedIfByHand,
    /// where Graph has nothing the spooled record is stored
    SpooledIsStored,
    /// where Graph had nothing for a spooled record its id stays pending
    SpooledStaysPending,
    /// a spooled record that is still to be asked for stays pending
    QueuedStaysPending,
    /// a spooled record that is refused stays pending likewise
    RefusedStaysPending,
    /// spools of other numbers are removed at start
    OtherSpoolsGo,
    /// staging is dropped at start
    StagingDropped,
    /// staging begins empty
    StagingEmptied,
    /// of a call in the batch the highest version counts
    HighestInBatch,
    /// the stored version is looked up over all dates
    AllDatesLookedUp,
    /// only a higher version is taken
    OnlyHigher,
    /// cursor and pending change together
    CursorWithPending,
    /// a run by hand carries the cursor forward as it was
    HandKeepsCursor,
    /// a run by hand carries all pending ids forward
    HandKeepsPending,
    /// a run by hand adds what it could not settle
    HandAddsUnsettled,
    /// a merge waits until no spool is there
    MergeWaitsForSpool,
    /// the merged part has a number of its own
    MergeNumberIsNew,
    /// a rebuild does not take the number of a spool from it
    RebuildWaitsForSpool,
    /// a rebuild reads committed segments only
    RebuildReadsCommitted,
    /// a rebuild takes the highest version over all dates
    RebuildOverAllDates,
}

/// Rules, as a set.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Set(u128);

impl Set {
    /// These rules.
    pub fn of(rules: &[Rule]) -> Self {
        let mut set = Self::default();
        rules.iter().for_each(|rule| set.add(*rule));
        set
    }

    /// Adds one.
    pub const fn add(&mut self, rule: Rule) {
        self.0 |= 1 << rule as u8;
    }

    /// Whether it is in.
    pub const fn has(self, rule: Rule) -> bool {
        self.0 >> rule as u8 & 1 == 1
    }

    /// Whether all of `other` are in.
    pub const fn has_all(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Those of either.
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl Debug for Set {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{:#x}", self.0)
    }
}
