//! Finds calls in the parts of a table: which version is stored, and where.
//!
//! Every part has a bloom filter on `call_id`, which skips nearly all of them.

use super::layout::{Layout, Part};
use super::parquet;
use crate::arrow::array::{Array, AsArray, RecordBatch};
use crate::arrow::datatypes::Int64Type;
use crate::error::Result;
use ::parquet::arrow::ProjectionMask;
use std::collections::{HashMap, HashSet};

/// Where a call stands in `calls`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The version.
    pub version: i64,
    /// The part that holds it.
    pub part: Part,
}

/// The stored versions of those of `ids` that are in `calls`.
///
/// # Errors
/// Any failure of the file system, by class I/O.
pub fn stored(layout: &Layout, ids: &HashSet<&str>) -> Result<HashMap<String, Vec<Stored>>> {
    let mut found: HashMap<String, Vec<Stored>> = HashMap::new();
    search(layout, "calls", ids, Some(&["call_id", "version"]), |part, batch| {
        let (Some(call_ids), Some(versions)) = (batch.column_by_name("call_id"), batch.column_by_name("version"))
        else {
            return Ok(());
        };
        let (call_ids, versions) = (call_ids.as_string::<i32>(), versions.as_primitive::<Int64Type>());
        for row in 0..batch.num_rows() {
            if ids.contains(call_ids.value(row)) {
                // A null version is less than any that Graph gives.
                let version = if versions.is_null(row) { 0 } else { versions.value(row) };
                let stored = Stored { version, part: part.clone() };
                found.entry(call_ids.value(row).to_owned()).or_default().push(stored);
            }
        }
        Ok(())
    })?;
    Ok(found)
}

/// Calls `each` with the slices of every part of `table` that may hold one of
/// `ids`; rows of other calls are among them. `columns` limits what is read.
///
/// # Errors
/// Any failure of the file system or of `each`.
pub fn search(
    layout: &Layout,
    table: &str,
    ids: &HashSet<&str>,
    columns: Option<&[&str]>,
    each: impl FnMut(&Part, &RecordBatch) -> Result<()>,
) -> Result<()> {
    search_by("call_id", layout, table, ids, columns, each)
}

/// As [`search`], by another column that has a bloom filter.
///
/// # Errors
/// As [`search`].
pub fn search_by(
    key: &str,
    layout: &Layout,
    table: &str,
    ids: &HashSet<&str>,
    columns: Option<&[&str]>,
    mut each: impl FnMut(&Part, &RecordBatch) -> Result<()>,
) -> Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    for part in layout.parts(table)? {
        let fail = |e| parquet::failed("read", &part.path, e);
        let mut builder = parquet::open(&part.path)?;
        let Some(column) = builder.parquet_schema().columns().iter().position(|c| c.name() == key) else {
            continue;
        };
        let mut groups = Vec::new();
        for group in 0..builder.metadata().num_row_groups() {
            let filter = builder.get_row_group_column_bloom_filter(group, column).map_err(fail)?;
            if filter.is_none_or(|filter| ids.iter().any(|&id| filter.check(&id))) {
                groups.push(group);
            }
        }
        if groups.is_empty() {
            continue;
        }
        if let Some(columns) = columns {
            let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
            builder = builder.with_projection(mask);
        }
        for batch in builder.with_row_groups(groups).build().map_err(fail)? {
            each(&part, &batch.map_err(|e| fail(e.into()))?)?;
        }
    }
    Ok(())
}
