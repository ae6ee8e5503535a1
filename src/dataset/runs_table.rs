//! The table of runs: one small file a month, replaced as a whole at the end of a
//! run.
//!
//! It stands outside of the commits and is no state. A file that cannot be read is
//! set aside and begun anew.

use super::Dataset;
use super::format::Format;
use super::layout::{Layout, RUN_MONTH, RUNS};
use super::merge::adapt;
use super::parquet::{self, PartWriter};
use crate::arrow::array::{
    ArrayRef, AsArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use crate::arrow::datatypes::{DataType, Int64Type};
use crate::crash_point::crash_point;
use crate::error::{Error, Result};
use crate::files;
use chrono::{DateTime, Utc};
use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

const FILE: &str = "runs.parquet";

/// A value of a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// A text.
    Text(String),
    /// A whole number; one that no column holds is the largest.
    Count(u64),
    /// A number.
    Number(f64),
    /// An instant.
    Instant(DateTime<Utc>),
}

/// One row: the month that it stands under is that of its end, and what has no cell
/// is null.
#[derive(Clone, Debug)]
pub struct Row {
    /// When the run ended.
    pub ended_at: DateTime<Utc>,
    /// The other cells by the names of their columns.
    pub cells: BTreeMap<&'static str, Cell>,
}

/// The table in memory: it is small.
pub struct RunsTable<'a> {
    layout: &'a Layout,
    format: &'a Arc<Format>,
    months: BTreeMap<String, Month>,
    /// The last commit of each run.
    last_commits: HashMap<String, u64>,
    was_damaged: bool,
}

#[derive(Default)]
struct Month {
    rows: Vec<RecordBatch>,
    has_new: bool,
    /// Whether its file has the columns of this program.
    is_current: bool,
}

impl<'a> RunsTable<'a> {
    /// Reads it. What is damaged is moved to the state, where no reader trips over it.
    ///
    /// # Errors
    /// Any failure of the file system; by class configuration when a link or no
    /// regular file is in the place of a file.
    pub fn read(dataset: &'a Dataset) -> Result<Self> {
        let (layout, format) = (&dataset.layout, &dataset.tables.runs);
        let mut table =
            Self { layout, format, months: BTreeMap::new(), last_commits: HashMap::new(), was_damaged: false };
        for directory in files::list(&layout.path(RUNS))? {
            let Some(name) = month_of(&directory) else { continue };
            let path = directory.join(FILE);
            // What cannot be read at all is no damage, and ends here.
            if files::digest(&path)?.is_none() {
                continue;
            }
            match read_month(&path, format) {
                Ok(month) => table.take(name, month),
                Err(why) => {
                    let aside = layout.state().join(format!("runs-{name}.parquet.damaged"));
                    tracing::warn!(aside = %aside.display(), "a file of the table of runs is damaged and set aside: {why}");
                    files::rename(&path, &aside)?;
                    files::sync_directory(&layout.state())?;
                    files::sync_directory(&directory)?;
                    table.was_damaged = true;
                }
            }
        }
        Ok(table)
    }

    fn take(&mut self, name: String, month: Month) {
        for batch in &month.rows {
            let ids = batch.column_by_name("run_id").and_then(|column| column.as_string_opt::<i32>());
            let lasts = batch.column_by_name("last_commit").and_then(|column| column.as_primitive_opt::<Int64Type>());
            let (Some(ids), Some(lasts)) = (ids, lasts) else { continue };
            for (id, last) in ids.iter().zip(lasts) {
                let (Some(id), Some(last)) = (id, last.and_then(|last| u64::try_from(last).ok())) else { continue };
                let known = self.last_commits.entry(id.to_owned()).or_default();
                *known = last.max(*known);
            }
        }
        self.months.insert(name, month);
    }

    /// Whether a row tells of this commit of the run.
    #[must_use]
    pub fn has(&self, run_id: &str, commit: u64) -> bool {
        self.last_commits.get(run_id).is_some_and(|&last| commit <= last)
    }

    /// Whether a file was set aside, and its rows with it.
    #[must_use]
    pub const fn was_damaged(&self) -> bool {
        self.was_damaged
    }

    /// Adds a row, which is not on the disk yet.
    ///
    /// # Errors
    /// By class configuration when a cell has no column or another type.
    pub fn add(&mut self, row: &Row) -> Result<()> {
        let batch = batch(row, self.format)?;
        let month = self.months.entry(row.ended_at.format("%Y-%m").to_string()).or_default();
        month.rows.push(batch);
        month.has_new = true;
        Ok(())
    }

