use super::{Logs, gzip, is_named, line, numbers, zstandard};
use crate::notifications::GapReason;

const NONE: [u32; 0] = [];
const LOG: &str = "events.jsonl";

/// A log that was read up to call 1, with call 2 unread.
fn half_read(pattern: &str) -> Logs {
    let mut logs = Logs::new(pattern);
    logs.append(LOG, line(&[1]));
    assert_eq!(logs.numbers(), [1]);
    logs.append(LOG, line(&[2]));
    logs
}

#[test]
fn an_unread_tail_is_found_under_its_rotated_name() {
    for pattern in [LOG, "events.jsonl*"] {
        let mut renamed = half_read(pattern);
        renamed.rename(LOG, "events.jsonl.1");
        renamed.append(LOG, line(&[3]));
        assert_eq!(renamed.numbers(), [2, 3], "{pattern}");
        renamed.rename("events.jsonl.1", "events.jsonl.2");
        renamed.rename(LOG, "events.jsonl.1");
        assert_eq!(renamed.numbers(), NONE);
        renamed.append(LOG, line(&[4]));
        renamed.replace("events.jsonl.2.gz", gzip(&renamed.bytes("events.jsonl.2")));
        assert_eq!(renamed.numbers(), [4], "both stand there for a moment");
        renamed.remove("events.jsonl.2");
        assert_eq!(renamed.numbers(), NONE);
        renamed.remove("events.jsonl.2.gz");
        assert_eq!(renamed.numbers(), NONE, "read to its end and rotated: no gap");
        assert_eq!(renamed.cursors.len(), 2);

        for packed in [gzip(line(&[1, 9]).as_bytes()), Vec::new()] {
            let mut logs = half_read(pattern);
            let bytes = logs.bytes(LOG);
            logs.remove(LOG);
            logs.append("events.jsonl.1.zst", zstandard(&bytes));
            logs.append(LOG, line(&[3]));
            logs.append("unrelated.gz", &packed);
            let mut found = logs.numbers();
            found.sort_unstable();
            assert_eq!(found, [2, 3]);
        }
    }
}

#[test]
fn two_rotations_between_two_collects_lose_nothing() {
    let mut logs = half_read(LOG);
    logs.rename(LOG, "events.jsonl.2");
    logs.append("events.jsonl.1", line(&[3]));
    logs.append(LOG, line(&[4]));
    let mut found = logs.numbers();
    found.sort_unstable();
    assert_eq!(found, [2, 3, 4]);
    assert_eq!(logs.numbers(), NONE);
}

#[test]
fn a_copied_and_truncated_log_goes_on_in_both() {
    for pattern in [LOG, "events.jsonl*"] {
        let mut logs = half_read(pattern);
        logs.append("events.jsonl.1", logs.bytes(LOG));
        assert_eq!(logs.numbers(), [2]);
        logs.replace(LOG, line(&[3]));
        assert_eq!(logs.numbers(), [3]);
        logs.append(LOG, line(&[4]));
        assert_eq!(logs.numbers(), [4]);
    }
}

#[test]
fn a_log_that_vanished_is_one_gap() {
    let mut truncated = half_read(LOG);
    truncated.replace(LOG, "");
    let mut replaced = half_read(LOG);
    replaced.replace(LOG, line(&[3]) + &line(&[4, 5, 6]));
    let mut missing = half_read(LOG);
    missing.remove(LOG);
    for (logs, reason, ids) in [
        (&mut truncated, GapReason::Truncated, vec![]),
        (&mut replaced, GapReason::Replaced, vec![3, 4, 5, 6]),
        (&mut missing, GapReason::Missing, vec![]),
    ] {
        let collected = logs.collect();
        assert_eq!(numbers(&collected), ids);
        assert_eq!(collected.gaps.iter().map(|gap| gap.reason).collect::<Vec<_>>(), [reason]);
        assert!(is_named(&collected.gaps[0].file, LOG));
        assert_eq!(logs.numbers(), NONE);
    }
}

