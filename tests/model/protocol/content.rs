//! What files hold, as far as the protocol cares.

use super::mixed::Mixed;
use super::path::{Path, Table};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// How many calls there are.
pub const CALLS: usize = 2;

/// For each call the version that is there; 0 is none.
pub type Versions = [u8; CALLS];

/// A directory or a file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Item {
    /// A directory.
    Directory,
    /// A file and what it holds.
    File(Content),
}

/// What a file holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Content {
    /// Nothing that can be read: its bytes were not synced.
    Torn,
    /// Lines of the log that the run had collected.
    Intent(u8),
    /// Spooled records.
    Frames(Frames),
    /// A commit record.
    Commit(Arc<Written>),
    /// A mark, which is empty.
    Mark,
    /// Rows of a part, records of a segment, or refused records.
    Rows(Versions),
    /// What the ledger says of each call.
    Ledger([Noted; CALLS]),
}

/// What the ledger says of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Noted {
    /// Nothing.
    #[default]
    Unknown,
    /// It is in no commit yet.
    Pending,
    /// It was refused.
    Quarantined,
    /// This version is in the tables.
    Exported(u8),
}

/// A spooled record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Frame {
    /// The call.
    pub call: usize,
    /// Its version.
    pub version: u8,
    /// Whether all its bytes are there.
    pub whole: bool,
}

/// Frames in their order, each record once: a second frame with a version that is
/// there changes nothing, whichever is lost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Frames(pub Vec<Frame>);

impl Frames {
    /// The frames before the first bad one.
    pub fn good(&self) -> Self {
        Self(self.0.iter().take_while(|frame| frame.whole).copied().collect())
    }

    /// Whether the call has a frame.
    pub fn has(&self, call: usize) -> bool {
        self.0.iter().any(|frame| frame.call == call)
    }
}

/// Why a call is in no commit yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pending {
    /// Not asked for yet.
    Due,
    /// Graph answered 404 at this instant; it is asked again later.
    NotFound(u8),
}

/// A file that a commit puts in place.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PutFile {
    /// What it belongs to.
    pub table: Table,
    /// Where it is staged.
    pub staged: Path,
    /// Where it goes.
    pub path: Path,
    /// What it holds; stands for the hash.
    pub content: Content,
}

/// A commit record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Commit {
    /// Its number, from 1.
    pub number: u8,
    /// Lines of the log that are read.
    pub cursor: u8,
    /// Calls that are in no commit yet.
    pub pending: [Option<Pending>; CALLS],
    /// Files put in place, in the order of publishing.
    pub files: Vec<PutFile>,
    /// Files taken away afterwards.
    pub removed: Vec<Path>,
    /// What this commit and those before it put into quarantine: the commit, the
    /// call and its version.
    pub refused: Vec<(u8, usize, u8)>,
}

/// A commit record on disk. Its hash is made once: it is asked for often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    hash: u64,
    /// The commit.
    pub commit: Commit,
}

impl Written {
    /// The record of a commit.
    pub fn new(commit: Commit) -> Arc<Self> {
        let mut mixed = Mixed::default();
        commit.hash(&mut mixed);
        Arc::new(Self { hash: mixed.finish(), commit })
    }
}

impl Hash for Written {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}