    /// Writes the months that have new rows; if there are any, also those that an
    /// earlier program wrote, since all files of a table have the same columns.
    ///
    /// # Errors
    /// Any failure of the file system, by class I/O.
    pub fn write(self) -> Result<()> {
        if self.months.values().all(|month| !month.has_new) {
            return Ok(());
        }
        let staged = self.layout.stagings().join(FILE);
        for (name, month) in self.months.into_iter().filter(|(_, month)| month.has_new || !month.is_current) {
            // What a failed end of this process left.
            files::remove_if_there(&staged)?;
            let mut writer = PartWriter::create(&staged, self.format, self.layout.modes)?;
            for rows in month.rows {
                writer.write(rows)?;
            }
            writer.finish()?;
            crash_point("runs::staged")?;
            let directory = self.layout.path(RUNS).join(format!("{RUN_MONTH}{name}"));
            files::create_directory(&directory, self.layout.modes)?;
            files::rename(&staged, &directory.join(FILE))?;
            files::sync_directory(&directory)?;
            crash_point("runs::written")?;
        }
        Ok(())
    }
}

fn month_of(directory: &Path) -> Option<String> {
    Some(directory.file_name()?.to_str()?.strip_prefix(RUN_MONTH)?.to_owned())
}

/// The rows of a file, or what is wrong with it. Of some damage the library panics.
fn read_month(path: &Path, format: &Format) -> Result<Month, String> {
    match catch_unwind(AssertUnwindSafe(|| read_part(path, format))) {
        Ok(month) => month.map_err(|error| error.to_string()),
        Err(_) => Err("it is no Parquet file that can be read".to_owned()),
    }
}

fn read_part(path: &Path, format: &Format) -> Result<Month> {
    let part = parquet::open(path)?;
    let is_current = part.schema().fields() == format.schema.fields();
    let slices = part.build().map_err(|e| parquet::failed("read", path, e))?;
    let mut rows = Vec::new();
    for slice in slices {
        let fitting = slice.and_then(|slice| adapt(&slice, &format.schema));
        rows.push(fitting.map_err(|e| parquet::failed("read", path, e.into()))?);
    }
    Ok(Month { rows, has_new: false, is_current })
}

fn batch(row: &Row, format: &Format) -> Result<RecordBatch> {
    let mut cells = row.cells.clone();
    cells.insert("ended_at", Cell::Instant(row.ended_at));
    let wrong = |name: &str| Error::config(format!("The table of runs has no such value for the column {name}"));
    let columns = format
        .schema
        .fields()
        .iter()
        .map(|field| -> Result<ArrayRef> {
            let count = |of: Option<u64>| of.map(|count| i64::try_from(count).unwrap_or(i64::MAX));
            let cell = cells.remove(field.name().as_str());
            Ok(match (field.data_type(), cell) {
                (DataType::Utf8, None) => Arc::new(StringArray::new_null(1)),
                (DataType::Utf8, Some(Cell::Text(text))) => Arc::new(StringArray::from(vec![text])),
                (DataType::Int64, None) => Arc::new(Int64Array::new_null(1)),
                (DataType::Int64, Some(Cell::Count(of))) => Arc::new(Int64Array::from(vec![count(Some(of))])),
                (DataType::Int32, None) => Arc::new(Int32Array::new_null(1)),
                (DataType::Int32, Some(Cell::Count(of))) => {
                    Arc::new(Int32Array::from(vec![i32::try_from(of).unwrap_or(i32::MAX)]))
                }
                (DataType::Float64, None) => Arc::new(Float64Array::new_null(1)),
                (DataType::Float64, Some(Cell::Number(of))) => Arc::new(Float64Array::from(vec![of])),
                (DataType::Timestamp(..), None) => {
                    Arc::new(TimestampMicrosecondArray::new_null(1).with_timezone("UTC"))
                }
                (DataType::Timestamp(..), Some(Cell::Instant(at))) => {
                    Arc::new(TimestampMicrosecondArray::from(vec![at.timestamp_micros()]).with_timezone("UTC"))
                }
                _ => return Err(wrong(field.name())),
            })
        })
        .collect::<Result<Vec<_>>>()?;
    if let Some(name) = cells.keys().next() {
        return Err(wrong(name));
    }
    RecordBatch::try_new(format.schema.clone(), columns)
        .map_err(|e| Error::config("A row of runs does not fit its schema").because(e))
}
