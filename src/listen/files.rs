//! The files of the log: whole lines, on the disk before they count.
//!
//! A reader may look at any moment, and remembers how far it came. So a file in
//! which a write failed is never written to again: its torn line is cut off, or
//! ended where only the end was missing, and the next line begins a new file. A
//! reader that has seen the torn line knows it as unfinished and has not passed it.

use super::name::Name;
use crate::crash_point::crash_point;
use crate::error::{Error, Result};
use crate::files::{self, PRIVATE};
use crate::json;
use chrono::{DateTime, Utc};
use serde_json::value::RawValue;
use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// No pattern names what begins with a dot.
const LOCK: &str = ".callrec-listen.lock";
const PROBE: &str = ".callrec-listen.probe";
/// Bytes of a file's end that are looked at in one go.
const BLOCK: u64 = 64 * 1024;
/// Least that a trial write writes.
const TRIAL: usize = 64 * 1024;

/// The file that is written to.
struct Current {
    file: File,
    path: PathBuf,
    name: Name,
    length: u64,
}

/// The log of one directory. Nobody else can have it open.
pub(super) struct LogFiles {
    directory: PathBuf,
    rotate_bytes: u64,
    current: Option<Current>,
    newest: Option<Name>,
    /// Files whose end is not known to be whole.
    torn: Vec<PathBuf>,
    /// A write has failed and none has succeeded since.
    failed: bool,
    /// Syncs of files.
    pub(super) syncs: u64,
    _lock: File,
}

impl LogFiles {
    /// Takes the directory, makes the ends of its files whole and tries whether
    /// it can be written to.
    ///
    /// # Errors
    /// By class temporary when another listener has it; any failure of the file
    /// system, by class I/O.
    pub(super) fn open(directory: &Path, rotate_bytes: u64) -> Result<Self> {
        files::create_directory(directory, PRIVATE)?;
        let path = directory.join(LOCK);
        let lock = files::append_file(&path, PRIVATE)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::temporary(format!("Another listener writes to {}", directory.display()))
                    .hint("give each its own [listen] directory; the lock is free at once when its process dies"));
            }
            Err(TryLockError::Error(e)) => return Err(Error::io("lock", &path, e)),
        }
        let paths = files::list(directory)?;
        let newest = paths.iter().filter_map(|path| Name::of(path)).max();
        let torn = paths.into_iter().filter(|path| Name::is_plain(path)).collect();
        let mut log = Self {
            directory: directory.to_owned(),
            rotate_bytes,
            current: None,
            newest,
            torn,
            failed: false,
            syncs: 0,
            _lock: lock,
        };
        log.mend()?;
        // What a process that was killed has made and not synced.
        files::sync_directory(directory)?;
        log.try_out(TRIAL)?;
        Ok(log)
    }

    /// Appends whole lines, and returns when they are on the disk.
    ///
    /// # Errors
    /// Any failure of the file system, by class I/O. Then none of the lines
    /// counts, although some of them may be read.
    pub(super) fn append(&mut self, lines: &[u8], now: DateTime<Utc>) -> Result<()> {
        if self.failed {
            // So that a full disk does not fill with beginnings of files.
            self.try_out(lines.len().max(TRIAL))?;
        }
        let appended = self.append_to_current(lines, now);
        self.failed = appended.is_err();
        appended
    }

    /// Whether lines could be appended now, after a write failed.
    pub(super) fn recovered(&mut self) -> bool {
        if self.failed && self.try_out(TRIAL).is_ok() {
            self.failed = false;
        }
        !self.failed
    }

    fn append_to_current(&mut self, lines: &[u8], now: DateTime<Utc>) -> Result<()> {
        let mut current = match self.current.take() {
            Some(current) if !self.is_over(&current, lines.len() as u64, now) => current,
            _ => self.begin(now)?,
        };
        let (written, outcome) = write(&mut current.file, lines);
        current.length += written;
        if let Err(e) = outcome {
            let error = Error::io("write", &current.path, e);
            if written == 0 {
                self.current = Some(current);
            } else {
                self.torn.push(current.path);
                drop(current.file);
                // If it fails it is tried again before the next write.
                let _ = self.mend();
            }
            return Err(error);
        }
        self.syncs += 1;
        // What a failed sync has lost cannot be synced again: another file.
        crash_point("listen::syncing")?;
        current.file.sync_data().map_err(|e| Error::io("sync", &current.path, e))?;
        self.current = Some(current);
        crash_point("listen::answering")
    }

    fn is_over(&self, current: &Current, more: u64, now: DateTime<Utc>) -> bool {
        let full = current.length > 0 && current.length.saturating_add(more) > self.rotate_bytes;
        full || current.name.day().is_some_and(|day| now.date_naive() > day)
    }

    /// A new file, whose name is on the disk too.
    fn begin(&mut self, now: DateTime<Utc>) -> Result<Current> {
        let name = Name::next(self.newest.as_ref(), now);
        let path = self.directory.join(name.file_name());
        self.newest = Some(name.clone());
        let file = files::create_file(&path, PRIVATE)?;
        self.syncs += 1;
        if let Err(error) = crash_point("listen::beginning").and_then(|()| files::sync_directory(&self.directory)) {
            drop(file);
            let _ = files::remove_if_there(&path);
            return Err(error);
        }
        tracing::info!(file = %path.display(), "a new file of the notification log begins");
        Ok(Current { file, path, name, length: 0 })
    }

    /// Makes the ends of files whole in which a write was interrupted.
    fn mend(&mut self) -> Result<()> {
        while let Some(path) = self.torn.last() {
            mend(path)?;
            self.torn.pop();
        }
        Ok(())
    }

    /// Mends what is left to be mended, and writes so many bytes to a file that
    /// nobody reads.
    fn try_out(&mut self, bytes: usize) -> Result<()> {
        self.mend()?;
        let path = self.directory.join(PROBE);
        files::remove_if_there(&path)?;
        let mut file = files::create_file(&path, PRIVATE)?;
        let written = write(&mut file, &vec![b'\n'; bytes]).1.and_then(|()| file.sync_all());
        self.syncs += 1;
        files::remove_if_there(&path)?;
        written.map_err(|e| Error::io("write", &path, e))
    }
}

