//! Any bytes as a notification log: no panic, nothing read twice, and nothing
//! missed where a run read the log while it was being written.

use callrec::notifications::{Collected, LogCursor, Settings, collect};
use std::cell::RefCell;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

/// The first two bytes say where the log was cut when a first run read it.
pub fn check(data: &[u8]) {
    let Some((&[high, low], log)) = data.split_first_chunk::<2>() else { return };
    let cut = usize::from(u16::from_be_bytes([high, low])).min(log.len());
    thread_local! {
        static HOME: RefCell<tempfile::TempDir> = RefCell::new(tempfile::tempdir().expect("a directory"));
    }
    HOME.with_borrow(|home| {
        let path = home.path().join("events.jsonl");
        let settings = Settings {
            patterns: vec![path.clone()],
            client_state: Some("state".into()),
            other_client_states: Vec::new(),
            tenant_id: None,
            max_line_bytes: 4096,
        };
        write(&path, &log[..cut]);
        let first = read(&settings, &[]);
        append(&path, &log[cut..]);
        let second = read(&settings, &first.cursors);
        let third = read(&settings, &second.cursors);
        assert_eq!((third.read, third.gaps.len()), (0, 0), "what was read is read again");
        assert_eq!(third.cursors, second.cursors, "reading nothing moves a cursor");

        let whole = read(&settings, &[]);
        assert!(whole.rejected.iter().all(|rejected| rejected.bytes.len() <= 16 * 1024 + 16));
        let mut split = first.notifications;
        split.extend(second.notifications);
        for notification in whole.notifications {
            assert!(split.contains(&notification), "missed by a run that read while it was written: {notification:?}");
        }
    });
}

fn read(settings: &Settings, from: &[LogCursor]) -> Collected {
    collect(settings, from).expect("a regular file can be read")
}

fn write(path: &Path, bytes: &[u8]) {
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).open(path).expect("a file");
    file.write_all(bytes).expect("room");
}

fn append(path: &Path, bytes: &[u8]) {
    let mut file = OpenOptions::new().append(true).open(path).expect("a file");
    file.write_all(bytes).expect("room");
}
