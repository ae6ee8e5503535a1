//! The notification log as files: what was notified, and how far it was read.
//!
//! Input: files, directories and globs of JSON Lines or JSON documents, plain,
//! gzip or zstd, or of Avro as Event Hubs Capture writes it, and the cursors of an
//! earlier collect. Output: call ids in the order of the log, what was skipped and
//! refused, and the new cursors. It is a pure function of files and cursors and
//! writes nothing.
//!
//! Refused, with their place: lines that are no notification, items without a
//! call id, and items that do not carry the configured client state. A FIFO or a
//! device ends the run.

mod capture;
mod collect;
mod copies;
mod cursor;
mod ids;
mod item;
mod line;
mod reading;
mod rotation;
mod source;
mod stream;

use crate::call_id::CallId;
use chrono::{DateTime, Utc};
use std::collections::BTreeMap;
use std::path::PathBuf;
use uuid::Uuid;

pub use collect::collect;
pub use cursor::LogCursor;
pub use ids::ids_from_file;
pub use item::{Admission, admit};
pub use line::read_again;

/// Where the log is and what its notifications must carry.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Files, globs and directories, already resolved against the config's
    /// directory.
    pub patterns: Vec<PathBuf>,
    /// The client state that every notification must carry; `None` checks none.
    pub client_state: Option<secrecy::SecretString>,
    /// States that do as well: those of other tenants, for a receiver.
    pub other_client_states: Vec<secrecy::SecretString>,
    /// The tenant whose notifications are taken; `None` takes all.
    pub tenant_id: Option<Uuid>,
    /// The longest line, in decompressed bytes, that is taken.
    pub max_line_bytes: usize,
}

impl Settings {
    /// Whether a run would read a file of that name.
    #[must_use]
    pub fn names(&self, path: &std::path::Path) -> bool {
        source::covered(&self.patterns, path)
    }
}

/// A call record that was created or updated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// The record.
    pub call_id: CallId,
    /// The tenant that the notification names.
    pub tenant_id: Option<Uuid>,
    /// When the subscription that sent it ends or ended.
    pub subscription_expires_at: Option<DateTime<Utc>>,
}

/// Why something in the log is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The client state is missing or not the configured one.
    ClientState,
    /// Not JSON.
    NotJson,
    /// Not UTF-8.
    NotUtf8,
    /// Nested deeper than [`crate::json::MAX_DEPTH`].
    TooDeep,
    /// A line or a document over its limit of bytes.
    TooLong,
    /// JSON, but neither a notification nor a collection of them.
    NotANotification,
    /// Of a call record, but without an id that is a GUID.
    NoCallId,
    /// `resource` and `resourceData` name different records.
    ConflictingIds,
    /// `tenantId` is there but is no GUID.
    TenantId,
    /// The compressed file is damaged from here on.
    Damaged,
    /// Avro without events that have a body, or packed in an unknown way.
    NotACapture,
}

impl Reason {
    /// The stable name.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::ClientState => "client-state",
            Self::NotJson => "not-json",
            Self::NotUtf8 => "not-utf8",
            Self::TooDeep => "too-deep",
            Self::TooLong => "too-long",
            Self::NotANotification => "not-a-notification",
            Self::NoCallId => "no-call-id",
            Self::ConflictingIds => "conflicting-ids",
            Self::TenantId => "tenant-id",
            Self::Damaged => "damaged-archive",
            Self::NotACapture => "not-a-capture",
        }
    }
}

/// Something in the log that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// The log.
    pub file: PathBuf,
    /// Where the line or document begins, in decoded bytes.
    pub offset: u64,
    /// Why.
    pub reason: Reason,
    /// What it was: at most 16 KiB, without client states.
    pub bytes: Vec<u8>,
}

/// What happened to a log whose end may never have been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GapReason {
    /// Neither its name nor its content is there.
    Missing,
    /// Its name has other content, and its own is nowhere.
    Replaced,
    /// Its name has fewer bytes than were read, and its own are nowhere.
    Truncated,
}

impl GapReason {
    /// The stable name.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Replaced => "replaced",
            Self::Truncated => "truncated",
        }
    }
}

/// A log that vanished before its end was known to be read. Reported once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The log, by its last name.
    pub file: PathBuf,
    /// What happened to it.
    pub reason: GapReason,
}

/// What was read from all logs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// In the order of the log, not deduplicated.
    pub notifications: Vec<Notification>,
    /// How many items were read: those taken, skipped and refused. A line that
    /// is refused whole counts as one.
    pub read: u64,
    /// How many were skipped: `validation`, `lifecycle`, `other-resource`,
    /// `other-tenant`, `deleted`.
    pub skipped: BTreeMap<&'static str, u64>,
    /// What was refused.
    pub rejected: Vec<Rejected>,
    /// Logs that vanished.
    pub gaps: Vec<Gap>,
    /// The new cursor of every log. Replaces all that came in.
    pub cursors: Vec<LogCursor>,
    /// There is more to be read: so much was refused that memory would not do.
    pub more: bool,
    /// What the refused parts weigh, in bytes.
    refused_bytes: usize,
}

impl Collected {
    /// Whether no more is read in this run.
    const fn is_full(&self) -> bool {
        self.refused_bytes >= MOST_REFUSED_BYTES
    }
}

/// Most that is refused in one collect, in bytes, with [`REFUSED_BYTES`] for each
/// part: what goes to quarantine is held until the commit.
const MOST_REFUSED_BYTES: usize = 64 << 20;
/// What a refused part weighs beside its bytes.
const REFUSED_BYTES: usize = 512;

#[cfg(test)]
mod tests;
