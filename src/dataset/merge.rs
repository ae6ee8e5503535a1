//! Merges sorted parts of one table into one, leaving out calls that were
//! superseded or purged.
//!
//! Rows of a call are contiguous in every part, and parts are sorted by call
//! start and call id, so that one pass with a slice of each input in memory is
//! enough. The result is what the same rows would give if written at once.

use super::format::Format;
use super::parquet::{self, PartWriter, Written};
use crate::arrow::array::{
    Array, ArrayRef, AsArray, RecordBatch, StringArray, TimestampMicrosecondArray, new_null_array,
};
use crate::arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use crate::arrow::error::ArrowError;
use crate::error::{Class, Error, Result};
use crate::files::Modes;
use ::parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use ::parquet::file::metadata::RowGroupMetaData;
use ::parquet::file::statistics::Statistics;
use std::collections::HashSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What the tables are sorted by, before the call id.
const START: &str = "call_start_date_time";
/// Rows of each input in memory: so few because there may be many inputs, with
/// hundreds of columns.
const SLICE: usize = 1_024;

/// A part of which the footer alone was read.
type Part = ParquetRecordBatchReaderBuilder<File>;

/// One part to be merged.
pub struct Input<'a> {
    /// Where it is.
    pub path: PathBuf,
    /// Calls whose rows are left out.
    pub without: Option<&'a HashSet<String>>,
}

