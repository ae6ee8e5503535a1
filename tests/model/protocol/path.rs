//! The names below the root, and which directory each stands in.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

/// What a file belongs to, in the order of publishing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Table {
    /// Items that were refused.
    Quarantine,
    /// The archive.
    Raw,
    /// One table below `calls`.
    Child,
    /// The table `calls`.
    Calls,
    /// The ledger.
    Ledger,
}

/// A file or directory. Numbers are those of commits; dates are 0 and 1.
#[derive(Clone, Copy, Debug)]
pub enum Path {
    /// The root.
    Root,
    /// `_callrec`.
    State,
    /// `_callrec/commits`.
    Commits,
    /// `_callrec/spool`.
    Spools,
    /// `_callrec/staging`.
    Stagings,
    /// `_callrec/quarantine`.
    Items,
    /// `<table>`.
    Table(Table),
    /// `<table>/call_date=…`.
    Dated(Table, u8),
    /// `_callrec/commits/<n>.json`.
    Record(u8),
    /// `_callrec/commits/<n>.published`.
    Mark(u8),
    /// `_callrec/commits/<n>.tmp`.
    Temporary(u8),
    /// `_callrec/spool/<n>`.
    Spool(u8),
    /// `_callrec/spool/<n>/intent.json`.
    Intent(u8),
    /// `_callrec/spool/<n>/intent.tmp`.
    IntentTemporary(u8),
    /// `_callrec/spool/<n>/frames`.
    Frames(u8),
    /// `_callrec/staging/<n>`.
    Staging(u8),
    /// `_callrec/staging/<n>/<table>`.
    StagedTable(u8, Table),
    /// `_callrec/staging/<n>/<table>/call_date=…`.
    StagedDate(u8, Table, u8),
    /// A file of commit `n`, of a table and date, under the name of its part.
    Staged(u8, Table, u8, u8),
    /// `_callrec/staging/<n>/delta/…`: rows for a part that is there.
    Delta(u8, Table),
    /// A part, segment or file of items in place.
    Part(Table, u8, u8),
}

impl PartialEq for Path {
    fn eq(&self, other: &Self) -> bool {
        self.code() == other.code()
    }
}

impl Eq for Path {}

impl PartialOrd for Path {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Path {
    fn cmp(&self, other: &Self) -> Ordering {
        self.code().cmp(&other.code())
    }
}

impl Hash for Path {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u32(self.code());
    }
}

impl Path {
    /// A number for each path: they are compared so often that it counts.
    const fn code(self) -> u32 {
        const fn of(kind: u8, number: u8, table: u8, last: u8) -> u32 {
            u32::from_be_bytes([kind, number, table, last])
        }
        match self {
            Self::Root => 0,
            Self::State => of(1, 0, 0, 0),
            Self::Commits => of(2, 0, 0, 0),
            Self::Spools => of(3, 0, 0, 0),
            Self::Stagings => of(4, 0, 0, 0),
            Self::Items => of(5, 0, 0, 0),
            Self::Table(table) => of(6, 0, table as u8, 0),
            Self::Dated(table, date) => of(7, 0, table as u8, date),
            Self::Record(number) => of(8, number, 0, 0),
            Self::Mark(number) => of(9, number, 0, 0),
            Self::Temporary(number) => of(10, number, 0, 0),
            Self::Spool(number) => of(11, number, 0, 0),
            Self::Intent(number) => of(12, number, 0, 0),
            Self::IntentTemporary(number) => of(13, number, 0, 0),
            Self::Frames(number) => of(14, number, 0, 0),
            Self::Staging(number) => of(15, number, 0, 0),
            Self::StagedTable(number, table) => of(16, number, table as u8, 0),
            Self::StagedDate(number, table, date) => of(17, number, table as u8, date),
            Self::Staged(number, table, date, part) => of(18 + date, number, table as u8, part),
            Self::Delta(number, table) => of(20, number, table as u8, 0),
            Self::Part(table, date, part) => of(21, date, table as u8, part),
        }
    }

    /// Whether this directory is there from the beginning where the model does
    /// not look at every directory.
    pub const fn is_fixed(self) -> bool {
        self.code() < 8 << 24
    }

    /// The directory above. Unless `deep`, staging has no directories below
    /// the one of the commit.
    pub const fn parent(self, deep: bool) -> Option<Self> {
        Some(match self {
            Self::Root => return None,
            Self::State | Self::Table(_) => Self::Root,
            Self::Commits | Self::Spools | Self::Stagings | Self::Items => Self::State,
            Self::Dated(table, _) => Self::Table(table),
            Self::Record(_) | Self::Mark(_) | Self::Temporary(_) => Self::Commits,
            Self::Spool(_) => Self::Spools,
            Self::Intent(number) | Self::IntentTemporary(number) | Self::Frames(number) => Self::Spool(number),
            Self::Staging(_) => Self::Stagings,
            Self::StagedTable(number, _) | Self::Delta(number, _) => Self::Staging(number),
            Self::StagedDate(number, table, _) => Self::StagedTable(number, table),
            Self::Staged(number, Table::Quarantine, ..) if deep => Self::StagedTable(number, Table::Quarantine),
            Self::Staged(number, table, date, _) if deep => Self::StagedDate(number, table, date),
            Self::Staged(number, ..) => Self::Staging(number),
            Self::Part(Table::Quarantine, ..) => Self::Items,
            Self::Part(table, date, _) => Self::Dated(table, date),
        })
    }

    /// Whether this is `above` or below it.
    pub fn is_below(self, above: Self, deep: bool) -> bool {
        let mut path = Some(self);
        while let Some(present) = path {
            if present == above {
                return true;
            }
            path = present.parent(deep);
        }
        false
    }

    /// The commit whose spool or staging this is or stands in.
    pub const fn work_of(self) -> Option<u8> {
        match self {
            Self::Spool(n) | Self::Intent(n) | Self::IntentTemporary(n) | Self::Frames(n) => Some(n),
            Self::Staging(n) | Self::StagedTable(n, _) | Self::StagedDate(n, ..) | Self::Staged(n, ..) => Some(n),
            Self::Delta(n, _) => Some(n),
            _ => None,
        }
    }

    /// The commit that this is for, unless it is in place.
    pub const fn number(self) -> Option<u8> {
        match self {
            Self::Record(n) | Self::Mark(n) | Self::Temporary(n) => Some(n),
            _ => self.work_of(),
        }
    }

    /// Whether this is in the spool of a commit.
    pub const fn is_spool(self) -> bool {
        matches!(self, Self::Spool(_) | Self::Intent(_) | Self::IntentTemporary(_) | Self::Frames(_))
    }
}
