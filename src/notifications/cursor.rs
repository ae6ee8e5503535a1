//! How far one log was read, and whether a file is that log.

use super::stream::{HEAD_BYTES, Log};
use crate::error::Result;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::path::Path;

/// How far one log was read. Kept in the commit record as JSON; to others opaque.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct LogCursor {
    /// Its last name.
    pub(super) path: String,
    /// The name that its rotated names begin with.
    pub(super) base: String,
    /// Device and inode, where there are such: a hint.
    pub(super) device: Option<u64>,
    pub(super) inode: Option<u64>,
    /// Size in bytes and time of change, in ns since 1970, as stored.
    pub(super) size: u64,
    pub(super) modified: i64,
    /// SHA-256 in hex of the first min(4 KiB, `offset`) bytes.
    pub(super) head: String,
    /// What was read, in decoded bytes.
    pub(super) offset: u64,
    /// Length and SHA-256 in hex of the last line before `offset`; of a line
    /// over 4 KiB the last 4 KiB; of a document all of it.
    pub(super) last_length: u64,
    pub(super) last_line: String,
    /// Nothing stood behind `offset`.
    pub(super) ended: bool,
    /// No longer the file being written.
    pub(super) rotated: bool,
    /// Quiet since the collect before, while another log went on.
    pub(super) quiet: bool,
    /// A JSON document, not lines.
    pub(super) document: bool,
    /// Whether its content was gzip, zstd or Avro, whatever its name; unknown in older cursors.
    #[serde(default)]
    pub(super) compressed: Option<bool>,
    /// What follows `offset` is damaged or no log, which was refused once.
    #[serde(default)]
    pub(super) damaged: bool,
}

/// SHA-256 in hex.
pub(super) fn hash(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl LogCursor {
    /// Whether the file has the identity that the cursor remembers.
    pub(super) fn same_file(&self, stat: &super::source::Stat) -> bool {
        self.inode.is_some() && self.inode == stat.inode && self.device == stat.device
    }

    /// Whether the stored bytes look untouched since the cursor was made.
    pub(super) fn untouched(&self, stat: &super::source::Stat) -> bool {
        self.same_file(stat) && self.size == stat.size && self.modified == stat.modified
    }

    /// Whether the name is the cursor's.
    pub(super) fn named(&self, path: &Path) -> bool {
        path.to_string_lossy() == self.path
    }

    /// Whether the file's content begins with what the cursor has read.
    pub(super) fn held_by(&self, log: &mut Log) -> Result<bool> {
        if self.offset == 0 {
            // An inode that went from plain to compressed is another file's by now.
            let by_name = || self.path.ends_with(".gz") || self.path.ends_with(".zst");
            return Ok(self.same_file(&log.stat) && self.compressed.unwrap_or_else(by_name) == log.compressed);
        }
        if !log.compressed && log.stat.size < self.offset {
            return Ok(false);
        }
        if hash(&log.head(self.offset.min(HEAD_BYTES))?) != self.head {
            return Ok(false);
        }
        if log.compressed && self.untouched(&log.stat) {
            return Ok(true);
        }
        let mut digest = Sha256::new();
        let whole = log
            .read_from(self.offset - self.last_length.min(self.offset))?
            .pass(self.last_length, |bytes| digest.update(bytes))?;
        Ok(whole && hex(&digest.finalize()) == self.last_line)
    }
}
