//! What the ledger says of all calls: for comparing it with what Graph lists.

use super::layout::{LEDGER, Layout};
use super::parquet;
use crate::arrow::array::{Array, AsArray, RecordBatch};
use crate::arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use crate::call_id::CallId;
use crate::error::Result;
use ::parquet::arrow::ProjectionMask;

const COLUMNS: [&str; 7] =
    ["call_id", "state", "version", "call_end_date_time", "fetched_at", "asked_at", "last_notified_at"];

/// One row of the ledger. Instants are in microseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// The call.
    pub call_id: CallId,
    /// Where it stands.
    pub standing: Standing,
    /// The stored version; none until fetched.
    pub version: Option<i64>,
    /// When the call ended; none until fetched.
    pub end: Option<i64>,
    /// When Graph last served the stored version or an older one.
    pub asked_at: Option<i64>,
    /// When a run last read a notification of it.
    pub last_notified_at: Option<i64>,
}

/// What its state means for a call that Graph lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// In the tables.
    Exported,
    /// Not in the tables; it may still come.
    Open,
    /// Refused or taken out by hand: somebody decided.
    Closed,
}

/// Calls `each` for all rows of the ledger, part by part.
///
/// # Errors
/// Any failure of the file system or of `each`.
pub fn each(layout: &Layout, mut each: impl FnMut(Known) -> Result<()>) -> Result<()> {
    for part in layout.parts(LEDGER)? {
        let builder = parquet::open(&part.path)?;
        let mask = ProjectionMask::columns(builder.parquet_schema(), COLUMNS);
        let slices = builder.with_projection(mask).build().map_err(|e| parquet::failed("read", &part.path, e))?;
        for slice in slices {
            rows(&slice.map_err(|e| parquet::failed("read", &part.path, e.into()))?).try_for_each(&mut each)?;
        }
    }
    Ok(())
}

fn rows(slice: &RecordBatch) -> impl Iterator<Item = Known> {
    let text = |name: &str| slice.column_by_name(name).and_then(|column| column.as_string_opt::<i32>());
    let instant = |name: &str| {
        slice.column_by_name(name).and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>())
    };
    let (ids, states) = (text("call_id"), text("state"));
    let versions = slice.column_by_name("version").and_then(|column| column.as_primitive_opt::<Int64Type>());
    let (ends, fetched, asked, notified) =
        (instant("call_end_date_time"), instant("fetched_at"), instant("asked_at"), instant("last_notified_at"));
    (0..slice.num_rows()).filter_map(move |row| {
        let at = |column: Option<&crate::arrow::array::TimestampMicrosecondArray>| {
            column.filter(|column| column.is_valid(row)).map(|column| column.value(row))
        };
        let standing = match states.filter(|column| column.is_valid(row)).map(|column| column.value(row)) {
            Some("exported") => Standing::Exported,
            Some("quarantined" | "purged") => Standing::Closed,
            _ => Standing::Open,
        };
        Some(Known {
            call_id: ids.filter(|column| column.is_valid(row))?.value(row).parse().ok()?,
            standing,
            version: versions.filter(|column| column.is_valid(row)).map(|column| column.value(row)),
            end: at(ends),
            // A ledger of an earlier program has no `asked_at`.
            asked_at: at(asked).or_else(|| at(fetched)),
            last_notified_at: at(notified),
        })
    })
}
