//! Parts as an earlier program would have written them.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::disallowed_types, reason = "test support")]

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::properties::WriterProperties;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

pub fn batches(path: &Path) -> Vec<RecordBatch> {
    ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap())
        .unwrap()
        .build()
        .unwrap()
        .map(Result::unwrap)
        .collect()
}

/// Takes a column out of a part.
pub fn without(path: &Path, column: &str) {
    let narrow = |batch: &RecordBatch| {
        let keep: Vec<usize> = (0..batch.num_columns()).filter(|&n| batch.schema().field(n).name() != column).collect();
        batch.project(&keep).unwrap()
    };
    let old: Vec<RecordBatch> = batches(path).iter().map(narrow).collect();
    let schema = Arc::new(Schema::new(old[0].schema().fields().clone()));
    let mut writer =
        ArrowWriter::try_new(File::create(path).unwrap(), schema.clone(), Some(WriterProperties::default())).unwrap();
    for batch in old {
        writer.write(&RecordBatch::try_new(schema.clone(), batch.columns().to_vec()).unwrap()).unwrap();
    }
    writer.close().unwrap();
}
