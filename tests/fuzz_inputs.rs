//! What the fuzz targets check, on their seeds and on the inputs that are kept.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests fail by panics")]
#![allow(clippy::disallowed_types, unreachable_pub, reason = "the targets are no part of the job")]

#[path = "fuzz/targets/config.rs"]
mod config;
#[path = "fuzz/targets/notifications.rs"]
mod notifications;
#[path = "fuzz/targets/records.rs"]
mod records;
#[path = "fuzz/targets/schema.rs"]
mod schema;

use std::fs;
use std::path::Path;

fn files(directory: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let mut paths: Vec<_> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.is_file());
    paths.sort();
    assert!(!paths.is_empty(), "{} is empty", directory.display());
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

#[test]
fn notifications() {
    for log in files("sample_data/notifications") {
        for cut in (0..log.len()).step_by(97) {
            let mut input = u16::try_from(cut).unwrap().to_be_bytes().to_vec();
            input.extend_from_slice(&log);
            notifications::check(&input);
        }
    }
    files("tests/fuzz/inputs/notifications").iter().for_each(|input| notifications::check(input));
}

#[test]
fn records() {
    files("sample_data/records").iter().for_each(|record| records::check(record));
    files("tests/fuzz/inputs/records").iter().for_each(|input| records::check(input));
}

#[test]
fn config() {
    config::check(include_bytes!("../sample_data/callrec.toml"));
    config::check(include_bytes!("../src/verbs/init.toml"));
    files("tests/fuzz/inputs/config").iter().for_each(|input| config::check(input));
}

#[test]
fn schema() {
    let order = [0, 1, 2, 3, 4, 5, 6, 7].map(|n| (n, callrec::schema::Files::embedded().tables[usize::from(n)].1));
    for (number, text) in order {
        let mut input = vec![number];
        input.extend_from_slice(text.as_bytes());
        schema::check(&input);
    }
    files("tests/fuzz/inputs/schema").iter().for_each(|input| schema::check(input));
}
