//! A dataset of an older schema: the first run brings all tables to the new one
//! before it exports anything. And what holds of every file that is written.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests fail by panics and rewrite files as they like"
)]

#[path = "support/narrow.rs"]
mod narrow;
mod support;

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use callrec::schema::Catalogue;
use narrow::{batches, without};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;
use std::fs::{self, File};
use support::{Graph, OLDER_SCHEMA, Place, call_id, days_ago, record};

#[test]
fn the_first_run_of_a_new_schema_upgrades_all_tables_in_a_commit_of_its_own() {
    let graph = Graph::empty();
    for n in 1..=4 {
        graph.put(&record(&call_id(n), 1, days_ago(i64::from((n - 1) % 3 + 1)), 2));
    }
    let place = Place::new(&graph.endpoint(), "");
    place.notify([1, 2, 4].map(call_id).iter().map(String::as_str));
    place.callrec(&["run"]).expect(0);
    place.pretend_older_schema();
    place.callrec(&["purge", "--call", &call_id(4)]).expect(0);
    assert_eq!(place.newest_commit()["schema"], OLDER_SCHEMA, "a purge brings no part to the new schema");
    let before = place.record_tables();
    support::visit(&place.root().join("streams"), &mut |path| without(path, "packet_utilization"));
    support::visit(&place.root().join("ledger"), &mut |path| without(path, "versions"));
    let archived = days_ago(1).date_naive();
    fs::remove_dir_all(place.root().join(format!("raw/call_date={}", days_ago(2).date_naive()))).unwrap();

    place.notify([call_id(3).as_str()]);
    let ended = place.callrec(&["run"]).expect(0);
    assert!(ended.stderr.contains("upgrading"), "{}", ended.stderr);
    assert_eq!(ended.summary()["exported_new"], 1);
    let kind = |number: u32| -> String {
        let bytes = fs::read(place.root().join(format!("_callrec/commits/{number:06}.json"))).unwrap();
        serde_json::from_slice::<Value>(&bytes).unwrap()["kind"].as_str().unwrap().to_owned()
    };
    assert_eq!((kind(3).as_str(), kind(4).as_str()), ("upgrade", "batch"));
    let rows = support::rows(&place.root(), "streams", &["call_id", "packet_utilization"]);
    assert!(rows.contains(&vec![call_id(1), "5001".into()]), "made again from the archive: {rows:?}");
    assert!(rows.contains(&vec![call_id(2), "null".into()]), "the archive is gone: {rows:?}");
    let after = place.record_tables();
    let same = |name: &String| name.contains(&archived.to_string());
    for (name, digest) in before.iter().filter(|(name, _)| same(name)) {
        assert_eq!(after[name], *digest, "{name}");
    }
    let verified: Value =
        serde_json::from_str(place.callrec(&["verify", "--format", "json"]).expect(3).stdout.trim()).unwrap();
    assert_eq!(verified["calls_without_archive"], 1);
    // A segment that a commit names and somebody took away is a fault, the only one.
    assert_eq!(verified["fault_count"], 1, "{verified}");
    assert!(verified["faults"][0].as_str().unwrap().starts_with("raw/"), "{verified}");
    place.callrec(&["run"]).expect(0);

    // A row of the older program counts as one of the version that is stored.
    let versions = || {
        let mut rows = support::rows(&place.root(), "ledger", &["call_id", "versions"]);
        rows.sort();
        rows.into_iter().map(|row| row[1].clone()).collect::<Vec<_>>()
    };
    assert_eq!(versions(), ["null", "null", "[1]", "null"]);
    graph.put(&record(&call_id(1), 3, days_ago(1), 2));
    place.notify([call_id(1).as_str()]);
    place.callrec(&["run"]).expect(0);
    assert_eq!(versions(), ["[1, 3]", "null", "[1]", "null"]);
}

#[test]
fn every_file_has_the_whole_schema_and_what_readers_use() {
    let graph = Graph::empty();
    for n in 1..=5 {
        graph.put(&record(&call_id(n), 1, days_ago(i64::from(n % 2) + 1), 3));
    }
    let place = Place::new(&graph.endpoint(), "");
    place.notify((1..=5).map(call_id).collect::<Vec<_>>().iter().map(String::as_str));
    place.callrec(&["run", "--run-id", "canary-run"]).expect(0);
    let catalogue = Catalogue::embedded();
    for table in catalogue.tables.iter().chain([&catalogue.ledger]) {
        let mut files = 0;
        support::visit(&place.root().join(&table.name), &mut |path| {
            files += 1;
            assert_eq!(path.extension().unwrap(), "parquet");
            let bytes = fs::read(path).unwrap();
            assert!(!bytes.windows(10).any(|w| w == b"canary-run"), "{}", path.display());
            let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
            let expected = table.arrow_schema();
            assert_eq!(reader.schema().fields(), expected.fields(), "{}", path.display());
            for field in expected.fields() {
                assert!(!matches!(
                    field.data_type(),
                    DataType::Null | DataType::Dictionary(..) | DataType::Duration(_)
                ));
                assert!(field.metadata().contains_key("description"), "{}", field.name());
            }
            let metadata = reader.metadata();
            let version = metadata
                .file_metadata()
                .key_value_metadata()
                .unwrap()
                .iter()
                .find(|p| p.key == "callrec.schema_version");
            assert_eq!(version.unwrap().value.as_deref(), Some(catalogue.hash.as_str()));
            for group in metadata.row_groups() {
                assert_eq!(group.sorting_columns().is_some(), table.name != "ledger");
                for column in group.columns() {
                    let codec = column.compression().to_string();
                    // Of nulls alone there is nothing to compress.
                    let has_values = column.statistics().is_some_and(|s| s.min_bytes_opt().is_some());
                    let fits = codec.starts_with("ZSTD") || codec == "UNCOMPRESSED" && !has_values;
                    assert!(fits, "{codec} {}", column.column_path());
                    assert!(
                        column.statistics().is_some()
                            && column.column_index_offset().is_some()
                            && column.offset_index_offset().is_some()
                    );
                    let one_row_a_call = ["calls", "ledger"].contains(&table.name.as_str());
                    let looked_up = one_row_a_call && column.column_path().string() == "call_id";
                    assert_eq!(column.bloom_filter_offset().is_some(), looked_up);
                }
            }
            if table.name != "ledger" {
                let keys: Vec<Vec<String>> = batches(path)
                    .iter()
                    .flat_map(|batch| (0..batch.num_rows()).map(|row| key(batch, row)).collect::<Vec<_>>())
                    .collect();
                assert!(keys.is_sorted(), "{}", path.display());
            }
        });
        if !matches!(table.name.as_str(), "trace_route_hops" | "feedback_tokens") {
            assert!(files > 0, "{}", table.name);
        }
    }
}

/// Call start, call id and positions, as text that sorts.
fn key(batch: &RecordBatch, row: usize) -> Vec<String> {
    use arrow::util::display::array_value_to_string;
    let schema = batch.schema();
    let of = |name: &str| array_value_to_string(&support::without_zone(batch, name), row).unwrap();
    let mut key = vec![of("call_start_date_time"), of("call_id")];
    let positions = schema.fields().iter().map(|f| f.name()).filter(|name| name.ends_with("_index"));
    key.extend(positions.map(|name| format!("{:>10}", of(name))));
    key
}
