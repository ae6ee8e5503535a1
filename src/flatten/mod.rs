//! The flatten core: bytes of call records in, Arrow record batches out.
//!
//! A [`Plan`] is compiled once from the catalogue; a [`Flattener`] reads records
//! by it, and gives one batch per table at each flush. A record that is no JSON
//! object, or has no usable id or start, is [`Refused`] whole. Everything else is
//! taken, and nothing of it is lost.
//!
//! Plain records take a fast path. One that has anything unusual is rolled back
//! and read again in careful mode, which gives the same rows for plain records,
//! and keeps what no column holds in `extra_json`.
//!
//! # How a record is rebuilt from its rows
//!
//! Equal in what follows: null, missing, `""`, `0001-01-01T00:00:00Z`, and lists
//! and objects without leaves (a value of only these is *vacant*). Of a member
//! name repeated in one object the last counts, with its whole value. Members
//! whose name contains `@odata.` are ignored, but for `@odata.type` itself.
//!
//! Begin with an empty record and go through the tables in the order of the
//! catalogue. For each row:
//!
//! 1. **Find the row's object.** The row of a path `""` is the record. For a path
//!    `…x[]` the object is element number *position* of the list `x`, where the
//!    position is the row's own column of [`Source::Position`]; the elements of
//!    the lists on the way are those of the inherited positions. Lists are padded
//!    with null up to a position: null elements, and elements that are no objects,
//!    make no row but keep their position. Every element that is an object is a
//!    row, `{}` too. For a path `…x{}` the row is one entry of the map `x`. Which
//!    rows path of a table a row came by is told by its constants, or, if there
//!    are none, by the `_source` of an identity whose sources are bound to rows
//!    paths ([`IdentitySource::rows`]). A list with [`When::IfPreviousEmpty`] that
//!    was not read is whole in the `extra_json` of the record's row.
//! 2. **Put every column of [`Source::Value`]** that belongs to no [`Identity`],
//!    where it is not null, at its *first* path below the object. A list of texts
//!    is the list as served, `""` as null. For a path `x[].m` the element number
//!    `i` of the cell is the member `m` of the element number `i` of `x`; a null
//!    element says nothing. In the rows of a map `key` is the name of the entry
//!    and `value` its value; entries that are vacant make no row. Durations are
//!    milliseconds of the text, instants are UTC, cut to microseconds.
//! 3. **Put the columns of each [`Identity`].** The source named in
//!    `<prefix>_source` is the home: of a source with `object` the home is that
//!    object, of one with `set` it is the member `<prefix>_kind` of the set. Each
//!    column that is not null goes to its member of the home: `_id` to `id`,
//!    `_display_name` to `displayName`, and so on in camel case, `_odata_type` to
//!    `@odata.type`. `_kind` and `_source` themselves are put nowhere. If
//!    `_source` is null, or the home is a set and `_kind` is null, nothing is put
//!    (the id is then the outer id, which has a column of its own).
//! 4. Columns of other sources are keys and derived values: nothing is put.
//!    What an [`Endpoint`] column says follows from the members.
//! 5. **Merge `extra_json`** over the row's object: an object is merged member by
//!    member; a list is merged element by element, null elements being padding;
//!    a null member deletes what stands there; anything else replaces it. For the
//!    row of a map entry `extra_json` is `{"value": …}`, merged likewise.
//!
//! `extra_json` holds, at its path below the row's object:
//!
//! * unknown members, known paths without a column ([`Table::kept`]), and
//!   `@odata.type` without a column, unless vacant;
//! * cells that do not fit their type, as served: the column is null. A list of
//!   texts with an element that is neither text nor null is there whole. Of
//!   `x[].m` the elements that are no objects, members that are no texts, and
//!   other members are there at their positions, as in `{"x":[null,{"y":1}]}`;
//! * elements of a row list that are neither objects nor vacant, at their
//!   positions, in the row of the object that holds the list;
//! * entries of a map with an empty or undecodable name, in the row of the object
//!   that holds the map;
//! * for a column of several paths, the values of all paths but the first, also
//!   the one that the column took; if it took one, null stands at the first path
//!   (or what was there and did not fit);
//! * for an identity, all that is not at home: the other kinds of the home set
//!   and every other source whole, the known members of its object or the kinds
//!   of its set. If a column's value did not come from its member of the home,
//!   null stands there (or what was there and did not fit);
//! * the `id` of the record as served, if it is not in lower case.
//!
//! It is null when there is nothing. Raw parts are as served, without white space
//! between tokens.
//!
//! # What an identity's columns say
//!
//! The kind is, of the first that exists: the member of a set whose object has
//! the id of the first source `object` with an id; the first member of the first
//! set that has any object; what the `@odata.type` of the first object names
//! (`#microsoft.graph.communicationsGuestIdentity` is `guest`); `user`, if an
//! object has a `userPrincipalName`. Then each column takes its member from the
//! sources in order, the object of a source or its set's object of that kind. A
//! member that is vacant or does not fit leaves it to the next source. For the id
//! each source also offers its outer id, after that of its set. `_source` names
//! the source of the id, or, without an id, the first that gave any column, or,
//! if none did, the one that is bound to the row's rows path.
//!
//! # Numbers
//!
//! Integer columns take whatever is an integer by value and in range (`23.0`,
//! `2.3e1`). Float columns take every finite number, but not one that is written
//! as an integer and that float64 does not hold exactly. `-0.0` is 0.
//!
//! [`Source::Position`]: crate::schema::Source::Position
//! [`Source::Value`]: crate::schema::Source::Value
//! [`When::IfPreviousEmpty`]: crate::schema::When::IfPreviousEmpty
//! [`IdentitySource::rows`]: crate::schema::IdentitySource::rows
//! [`Identity`]: crate::schema::Identity
//! [`Endpoint`]: crate::schema::Endpoint
//! [`Table::kept`]: crate::schema::Table::kept

