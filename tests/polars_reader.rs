//! The polars crate, whose Parquet reader shares no code with our writer, reads
//! the table directory and the canonical glob to the rows that arrow reads.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests fail by panics and read files as they like")]

mod support;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use callrec::schema::Catalogue;
use polars::prelude::{
    AnyValue, HiveOptions, IntoLazy, LazyFrame, PlRefPath, ScanArgsParquet, SortMultipleOptions, col,
};
use std::fs::File;
use std::path::Path;
use std::process::Command;

fn sample(root: &Path) {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("sample_data/callrec.toml");
    let run = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_callrec"));
        command.arg("--config").arg(&config).arg("run").env("CALLREC_OUTPUT__ROOT", root);
        support::ended(command).expect(0)
    };
    run();
}

fn scan(path: &str) -> polars::frame::DataFrame {
    let hive_options = HiveOptions { enabled: Some(true), hive_start_idx: 0, schema: None, try_parse_dates: true };
    let arguments = ScanArgsParquet { hive_options, ..ScanArgsParquet::default() };
    LazyFrame::scan_parquet(PlRefPath::from(path), arguments).unwrap().collect().unwrap()
}

/// Rows as text, one form for both readers, sorted.
fn sorted(mut rows: Vec<Vec<String>>) -> Vec<Vec<String>> {
    rows.sort();
    rows
}

fn of_polars(frame: &polars::frame::DataFrame, names: &[String]) -> Vec<Vec<String>> {
    let columns: Vec<_> = names.iter().map(|name| frame.column(name).unwrap().clone()).collect();
    let rows = (0..frame.height()).map(|row| columns.iter().map(|column| text(&column.get(row).unwrap())).collect());
    sorted(rows.collect())
}

fn text(value: &AnyValue<'_>) -> String {
    match value {
        AnyValue::Null => "null".to_owned(),
        AnyValue::Boolean(value) => value.to_string(),
        AnyValue::Int32(value) => value.to_string(),
        AnyValue::Int64(value) => value.to_string(),
        AnyValue::Float64(value) => format!("{value:?}"),
        AnyValue::String(value) => format!("{value:?}"),
        AnyValue::StringOwned(value) => format!("{:?}", value.as_str()),
        AnyValue::Datetime(value, _, zone) => format!("{value} {}", zone.unwrap().as_str()),
        AnyValue::DatetimeOwned(value, _, zone) => format!("{value} {}", zone.as_ref().unwrap().as_str()),
        AnyValue::List(list) => {
            let items: Vec<String> = (0..list.len()).map(|at| text(&list.get(at).unwrap())).collect();
            format!("[{}]", items.join(","))
        }
        AnyValue::Date(days) => {
            let date = chrono::DateTime::UNIX_EPOCH.date_naive() + chrono::TimeDelta::days(i64::from(*days));
            format!("\"{date}\"")
        }
        other => panic!("no type of ours: {other:?}"),
    }
}

fn of_arrow(directory: &Path, key: &str, names: &[String]) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    support::visit(directory, &mut |path| {
        let partition = path.parent().unwrap().file_name().unwrap().to_str().unwrap();
        let date = format!("{:?}", partition.strip_prefix(&format!("{key}=")).unwrap());
        let file = File::open(path).unwrap();
        let reader =
            parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
        for batch in reader {
            let batch = batch.unwrap();
            for row in 0..batch.num_rows() {
                rows.push(
                    names.iter().map(|name| if name == key { date.clone() } else { cell(&batch, name, row) }).collect(),
                );
            }
        }
    });
    sorted(rows)
}

fn cell(batch: &RecordBatch, name: &str, row: usize) -> String {
    value(batch.column_by_name(name).unwrap().as_ref(), row)
}

fn value(column: &dyn Array, row: usize) -> String {
    if column.is_null(row) {
        return "null".to_owned();
    }
    match column.data_type() {
        DataType::Boolean => column.as_boolean().value(row).to_string(),
        DataType::Int32 => column.as_primitive::<Int32Type>().value(row).to_string(),
        DataType::Int64 => column.as_primitive::<Int64Type>().value(row).to_string(),
        DataType::Float64 => format!("{:?}", column.as_primitive::<Float64Type>().value(row)),
        DataType::Utf8 => format!("{:?}", column.as_string::<i32>().value(row)),
        DataType::Timestamp(..) => format!("{} UTC", column.as_primitive::<TimestampMicrosecondType>().value(row)),
        DataType::List(_) => {
            let list = column.as_list::<i32>().value(row);
            let items: Vec<String> = (0..list.len()).map(|at| value(list.as_ref(), at)).collect();
            format!("[{}]", items.join(","))
        }
        other => panic!("no type of ours: {other:?}"),
    }
}

#[test]
fn polars_reads_the_directory_and_the_glob_to_the_same_rows_as_arrow() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("out");
    sample(&root);
    let catalogue = Catalogue::embedded();
    for table in catalogue.tables.iter().chain([&catalogue.ledger, &catalogue.runs]) {
        let key = match table.name.as_str() {
            "ledger" => "seen_date",
            "runs" => "run_month",
            _ => "call_date",
        };
        let directory = root.join(&table.name);
        let glob = format!("{}/{key}=*/*.parquet", directory.display());
        let mut names: Vec<String> = table.columns.iter().map(|c| c.name.clone()).collect();
        names.push(key.to_owned());
        let (by_directory, by_glob) = (scan(&format!("{}/", directory.display())), scan(&glob));
        let columns: Vec<String> = by_glob.get_column_names().iter().map(ToString::to_string).collect();
        assert_eq!(columns, names, "{}", table.name);
        let expected = of_arrow(&directory, key, &names);
        assert!(!expected.is_empty(), "{}", table.name);
        assert_eq!(of_polars(&by_directory, &names), expected, "{} by directory", table.name);
        assert_eq!(of_polars(&by_glob, &names), expected, "{} by glob", table.name);
    }
    // A filter on the partition key prunes to one date.
    let calls = scan(&format!("{}/", root.join("calls").display()));
    let by_date =
        calls.lazy().sort(["call_date"], SortMultipleOptions::default()).select([col("call_date")]).collect().unwrap();
    assert_eq!(text(&by_date.column("call_date").unwrap().get(0).unwrap()), "\"2026-11-02\"");
}
