//! One Parquet file: how it is written and read.
//!
//! The bytes depend on the rows alone: rows reach the writer in slices of
//! exactly [`SLICE`], counted from the first row, whatever produced them.

use crate::arrow::array::RecordBatch;
use crate::arrow::compute::BatchCoalescer;
use crate::arrow::datatypes::SchemaRef;
use crate::error::{Class, Error, Result};
use crate::files::{self, Modes};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Rows per slice that a writer is fed.
pub const SLICE: usize = 8_192;
const ROW_GROUP_ROWS: usize = 1 << 20;
/// Encoded bytes of a row group in memory before it is written out.
const ROW_GROUP_BYTES: usize = 24 << 20;
/// How hard pages are compressed.
pub const ZSTD_LEVEL: i32 = 3;
const FALSE_POSITIVES: f64 = 1e-6;
/// Filters begin at this many distinct ids and are folded to what is there.
const DISTINCT_CALLS: u64 = 1 << 17;
const SORT: [&str; 2] = ["call_start_date_time", "call_id"];

/// A file that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Where it is.
    pub path: PathBuf,
    /// Its rows.
    pub rows: u64,
}

/// Writes one part.
pub struct PartWriter {
    writer: ArrowWriter<File>,
    slices: BatchCoalescer,
    path: PathBuf,
    rows: u64,
}

impl PartWriter {
    /// Begins a new file of `schema`.
    ///
    /// # Errors
    /// Any failure of the file system, by class I/O.
    pub fn create(path: &Path, schema: &SchemaRef, schema_version: &str, modes: Modes) -> Result<Self> {
        let file = files::create_file(path, modes)?;
        let writer = ArrowWriter::try_new(file, schema.clone(), Some(properties(schema, schema_version)?))
            .map_err(|e| failed("write", path, e))?;
        Ok(Self { writer, slices: BatchCoalescer::new(schema.clone(), SLICE), path: path.to_owned(), rows: 0 })
    }

    /// Appends rows, which come in the order of the file.
    ///
    /// # Errors
    /// Any failure of the file system, by class I/O.
    pub fn write(&mut self, batch: RecordBatch) -> Result<()> {
        self.rows += batch.num_rows() as u64;
        self.slices.push_batch(batch).map_err(|e| failed("write", &self.path, e.into()))?;
        self.write_slices()
    }

    fn write_slices(&mut self) -> Result<()> {
        while let Some(slice) = self.slices.next_completed_batch() {
            self.writer.write(&slice).map_err(|e| failed("write", &self.path, e))?;
        }
        Ok(())
    }

    /// Ends the file, which is not synced yet.
    ///
    /// # Errors
    /// Any failure of the file system, by class I/O.
    pub fn end(mut self) -> Result<Ended> {
        self.slices.finish_buffered_batch().map_err(|e| failed("write", &self.path, e.into()))?;
        self.write_slices()?;
        let file = self.writer.into_inner().map_err(|e| failed("write", &self.path, e))?;
        Ok(Ended { file, written: Written { path: self.path, rows: self.rows } })
    }

    /// Ends the file, synced.
    ///
    /// # Errors
    /// Any failure of the file system, by class I/O.
    pub fn finish(self) -> Result<Written> {
        self.end()?.sync()
    }
}

/// A file that is whole and not synced.
pub struct Ended {
    file: File,
    written: Written,
}

impl Ended {
    /// Syncs it.
    ///
    /// # Errors
    /// Any failure of the file system, by class I/O.
    pub fn sync(self) -> Result<Written> {
        self.file.sync_all().map_err(|e| Error::io("sync", &self.written.path, e))?;
        Ok(self.written)
    }
}

fn properties(schema: &SchemaRef, schema_version: &str) -> Result<WriterProperties> {
    let level = ZstdLevel::try_new(ZSTD_LEVEL).map_err(|e| Error::config("No such zstd level").because(e))?;
    // The ledger has these columns too, but not always, and is sorted by call id.
    let sorting: Vec<_> = SORT
        .iter()
        .filter_map(|name| schema.index_of(name).ok().filter(|&at| !schema.field(at).is_nullable()))
        .filter_map(|index| i32::try_from(index).ok())
        .map(|column_idx| SortingColumn { column_idx, descending: false, nulls_first: false })
        .collect();
    let mut builder = WriterProperties::builder()
        .set_created_by(concat!("callrec ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(level))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_max_row_group_bytes(Some(ROW_GROUP_BYTES))
        .set_key_value_metadata(Some(vec![KeyValue::new(
            "callrec.schema_version".to_owned(),
            schema_version.to_owned(),
        )]));
    if sorting.len() == SORT.len() {
        builder = builder.set_sorting_columns(Some(sorting));
    }
    if schema.index_of("call_id").is_ok() {
        let column = ColumnPath::from("call_id");
        builder = builder
            .set_column_bloom_filter_enabled(column.clone(), true)
            .set_column_bloom_filter_fpp(column.clone(), FALSE_POSITIVES)
            .set_column_bloom_filter_max_ndv(column, DISTINCT_CALLS);
    }
    Ok(builder.build())
}

/// Opens a part for reading in slices.
///
/// # Errors
/// By class I/O when it cannot be opened or is no Parquet file.
pub fn open(path: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>> {
    ParquetRecordBatchReaderBuilder::try_new(files::open(path)?)
        .map(|builder| builder.with_batch_size(SLICE))
        .map_err(|e| failed("read", path, e))
}

/// Reads all columns of a part.
///
/// # Errors
/// As [`open`].
pub fn read(path: &Path) -> Result<ParquetRecordBatchReader> {
    open(path)?.build().map_err(|e| failed("read", path, e))
}

/// The schema version in the metadata of a part.
///
/// # Errors
/// As [`open`].
pub fn schema_version(path: &Path) -> Result<Option<String>> {
    Ok(open(path)?
        .metadata()
        .file_metadata()
        .key_value_metadata()
        .and_then(|pairs| pairs.iter().find(|pair| pair.key == "callrec.schema_version")?.value.clone()))
}

/// An error of the Parquet library on a file, by class I/O.
pub fn failed(action: &str, path: &Path, error: parquet::errors::ParquetError) -> Error {
    Error::new(Class::Io, format!("Cannot {action} {}", path.display()))
        .hint("if the disk is full or failing, mend that and run again; `callrec verify` says which files are damaged")
        .because(error)
}