/// How many bytes were written, and whether those were all.
fn write(file: &mut File, bytes: &[u8]) -> (u64, io::Result<()>) {
    let mut left = bytes;
    let failed = |left: &[u8], error| ((bytes.len() - left.len()) as u64, Err(error));
    if let Err(error) = failpoint("listen::writing") {
        return failed(left, error);
    }
    if failpoint("listen::short").is_err() {
        left = &bytes[..bytes.len() / 2];
        return match file.write_all(left) {
            Ok(()) => (left.len() as u64, Err(io::ErrorKind::StorageFull.into())),
            Err(error) => (0, Err(error)),
        };
    }
    while !left.is_empty() {
        match file.write(left) {
            Ok(0) => return failed(left, io::ErrorKind::WriteZero.into()),
            Ok(count) => left = left.get(count..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return failed(left, error),
        }
    }
    (bytes.len() as u64, Ok(()))
}

/// A crash point where the system's own error is wanted.
fn failpoint(name: &'static str) -> io::Result<()> {
    crash_point(name).map_err(|_| io::ErrorKind::StorageFull.into())
}

/// Cuts a torn last line off, or ends it where only the line's end is missing:
/// that one may have been read already.
fn mend(path: &Path) -> Result<()> {
    let failed = |e| Error::io("mend the end of", path, e);
    if !files::exists(path)? {
        return Ok(());
    }
    let mut file = files::append_file(path, PRIVATE)?;
    let length = file.metadata().map_err(failed)?.len();
    let (whole, tail) = tail(&mut file, length).map_err(failed)?;
    if tail.is_empty() {
        return Ok(());
    }
    if is_value(&tail) {
        let (_, written) = write(&mut file, b"\n");
        written.map_err(failed)?;
    } else {
        file.set_len(whole).map_err(failed)?;
    }
    file.sync_all().map_err(failed)?;
    tracing::warn!(file = %path.display(), bytes = tail.len(), "the last line was torn; its post was not answered");
    Ok(())
}

/// Where the last whole line ends, and what follows it.
fn tail(file: &mut File, length: u64) -> io::Result<(u64, Vec<u8>)> {
    let mut at = length;
    let mut tail = Vec::new();
    while at > 0 {
        let start = at.saturating_sub(BLOCK);
        file.seek(SeekFrom::Start(start))?;
        let mut block = Vec::new();
        Read::by_ref(file).take(at - start).read_to_end(&mut block)?;
        let end = block.iter().rposition(|byte| *byte == b'\n');
        let mut rest = block.split_off(end.map_or(0, |end| end + 1));
        rest.append(&mut tail);
        tail = rest;
        if end.is_some() {
            return Ok((start + block.len() as u64, tail));
        }
        at = start;
    }
    Ok((0, tail))
}

fn is_value(bytes: &[u8]) -> bool {
    json::checked(bytes, bytes.len()).is_ok_and(|text| serde_json::from_str::<&RawValue>(text).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;
    use tempfile::TempDir;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_764_115_190, 0).unwrap() + TimeDelta::seconds(seconds)
    }

    fn names(directory: &TempDir) -> Vec<String> {
        let paths = files::list(directory.path()).unwrap().into_iter().filter(|path| Name::is_plain(path));
        paths.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
    }

    fn text(directory: &TempDir, name: &str) -> String {
        std::fs::read_to_string(directory.path().join(name)).unwrap()
    }

    #[test]
    fn files_change_by_size_and_by_day_and_old_ones_stay() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = LogFiles::open(directory.path(), 10).unwrap();
        assert!(names(&directory).is_empty(), "a file begins with its first line");
        for (line, seconds) in [("aaaa\n", 0), ("bbbb\n", 1), ("c\n", 2), ("longer than a file\n", 3), ("d\n", 3)] {
            log.append(line.as_bytes(), at(seconds)).unwrap();
        }
        let first_day = [
            "notifications-20251125T235950Z-000000.jsonl",
            "notifications-20251125T235952Z-000000.jsonl",
            "notifications-20251125T235953Z-000000.jsonl",
            "notifications-20251125T235953Z-000001.jsonl",
        ];
        assert_eq!(names(&directory), first_day);
        log.append(b"e\n", at(9)).unwrap();
        assert_eq!(text(&directory, first_day[3]), "d\ne\n");
        log.append(b"f\n", at(10)).unwrap();
        // A clock that is set back begins no other day.
        log.append(b"g\n", at(-86_400)).unwrap();
        assert_eq!(names(&directory).len(), 5);
        assert_eq!(text(&directory, "notifications-20251126T000000Z-000000.jsonl"), "f\ng\n");
        assert_eq!(text(&directory, first_day[0]), "aaaa\nbbbb\n");
        assert_eq!(log.syncs, 1 + 5 + 8, "the trial, a directory for each file, and a file for each line");
    }

    #[test]
    fn torn_ends_are_mended_at_the_start_and_nothing_is_appended_to_them() {
        let value = "{\"value\":[]}";
        for (left, mended) in [
            ("", ""),
            ("{\"a\":1}\n", "{\"a\":1}\n"),
            ("{\"a\":1}\n{\"value\":[{\"cl", "{\"a\":1}\n"),
            ("{\"val", ""),
            ("\0\0\0", ""),
            (value, "{\"value\":[]}\n"),
        ] {
            let directory = tempfile::tempdir().unwrap();
            let name = "notifications-20251125T235950Z-000000.jsonl";
            files::write_atomically(&directory.path().join(name), left.as_bytes(), PRIVATE).unwrap();
            let mut log = LogFiles::open(directory.path(), 1000).unwrap();
            assert_eq!(text(&directory, name), mended, "{left}");
            log.append(b"{}\n", at(0)).unwrap();
            assert_eq!(text(&directory, name), mended);
            assert_eq!(names(&directory).len(), 2);
        }
    }

    #[test]
    fn a_torn_line_may_be_longer_than_a_block() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notifications-20251125T235950Z-000000.jsonl");
        let whole = format!("{}\n", "a".repeat(100_000));
        for torn in [10, 65_536, 200_000] {
            files::write_atomically(&path, format!("{whole}{}", "b".repeat(torn)).as_bytes(), PRIVATE).unwrap();
            LogFiles::open(directory.path(), 1000).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), whole, "{torn}");
        }
    }

    #[test]
    fn a_second_one_is_refused_until_the_first_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let first = LogFiles::open(directory.path(), 1000).unwrap();
        let refused = LogFiles::open(directory.path(), 1000).err().unwrap();
        assert_eq!(refused.class(), crate::error::Class::Temporary);
        drop(first);
        LogFiles::open(directory.path(), 1000).unwrap();
    }
}
