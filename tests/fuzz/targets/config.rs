//! Any bytes as a config: no panic, and no message shows what a secret holds.

use callrec::config::{self, Config};
use std::cell::RefCell;
use std::fs::OpenOptions;
use std::io::Write;

/// Stands for a secret in the seeds.
const SECRET: &str = "s3cr3t";

pub fn check(data: &[u8]) {
    thread_local! {
        static HOME: RefCell<tempfile::TempDir> = RefCell::new(tempfile::tempdir().expect("a directory"));
    }
    HOME.with_borrow(|home| {
        let path = home.path().join("callrec.toml");
        let mut file = OpenOptions::new().create(true).truncate(true).write(true).open(&path).expect("a file");
        file.write_all(data).expect("room");
        let loaded = match config::places(Some(&path)) {
            Ok(places) => places.iter().map(Config::load).collect(),
            Err(error) => vec![Err(error)],
        };
        for one in loaded {
            match one {
                Ok(config) => assert!(!format!("{config:?}").contains(SECRET), "Debug shows a secret"),
                Err(error) => {
                    let message = format!("{error} {error:?}");
                    assert!(!message.contains(SECRET), "a message shows a secret: {message}");
                }
            }
        }
    });
}
