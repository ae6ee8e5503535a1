//! The flatten core: bytes of call records in, Arrow record batches out.

mod careful;
mod columns;
mod derive;
mod drift;
mod extra;
mod finish;
mod head;
mod identity;
mod join_url;
mod path;
mod plan;
mod quality;
mod raw;
mod rows;
mod seed;
mod values;
#[cfg(test)]
mod tests;

pub use drift::Drift;
pub use head::{Head, MAX_RECORD_BYTES, Refused, head};
pub use plan::Plan;

use crate::error::Error;
use arrow::array::RecordBatch;
use rows::Buffers;
use std::sync::Arc;

/// Which parser the fast path reads with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Parser {
    /// The faster one.
    #[default]
    Sonic,
    /// The one that careful mode uses too.
    SerdeJson,
    /// No fast path: every record in careful mode. For tests that compare.
    CarefulOnly,
}

/// Records in, batches out. Owns the buffers: one per thread.
#[derive(Debug)]
pub struct Flattener {
    plan: Arc<Plan>,
    parser: Parser,
    buffers: Buffers,
    memory: seed::Memory,
    drift: Drift,
    careful: u64,
}

impl Flattener {
    /// An empty flattener.
    #[must_use]
    pub fn new(plan: Arc<Plan>) -> Self {
        Self::with_parser(plan, Parser::default())
    }

    /// An empty flattener whose fast path reads with `parser`.
    #[must_use]
    pub fn with_parser(plan: Arc<Plan>, parser: Parser) -> Self {
        let (buffers, memory) = (Buffers::new(&plan), seed::Memory::new(&plan));
        Self { plan, parser, buffers, memory, drift: Drift::default(), careful: 0 }
    }

    /// Adds the rows of one record (one JSON object, whole). A record is a
    /// transaction: one that is refused leaves nothing behind.
    ///
    /// Flush when [`Self::buffered_bytes`] passes a bound well below 1 GiB.
    ///
    /// # Errors
    /// Why the record goes to quarantine.
    pub fn push(&mut self, record: &[u8]) -> Result<(), Refused> {
        let text = crate::json::checked(record, MAX_RECORD_BYTES)?;
        let mark = self.buffers.mark();
        if self.fast(text) {
            for &node in &self.memory.new_members {
                self.drift.unknown_enum_member(&self.plan.nodes[node].path);
            }
            return Ok(());
        }
        self.buffers.roll_back(&mark);
        self.careful += 1;
        let mut drift = Drift::default();
        match careful::record(text, &self.plan, &mut self.buffers, &mut drift) {
            Ok(()) => {
                self.drift.merge(drift);
                Ok(())
            }
            Err(refused) => {
                self.buffers.roll_back(&mark);
                Err(refused)
            }
        }
    }

    /// Whether the fast path took the record; if not, there are rows to roll back.
    fn fast(&mut self, text: &str) -> bool {
        let Self { plan, buffers, memory, .. } = self;
        let call = plan.call;
        if self.parser != Parser::CarefulOnly {
            buffers.open(plan, call.table, plan.tables[call.table].root, 0);
        }
        let read = match self.parser {
            Parser::CarefulOnly => false,
            Parser::Sonic => {
                let mut parser = sonic_rs::Deserializer::from_str(text);
                seed::record(&mut parser, plan, buffers, memory).is_ok() && parser.end().is_ok()
            }
            Parser::SerdeJson => {
                let mut parser = serde_json::Deserializer::from_str(text);
                seed::record(&mut parser, plan, buffers, memory).is_ok() && parser.end().is_ok()
            }
        };
        read && buffers.is_written(call.table, call.id) && buffers.is_written(call.table, call.start)
    }

    /// Rows of a table, by its number in the catalogue, since the last flush.
    #[must_use]
    pub fn rows(&self, table: usize) -> usize {
        self.buffers.tables[table].rows
    }

    /// Bytes of the cells since the last flush, roughly.
    #[must_use]
    pub fn buffered_bytes(&self) -> usize {
        self.buffers.bytes()
    }

    /// Records that took careful mode so far.
    #[must_use]
    pub const fn careful_records(&self) -> u64 {
        self.careful
    }

    /// One batch per record table in the order of the catalogue, possibly
    /// without rows. The flattener is empty after, and can go on.
    ///
    /// # Errors
    /// Of class config, if the batch cannot be put together: a column of more
    /// than 2 GiB, because the flush came too late.
    pub fn flush(&mut self) -> Result<Vec<RecordBatch>, Error> {
        finish::batches(&self.plan, &mut self.buffers)
    }

    /// The counts of drift since the last call.
    pub fn take_drift(&mut self) -> Drift {
        std::mem::take(&mut self.drift)
    }
}
