//! The sample data are what their README says: a log that names fourteen calls
//! of one tenant, each of which is there as a usable record.

use callrec::flatten::{Head, head};
use callrec::notifications::{self, collect};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

fn sample(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "sample_data", name].iter().collect()
}

fn records() -> BTreeMap<String, Vec<Head>> {
    let mut heads: BTreeMap<String, Vec<Head>> = BTreeMap::new();
    for entry in std::fs::read_dir(sample("records")).expect("readable") {
        let path = entry.expect("readable").path();
        let head = head(&std::fs::read(&path).expect("readable"));
        let head = head.unwrap_or_else(|why| panic!("{}: {why}", path.display()));
        heads.entry(head.call_id.clone()).or_default().push(head);
    }
    heads
}

#[test]
fn the_log_names_exactly_the_calls_that_are_there() {
    let settings = notifications::Settings {
        patterns: vec![sample("notifications/events.jsonl*")],
        client_state: Some("sample-client-state".into()),
        other_client_states: Vec::new(),
        tenant_id: Some("11111111-1111-4111-8111-111111111111".parse().expect("a GUID")),
        max_line_bytes: 1 << 20,
    };
    let collected = collect(&settings, &[]).expect("a readable log");
    assert_eq!(collected.rejected, []);
    assert_eq!(collected.gaps, []);
    let named: BTreeSet<String> = collected.notifications.iter().map(|n| n.call_id.to_string()).collect();
    let there: BTreeSet<String> = records().into_keys().collect();
    assert_eq!(named, there);
    assert_eq!(named.len(), 14);
    assert!(collected.notifications.len() > named.len(), "some calls are named more than once");
    assert_eq!(collected.read, 21);
    assert_eq!(collected.skipped.values().sum::<u64>(), 3, "a validation, a lifecycle item and another tenant's");
}

#[test]
fn one_call_has_two_versions_and_one_starts_before_midnight() {
    let records = records();
    let versions = |call: &str| -> BTreeSet<i64> { records[call].iter().map(|head| head.version).collect() };
    assert_eq!(versions("ca110000-0000-4000-8000-000000000014"), BTreeSet::from([1, 2]));
    let dates: BTreeSet<String> = records.values().flatten().map(|head| head.date().to_string()).collect();
    assert_eq!(dates.into_iter().collect::<Vec<_>>(), ["2026-11-02", "2026-11-03", "2026-11-04", "2026-11-05"]);
    assert_eq!(records["ca110000-0000-4000-8000-000000000013"][0].date().to_string(), "2026-11-03");
}
