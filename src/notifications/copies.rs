//! Copies of a log that stand beside it for a moment: a compressor writes the
//! `.gz` before it removes the original, copytruncate copies before it truncates.

use super::stream::Log;
use crate::error::Result;
use std::path::Path;

/// Whether all that the file at `copy` holds so far begins the file at `log`.
pub(super) fn is_copy(copy: &Path, log: &Path) -> Result<bool> {
    let (Some(mut copy), Some(mut log)) = (Log::open(copy)?, Log::open(log)?) else { return Ok(false) };
    let (mut copy, mut log) = (copy.read_from(0)?, log.read_from(0)?);
    loop {
        let left = copy.chunk()?;
        if left.is_empty() {
            return Ok(true);
        }
        let right = log.chunk()?;
        let count = left.len().min(right.len());
        if count == 0 || left.get(..count) != right.get(..count) {
            return Ok(false);
        }
        copy.consume(count);
        log.consume(count);
    }
}
