//! One Parquet file: how it is written and read.
//!
//! The bytes depend on the rows alone: rows reach the writer in slices of
//! exactly [`SLICE`], counted from the first row, whatever produced them.

use super::encoding;
use super::format::Format;
use crate::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use crate::arrow::compute::BatchCoalescer;
use crate::arrow::datatypes::FieldRef;
use crate::error::{Class, Error, Result};
use crate::files::{self, Modes};
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::arrow::arrow_writer::{ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::errors::ParquetError;
use parquet::file::writer::SerializedFileWriter;
use rayon::iter::{IntoParallelIterator, ParallelIterator};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Rows per slice that a writer is fed.
pub const SLICE: usize = 8_192;

/// A file that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Where it is.
    pub path: PathBuf,
    /// Its rows.
    pub rows: u64,
}

/// Writes one part, a row group at a time and in it a column at a time on each
/// thread: a column that is being written has a compressor and buffers, so few are
/// open at once.
pub struct PartWriter {
    file: File,
    format: Arc<Format>,
    writer: SerializedFileWriter<File>,
    slices: BatchCoalescer,
    /// The slices of the row group that is next, and their bytes.
    group: Vec<RecordBatch>,
    group_bytes: usize,
    path: PathBuf,
    rows: u64,
}

impl PartWriter {
    /// Begins a new file of that format.
    ///
    /// # Errors
    /// Any failure of the file system, by class I/O.
    pub fn create(path: &Path, format: &Arc<Format>, modes: Modes) -> Result<Self> {
        let file = files::create_file(path, modes)?;
        let sink = file.try_clone().map_err(|e| Error::io("write", path, e))?;
        let writer =
            SerializedFileWriter::new(sink, format.parquet_schema.clone(), Arc::new(format.properties.clone()))
                .map_err(|e| failed("write", path, e))?;
        Ok(Self {
            file,
            format: format.clone(),
            writer,
            slices: BatchCoalescer::new(format.schema.clone(), SLICE),
            group: Vec::new(),
            group_bytes: 0,
            path: path.to_owned(),
            rows: 0,
        })
    }

    /// Appends rows, which come in the order of the file.
    ///
    /// # Errors
    /// Any failure of the file system, by class I/O.
    pub fn write(&mut self, batch: RecordBatch) -> Result<()> {
        self.rows += batch.num_rows() as u64;
        self.slices.push_batch(batch).map_err(|e| failed("write", &self.path, e.into()))?;
        self.take_slices()
    }

    fn take_slices(&mut self) -> Result<()> {
        while let Some(slice) = self.slices.next_completed_batch() {
            self.group_bytes += slice.columns().iter().map(|column| bytes(column)).sum::<usize>();
            self.group.push(slice);
            let most = &self.format.properties;
            if most.max_row_group_bytes().is_some_and(|most| self.group_bytes >= most)
                || most.max_row_group_row_count().is_some_and(|most| self.group.len() * SLICE >= most)
            {
                self.write_group().map_err(|e| failed("write", &self.path, e))?;
            }
        }
        Ok(())
    }

    fn write_group(&mut self) -> Result<(), ParquetError> {
        let slices = std::mem::take(&mut self.group);
        self.group_bytes = 0;
        if slices.is_empty() {
            return Ok(());
        }
        let writers = column_writers(&self.format, &slices)?;
        let mut slices: Vec<_> = slices.into_iter().map(|slice| slice.columns().to_vec().into_iter()).collect();
        // Every field is one column: a list is of texts.
        let columns: Vec<_> = std::iter::zip(self.format.schema.fields(), writers)
            .map(|(field, writer)| (field, writer, slices.iter_mut().filter_map(Iterator::next).collect::<Vec<_>>()))
            .collect();
        let encode = |(field, mut writer, arrays): (&FieldRef, ArrowColumnWriter, Vec<ArrayRef>)| {
            for array in arrays {
                for leaf in compute_leaves(field, &array)? {
                    writer.write(&leaf)?;
                }
            }
            writer.close()
        };
        // Threads of the pool that have nothing else to do take some of the columns.
        let encoded: Vec<_> = if rayon::current_thread_index().is_some() {
            columns.into_par_iter().map(encode).collect::<Result<_, _>>()?
        } else {
            columns.into_iter().map(encode).collect::<Result<_, _>>()?
        };
        let mut group = self.writer.next_row_group()?;
        for column in encoded {
            column.append_to_row_group(&mut group)?;
        }
        group.close()?;
        Ok(())
    }

    /// Ends the file, which is not synced yet.
    ///
    /// # Errors
    /// Any failure of the file system, by class I/O.
    pub fn end(mut self) -> Result<Ended> {
        self.slices.finish_buffered_batch().map_err(|e| failed("write", &self.path, e.into()))?;
        self.take_slices()?;
        self.write_group().map_err(|e| failed("write", &self.path, e))?;
        self.writer.close().map_err(|e| failed("write", &self.path, e))?;
        Ok(Ended { file: self.file, written: Written { path: self.path, rows: self.rows } })
    }

    /// Ends the file, synced.
    ///
    /// # Errors
    /// Any failure of the file system, by class I/O.
    pub fn finish(self) -> Result<Written> {
        self.end()?.sync()
    }
}

/// One for each column, as the values of the row group ask for.
fn column_writers(format: &Format, slices: &[RecordBatch]) -> Result<Vec<ArrowColumnWriter>, ParquetError> {
    let properties = encoding::chosen(&format.schema, slices, format.properties.clone());
    // The library's factory takes the properties of a file: here of one that is not written.
    let file = SerializedFileWriter::new(io::sink(), format.parquet_schema.clone(), Arc::new(properties))?;
    ArrowRowGroupWriterFactory::new(&file, format.schema.clone()).create_column_writers(0)
}

/// Bytes of the values: the same for the same rows, whatever made the array.
fn bytes(array: &dyn Array) -> usize {
    let within = |offsets: &[i32]| {
        let at = |end: Option<&i32>| end.and_then(|&end| usize::try_from(end).ok()).unwrap_or(0);
        (at(offsets.first()), at(offsets.last()))
    };
    let values = if let Some(texts) = array.as_string_opt::<i32>() {
        let (begin, end) = within(texts.value_offsets());
        end - begin
    } else if let Some(lists) = array.as_list_opt::<i32>() {
        let (begin, end) = within(lists.value_offsets());
        bytes(&lists.values().slice(begin, end - begin))
    } else {
        0
    };
    values + array.len() * array.data_type().primitive_width().unwrap_or(size_of::<i32>())
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