#[test]
fn a_reused_inode_is_another_log() {
    let mut logs = half_read(LOG);
    assert_eq!(logs.numbers(), [2]);
    // Truncated in place and longer than before: the same inode, other content.
    logs.append("events.jsonl.1", logs.bytes(LOG));
    logs.replace(LOG, line(&[3, 4, 5]) + &line(&[6]));
    assert_eq!(logs.numbers(), [3, 4, 5, 6]);
}

#[test]
fn the_inode_of_an_empty_rotated_log_does_not_make_the_next_one_rotated() {
    let mut logs = Logs::new("events.jsonl*");
    logs.append(LOG, "");
    assert_eq!(logs.numbers(), NONE);
    logs.rename(LOG, "events.jsonl.1");
    logs.append(LOG, "");
    assert_eq!(logs.numbers(), NONE);
    // As if the rotated one was removed and a new log had got its inode.
    logs.remove(LOG);
    logs.rename("events.jsonl.1", LOG);
    logs.append(LOG, line(&[1]));
    assert_eq!(logs.numbers(), [1]);
    logs.append(LOG, line(&[2]));
    logs.replace(LOG, "");
    let gaps: Vec<_> = logs.collect().gaps.into_iter().map(|gap| gap.reason).collect();
    assert_eq!(gaps, [GapReason::Truncated]);
}

#[test]
fn a_torn_line_waits_and_a_whole_one_without_newline_does_not() {
    let mut logs = Logs::new(LOG);
    let text = line(&[1, 2]);
    logs.append(LOG, &text[..text.len() - 20]);
    assert_eq!(logs.numbers(), NONE);
    logs.append(LOG, &text[text.len() - 20..text.len() - 1]);
    assert_eq!(logs.numbers(), [1, 2]);
    logs.append(LOG, "\n");
    assert_eq!(logs.numbers(), NONE);
    logs.append(LOG, &text[..10]);
    assert_eq!(logs.numbers(), NONE);
    logs.rename(LOG, "events.jsonl.1");
    logs.append("events.jsonl.1", &text[10..]);
    assert_eq!(logs.numbers(), [1, 2]);
}

#[test]
fn a_torn_archive_is_read_as_far_as_it_goes_and_a_damaged_one_is_refused_once() {
    let text: String = (1..400).map(|number| line(&[number])).collect();
    for packed in [gzip(text.as_bytes()), zstandard(text.as_bytes())] {
        let mut logs = Logs::new("*");
        logs.append("a.gz", &packed[..packed.len() / 2]);
        let first = logs.numbers();
        logs.append("a.gz", &packed[packed.len() / 2..]);
        let all: Vec<u32> = first.into_iter().chain(logs.numbers()).collect();
        assert_eq!(all, (1..400).collect::<Vec<_>>());
    }
    let mut packed = gzip(text.as_bytes());
    let end = packed.len();
    packed[end - 8] ^= 0xff;
    let mut logs = Logs::new("*");
    logs.append("a.gz", packed);
    assert_eq!(logs.collect().rejected.len(), 1);
    assert_eq!(logs.collect().rejected.len(), 0);
}

#[test]
fn daily_logs_may_be_deleted_once_they_are_quiet() {
    // Also where both were written to within one tick of the clock.
    for later in [0, 1] {
        let mut logs = Logs::new("events-*.jsonl");
        let write = |logs: &Logs, name: &str, number, at: u64| {
            logs.append(name, line(&[number]));
            let at = std::time::UNIX_EPOCH + std::time::Duration::from_secs(4_000_000_000 + at);
            std::fs::OpenOptions::new().append(true).open(logs.path(name)).unwrap().set_modified(at).unwrap();
        };
        write(&logs, "events-2026-11-01.jsonl", 1, 0);
        assert_eq!(logs.numbers(), [1]);
        write(&logs, "events-2026-11-02.jsonl", 2, later);
        assert_eq!(logs.numbers(), [2]);
        logs.remove("events-2026-11-01.jsonl");
        assert_eq!(logs.numbers(), NONE, "{later}");
        logs.remove("events-2026-11-02.jsonl");
        assert_eq!(logs.collect().gaps.len(), 1, "{later}");
    }
}
