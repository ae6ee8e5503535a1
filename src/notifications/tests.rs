//! What the log says, and that it is read once whatever happens to its files.

mod items;
mod rotations;
mod sequences;

use super::{Collected, LogCursor, Settings, collect};
use std::io::Write;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The id with that number.
fn id(number: u32) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

/// A collection of notifications of those calls, in one line.
fn line(numbers: &[u32]) -> String {
    let items: Vec<String> = numbers
        .iter()
        .map(|number| format!(r#"{{"changeType":"updated","resource":"communications/callRecords/{}"}}"#, id(*number)))
        .collect();
    format!("{{\"value\":[{}]}}\n", items.join(","))
}

/// A directory of logs and the cursors of the collect before.
struct Logs {
    directory: TempDir,
    settings: Settings,
    cursors: Vec<LogCursor>,
}

impl Logs {
    fn new(pattern: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let patterns = vec![directory.path().join(pattern)];
        let settings = Settings {
            patterns,
            client_state: None,
            other_client_states: Vec::new(),
            tenant_id: None,
            max_line_bytes: 4096,
        };
        Self { directory, settings, cursors: Vec::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn append(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(self.path(name)).unwrap();
        file.write_all(bytes.as_ref()).unwrap();
    }

    fn replace(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::OpenOptions::new()
            .write(true)
            .truncate(true)
            .create(true)
            .open(path)
            .unwrap()
            .write_all(bytes.as_ref())
            .unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        std::fs::hard_link(self.path(from), self.path(to)).unwrap();
        self.remove(from);
    }

    fn remove(&self, name: &str) {
        std::fs::remove_file(self.path(name)).unwrap();
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    /// Collects twice with the same cursors, which must give the same, and
    /// takes the cursors through JSON.
    fn collect(&mut self) -> Collected {
        let collected = collect(&self.settings, &self.cursors).unwrap();
        assert_eq!(collected, collect(&self.settings, &self.cursors).unwrap());
        self.cursors = serde_json::from_str(&serde_json::to_string(&collected.cursors).unwrap()).unwrap();
        collected
    }

    /// The numbers of the calls that are new; nothing else may have happened.
    fn numbers(&mut self) -> Vec<u32> {
        let collected = self.collect();
        assert_eq!((&collected.gaps, &collected.rejected), (&Vec::new(), &Vec::new()));
        numbers(&collected)
    }
}

fn numbers(collected: &Collected) -> Vec<u32> {
    collected.notifications.iter().map(|one| one.call_id.to_string()[24..].parse().unwrap()).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstandard(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

fn is_named(path: &Path, name: &str) -> bool {
    path.file_name().is_some_and(|other| other == name)
}
