//! How the columns of a row group are encoded: told from its rows, so that the same
//! rows always give the same file.
//!
//! A dictionary of values that hardly repeat costs time and makes the file larger;
//! of nulls alone there is nothing to compress.

use crate::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use crate::arrow::datatypes::{DataType, Float64Type, Int64Type, SchemaRef, TimestampMicrosecondType};
use parquet::basic::{Compression, Encoding};
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

/// Values of a column that are looked at, at equal distances.
const SAMPLE: usize = 512;
/// Fewer than these say nothing.
const LEAST: usize = 16;

/// `properties` with the encodings that fit `slices`, which are the row group.
pub(super) fn chosen(schema: &SchemaRef, slices: &[RecordBatch], properties: WriterProperties) -> WriterProperties {
    let rows: usize = slices.iter().map(RecordBatch::num_rows).sum();
    let mut builder = properties.into_builder();
    let mut sample = Vec::with_capacity(SAMPLE);
    for (number, field) in schema.fields().iter().enumerate() {
        let column = ColumnPath::from(field.name().as_str());
        if slices.iter().map(|slice| slice.column(number).null_count()).sum::<usize>() == rows {
            builder = builder
                .set_column_dictionary_enabled(column.clone(), false)
                .set_column_compression(column, Compression::UNCOMPRESSED);
            continue;
        }
        sample.clear();
        let step = (rows / SAMPLE).max(1);
        let mut row = 0;
        for slice in slices {
            take_sample(slice.column(number), row, step, &mut sample);
            row += (slice.num_rows().saturating_sub(row)).div_ceil(step) * step;
            row -= slice.num_rows();
        }
        if repeats(&mut sample) {
            continue;
        }
        builder = builder.set_column_dictionary_enabled(column.clone(), false);
        if field.data_type() == &DataType::Utf8 {
            builder = builder.set_column_encoding(column, Encoding::DELTA_LENGTH_BYTE_ARRAY);
        }
    }
    builder.build()
}

/// Adds, for each row from `first` on at equal distances, something that is equal
/// for equal values; nothing for nulls, and for types whose values are few.
fn take_sample(column: &ArrayRef, first: usize, step: usize, sample: &mut Vec<u64>) {
    let nulls = column.logical_nulls();
    let rows = (first..column.len()).step_by(step);
    let rows = rows.filter(|&row| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)));
    match column.data_type() {
        DataType::Float64 => {
            let values = column.as_primitive::<Float64Type>().values();
            sample.extend(rows.map(|row| values[row].to_bits()));
        }
        DataType::Int64 => {
            let values = column.as_primitive::<Int64Type>().values();
            sample.extend(rows.map(|row| values[row].cast_unsigned()));
        }
        DataType::Timestamp(..) => {
            let values = column.as_primitive::<TimestampMicrosecondType>().values();
            sample.extend(rows.map(|row| values[row].cast_unsigned()));
        }
        DataType::Utf8 => {
            let (texts, hasher) = (column.as_string::<i32>(), BuildHasherDefault::<DefaultHasher>::default());
            sample.extend(rows.map(|row| hasher.hash_one(texts.value(row))));
        }
        _ => {}
    }
}

/// Whether a further value would more likely than not be one that was there
/// before: by Good and Turing, the share of values that were there once is the
/// likelihood that it would not.
fn repeats(sample: &mut [u64]) -> bool {
    sample.sort_unstable();
    let once = sample.chunk_by(|a, b| a == b).filter(|equal| equal.len() == 1).count();
    sample.len() < LEAST || once * 2 <= sample.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arrow::array::{Float64Array, StringArray};
    use crate::arrow::datatypes::{Field, Schema};
    use std::sync::Arc;

    fn slices(
        rows: usize,
        numbers: impl Fn(usize) -> f64,
        texts: impl Fn(usize) -> Option<String>,
    ) -> Vec<RecordBatch> {
        let schema =
            Schema::new(vec![Field::new("number", DataType::Float64, true), Field::new("text", DataType::Utf8, true)]);
        let slice = |begin: usize, end: usize| {
            let number: ArrayRef = Arc::new(Float64Array::from_iter_values((begin..end).map(&numbers)));
            let text: ArrayRef = Arc::new((begin..end).map(&texts).collect::<StringArray>());
            RecordBatch::try_new(Arc::new(schema.clone()), vec![number, text]).unwrap()
        };
        vec![slice(0, rows / 3), slice(rows / 3, rows)]
    }

    fn dictionaries(slices: &[RecordBatch]) -> [bool; 2] {
        let chosen = chosen(&slices[0].schema(), slices, WriterProperties::default());
        ["number", "text"].map(|name| chosen.dictionary_enabled(&ColumnPath::from(name)))
    }

    #[test]
    fn values_that_repeat_get_a_dictionary() {
        let text = |row: usize| Some(format!("text {}", row % 40));
        for rows in [100, 5_000, 100_000] {
            assert_eq!(dictionaries(&slices(rows, |row| (row % 40) as f64, text)), [true, true], "{rows}");
        }
    }

    #[test]
    fn values_that_do_not_repeat_get_none() {
        let text = |row: usize| Some(format!("text {row}"));
        for rows in [100, 5_000, 100_000] {
            assert_eq!(dictionaries(&slices(rows, |row| row as f64, text)), [false, false], "{rows}");
        }
    }

    #[test]
    fn one_value_that_is_frequent_among_others_does_not_decide() {
        let number = |row: usize| if row.is_multiple_of(4) { 0.0 } else { row as f64 };
        assert!(!dictionaries(&slices(50_001, number, |_| None))[0]);
    }

    #[test]
    fn few_values_and_none_at_all_keep_what_is_usual() {
        let text = |row: usize| row.is_multiple_of(1_000).then(|| row.to_string());
        assert_eq!(dictionaries(&slices(10, |row| row as f64, text)), [true, true]);
        assert!(dictionaries(&slices(10_000, |_| 1.0, text))[1]);
    }

    #[test]
    fn what_is_null_in_all_rows_is_not_compressed() {
        let usual = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        for (last, of_texts) in [(None, Compression::UNCOMPRESSED), (Some("one"), Compression::SNAPPY)] {
            let slices = slices(5_000, |row| row as f64, |row| last.filter(|_| row == 4_999).map(str::to_owned));
            let chosen = chosen(&slices[0].schema(), &slices, usual.clone());
            let codecs = ["number", "text"].map(|name| chosen.compression(&ColumnPath::from(name)));
            assert_eq!(codecs, [Compression::SNAPPY, of_texts]);
        }
    }
}