mod careful;
mod columns;
mod derive;
mod drift;
mod extra;
mod finish;
mod head;
mod identity;
mod identity_plan;
mod join_url;
mod leftover;
mod object;
mod path;
mod plan;
mod quality;
pub(crate) mod raw;
mod rows;
mod seed;
mod seed_identity;
mod seed_key;
mod seed_list;
mod seed_map;
mod seed_twin;
#[cfg(test)]
mod tests;
mod vacant;
pub(crate) mod values;

pub use drift::Drift;
pub use head::{Head, MAX_RECORD_BYTES, Refused, head};
pub use plan::Plan;

use crate::arrow::array::RecordBatch;
use crate::error::Error;
use rows::Buffers;
use std::sync::Arc;

/// How records are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// In the fast path, and what it does not take in careful mode.
    #[default]
    Fast,
    /// All in careful mode. For tests that compare.
    CarefulOnly,
}

/// Records in, batches out. Owns the buffers: one per thread.
#[derive(Debug)]
pub struct Flattener {
    plan: Arc<Plan>,
    mode: Mode,
    buffers: Buffers,
    memory: seed::Memory,
    drift: Drift,
    careful: u64,
}

impl Flattener {
    /// An empty flattener.
    #[must_use]
    pub fn new(plan: Arc<Plan>) -> Self {
        Self::with_mode(plan, Mode::default())
    }

    /// An empty flattener that reads in `mode`.
    #[must_use]
    pub fn with_mode(plan: Arc<Plan>, mode: Mode) -> Self {
        let (buffers, memory) = (Buffers::new(&plan), seed::Memory::new(&plan));
        Self { plan, mode, buffers, memory, drift: Drift::default(), careful: 0 }
    }

    /// Adds the rows of one record (one JSON object, whole). A record is a
    /// transaction: one that is refused leaves nothing behind.
    ///
    /// Flush when [`Self::buffered_bytes`] passes a bound well below 1 GiB.
    ///
    /// # Errors
    /// Why the record goes to quarantine.
    pub fn push(&mut self, record: &[u8]) -> Result<(), Refused> {
        let text = crate::json::text(record, MAX_RECORD_BYTES)?;
        let mark = self.buffers.mark();
        if self.mode == Mode::Fast {
            if self.fast(text, &mark) {
                for &node in &self.memory.new_members {
                    self.drift.unknown_enum_member(&self.plan.nodes[node].path);
                }
                for (object, name) in &self.memory.unknown_members {
                    self.drift.unknown_member(self.plan.below(*object, name));
                }
                return Ok(());
            }
            self.buffers.roll_back(&mark);
        }
        crate::json::check_depth(text)?;
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
    fn fast(&mut self, text: &str, before: &[usize]) -> bool {
        let Self { plan, buffers, memory, .. } = self;
        let call = plan.call;
        buffers.open(plan, call.table, plan.tables[call.table].root, 0);
        let mut parser = serde_json::Deserializer::from_str(text);
        let read = seed::record(&mut parser, plan, buffers, memory, before).is_ok() && parser.end().is_ok();
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
