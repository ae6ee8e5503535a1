//! How the files of a table are written: the Arrow schema, statistics, filters and
//! the sizes of row groups.

use crate::arrow::datatypes::SchemaRef;
use crate::error::{Error, Result};
use crate::schema::{Source, Table};
use parquet::arrow::{ArrowSchemaConverter, add_encoded_arrow_schema_to_metadata};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::{ColumnPath, TypePtr};

/// How hard pages are compressed.
pub const ZSTD_LEVEL: i32 = 3;
/// Readers share a file out to threads by row group: rows after which one ends.
const ROW_GROUP_ROWS: usize = 1 << 17;
/// Arrow bytes of a row group in memory, after which it ends. All tables of a date
/// are written at once.
const ROW_GROUP_BYTES: usize = 12 << 20;
/// Bytes of a text that bounds those of a page or row group.
const LONGEST_BOUND: usize = 16;
const FALSE_POSITIVES: f64 = 1e-6;
/// Filters begin at this many distinct ids and are folded to what is there.
const DISTINCT_CALLS: u64 = ROW_GROUP_ROWS as u64;
/// Where rows of logs are looked up.
const ROW_ID: &str = "id";
const SORT: [&str; 2] = ["call_start_date_time", "call_id"];

/// How the files of one table are written.
#[derive(Clone, Debug)]
pub struct Format {
    /// The columns.
    pub schema: SchemaRef,
    /// The same as Parquet has them.
    pub parquet_schema: TypePtr,
    /// What the Parquet writer is told, but for what the rows say. The bytes of a
    /// row group are those of its Arrow arrays.
    pub properties: WriterProperties,
}

impl Format {
    /// That of `table`; files name `schema_version` in their metadata.
    ///
    /// # Errors
    /// None but a compression level that zstd does not have, or a type that Parquet
    /// does not have.
    pub fn new(table: &Table, schema_version: &str) -> Result<Self> {
        let schema = table.arrow_schema();
        let level = ZstdLevel::try_new(ZSTD_LEVEL).map_err(|e| Error::config("No such zstd level").because(e))?;
        let mut builder = WriterProperties::builder()
            .set_created_by(concat!("callrec ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_compression(Compression::ZSTD(level))
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
            .set_max_row_group_bytes(Some(ROW_GROUP_BYTES))
            .set_statistics_enabled(EnabledStatistics::Page)
            .set_statistics_truncate_length(Some(LONGEST_BOUND))
            .set_column_index_truncate_length(Some(LONGEST_BOUND))
            .set_key_value_metadata(Some(vec![KeyValue::new(
                "callrec.schema_version".to_owned(),
                schema_version.to_owned(),
            )]));
        // The ledger has these columns too, but not always, and is sorted by call id.
        let sorting: Vec<_> = SORT
            .iter()
            .filter_map(|name| schema.index_of(name).ok().filter(|&at| !schema.field(at).is_nullable()))
            .filter_map(|index| i32::try_from(index).ok())
            .map(|column_idx| SortingColumn { column_idx, descending: false, nulls_first: false })
            .collect();
        if sorting.len() == SORT.len() {
            builder = builder.set_sorting_columns(Some(sorting));
        }
        // Where a call is one row, calls are looked up.
        let looked_up = if table.log.is_some() { ROW_ID } else { "call_id" };
        if table.column(looked_up).is_some_and(|at| !matches!(table.columns[at].source, Source::Inherited { .. })) {
            let column = ColumnPath::from(looked_up);
            builder = builder
                .set_column_bloom_filter_enabled(column.clone(), true)
                .set_column_bloom_filter_fpp(column.clone(), FALSE_POSITIVES)
                .set_column_bloom_filter_max_ndv(column, DISTINCT_CALLS);
        }
        Self::of(schema, builder.build())
    }

    /// Columns, written with those properties and, in the metadata, their Arrow schema.
    ///
    /// # Errors
    /// A type that Parquet does not have.
    pub fn of(schema: SchemaRef, mut properties: WriterProperties) -> Result<Self> {
        add_encoded_arrow_schema_to_metadata(&schema, &mut properties);
        let parquet_schema = ArrowSchemaConverter::new()
            .convert(&schema)
            .map_err(|e| Error::config("Parquet cannot hold a type of a column").because(e))?
            .root_schema_ptr();
        Ok(Self { schema, parquet_schema, properties })
    }
}