/// Merges `inputs` into `output`; `None`, and no file, if no row is left.
///
/// # Errors
/// Any failure of the file system, by class I/O.
pub fn merge(inputs: &[Input<'_>], output: &Path, format: &Arc<Format>, modes: Modes) -> Result<Option<Written>> {
    let schema = &format.schema;
    // Parts of one date mostly follow one another: each is read when its turn comes,
    // since the columns of one that is being read take memory.
    let mut waiting = Vec::with_capacity(inputs.len());
    for input in inputs {
        let part = parquet::open(&input.path)?;
        waiting.push((begins(&part, schema), input, part));
    }
    waiting.sort_by_key(|(start, ..)| std::cmp::Reverse(*start));
    let mut cursors: Vec<Cursor<'_>> = Vec::new();
    let mut writer = None;
    loop {
        while let Some((_, input, part)) = waiting.pop_if(|(start, ..)| {
            cursors.is_empty() || cursors.iter().any(|cursor| *start <= cursor.key().0) || *start == i64::MIN
        }) {
            let mut cursor = Cursor::open(input, part, schema)?;
            if cursor.settle()? {
                cursors.push(cursor);
            }
        }
        if cursors.is_empty() {
            break;
        }
        let first = least(&cursors, None);
        let other = (cursors.len() > 1).then(|| least(&cursors, Some(first))).map(|i| cursors[i].owned_key());
        let closed = waiting.last().map(|(start, ..)| (*start, String::new()));
        let bound = [other, closed].into_iter().flatten().min();
        let cursor = &mut cursors[first];
        let (rows, more) = cursor.take_until(bound.as_ref().map(|(start, id)| (*start, id.as_str())))?;
        if !more {
            cursors.swap_remove(first);
        }
        let writer = match &mut writer {
            Some(writer) => writer,
            none => none.insert(PartWriter::create(output, format, modes)?),
        };
        writer.write(rows)?;
    }
    writer.map(PartWriter::finish).transpose()
}

/// A start that no row of the part is before; the least where that is not told.
fn begins(part: &Part, schema: &SchemaRef) -> i64 {
    if !is_sorted_by_start(schema) {
        return i64::MIN;
    }
    let column = part.parquet_schema().columns().iter().position(|column| column.path().string() == START);
    let least = |group: &RowGroupMetaData| match group.column(column?).statistics()? {
        Statistics::Int64(of) => of.min_opt().copied(),
        _ => None,
    };
    part.metadata().row_groups().iter().map(least).min().flatten().unwrap_or(i64::MIN)
}

/// Where it may be null, as in the ledger, the start is no part of the order.
fn is_sorted_by_start(schema: &SchemaRef) -> bool {
    schema.field_with_name(START).is_ok_and(|field| !field.is_nullable())
}

fn least(cursors: &[Cursor<'_>], except: Option<usize>) -> usize {
    let mut best = None;
    for (index, cursor) in cursors.iter().enumerate() {
        if Some(index) != except && best.is_none_or(|b: usize| cursor.key() < cursors[b].key()) {
            best = Some(index);
        }
    }
    best.unwrap_or_default()
}

struct Cursor<'a> {
    reader: ParquetRecordBatchReader,
    input: &'a Input<'a>,
    schema: SchemaRef,
    batch: RecordBatch,
    starts: Option<TimestampMicrosecondArray>,
    ids: StringArray,
    row: usize,
}

impl<'a> Cursor<'a> {
    fn open(input: &'a Input<'a>, part: Part, schema: &SchemaRef) -> Result<Self> {
        let fail = |e| parquet::failed("read", &input.path, e);
        let reader = part.with_batch_size(SLICE).build().map_err(fail)?;
        Ok(Self {
            reader,
            input,
            schema: schema.clone(),
            batch: RecordBatch::new_empty(schema.clone()),
            starts: None,
            ids: StringArray::from(Vec::<&str>::new()),
            row: 0,
        })
    }

    fn key(&self) -> (i64, &str) {
        (self.starts.as_ref().map_or(0, |starts| starts.value(self.row)), self.ids.value(self.row))
    }

    fn owned_key(&self) -> (i64, String) {
        let (start, id) = self.key();
        (start, id.to_owned())
    }

    fn is_dropped(&self) -> bool {
        self.input.without.is_some_and(|ids| ids.contains(self.ids.value(self.row)))
    }

    /// Moves on to the next row that is kept; `false` at the end.
    fn settle(&mut self) -> Result<bool> {
        loop {
            while self.row < self.ids.len() {
                if !self.is_dropped() {
                    return Ok(true);
                }
                self.row += 1;
            }
            let Some(batch) = self.reader.next() else { return Ok(false) };
            let batch = batch.map_err(|e| parquet::failed("read", &self.input.path, e.into()))?;
            self.load(&batch)?;
        }
    }

    fn load(&mut self, batch: &RecordBatch) -> Result<()> {
        self.batch = adapt(batch, &self.schema).map_err(|e| damaged(&self.input.path, &e.to_string()))?;
        let missing = || damaged(&self.input.path, "it has no column call_id");
        let ids = self.batch.column_by_name("call_id").ok_or_else(missing)?;
        self.ids = ids.as_string_opt::<i32>().ok_or_else(missing)?.clone();
        self.starts = self
            .batch
            .column_by_name(START)
            .filter(|_| is_sorted_by_start(&self.schema))
            .and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>().cloned());
        self.row = 0;
        Ok(())
    }

    /// Takes the rows of this slice from the present one on that come before
    /// `bound`, and moves on; `false` at the end of the input.
    fn take_until(&mut self, bound: Option<(i64, &str)>) -> Result<(RecordBatch, bool)> {
        let begin = self.row;
        while self.row < self.ids.len() && !self.is_dropped() && bound.is_none_or(|bound| self.key() < bound) {
            self.row += 1;
        }
        if self.row == begin {
            // The same call in two parts: both are given, none is lost.
            self.row += 1;
        }
        let rows = self.batch.slice(begin, self.row - begin);
        let more = self.settle()?;
        Ok((rows, more))
    }
}

/// The batch with the columns of `schema`, null where it has none.
pub(super) fn adapt(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let columns: Vec<ArrayRef> = schema
        .fields()
        .iter()
        .map(|field| match batch.column_by_name(field.name()) {
            Some(column) => column.clone(),
            None => new_null_array(field.data_type(), batch.num_rows()),
        })
        .collect();
    RecordBatch::try_new(schema.clone(), columns)
}

fn damaged(path: &Path, why: &str) -> Error {
    Error::new(Class::Config, format!("{} is not a part that callrec wrote: {why}", path.display()))
        .hint("move it out of the table's directory, or run `callrec rebuild`")
}
