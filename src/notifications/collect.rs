//! All logs from their cursors on.

use super::cursor::LogCursor;
use super::rotation::{Matched, base, is_family, match_up};
use super::source::{Found, covered, files};
use super::stream::Log;
use super::{Collected, Settings, capture, copies, reading};
use crate::error::Error;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a rotation that is under way is given to end.
const LOOKS_AGAIN: [Duration; 2] = [Duration::from_millis(10), Duration::from_millis(100)];

/// Reads every log from where `from` ended. A pure function of the files and the
/// cursors: nothing is written, and the same cursors give the same again.
///
/// # Errors
/// A file cannot be read, or a pattern names something that is no regular file.
pub fn collect(settings: &Settings, from: &[LogCursor]) -> Result<Collected, Error> {
    let Matched { files, cursors, gaps } = matched(settings, from)?;
    let mut collected = Collected { gaps, ..Collected::default() };
    let mut order: Vec<usize> = (0..files.len()).collect();
    order.sort_by(|one, other| {
        let current = |path: &Path| base(path) == path.to_string_lossy();
        let key =
            |index: &usize| (files[*index].stat.modified, current(&files[*index].path), files[*index].path.clone());
        key(one).cmp(&key(other))
    });
    let chosen = chosen(&files, &cursors, from, &settings.patterns)?;
    for index in order.into_iter().filter(|index| chosen[*index]) {
        let (file, cursor) = (&files[index], cursors[index].as_ref());
        if collected.is_full() {
            collected.cursors.extend(cursor.cloned());
            continue;
        }
        match read(file, cursor, settings, &mut collected)? {
            Some(mut new) => {
                settle(&mut new, cursor, index, &files);
                collected.cursors.push(new);
            }
            // Replaced while we looked: the next run finds it.
            None => collected.cursors.extend(cursor.cloned()),
        }
    }
    collected.more = collected.is_full();
    collected.cursors.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(collected)
}

/// Looks again before it says that a log is gone: one that is renamed between
/// the listing of its directory and the look at it is seen under neither name.
fn matched(settings: &Settings, from: &[LogCursor]) -> Result<Matched, Error> {
    for pause in LOOKS_AGAIN {
        let matched = match_up(files(&settings.patterns)?, from, &settings.patterns)?;
        if matched.gaps.is_empty() {
            return Ok(matched);
        }
        std::thread::sleep(pause);
    }
    match_up(files(&settings.patterns)?, from, &settings.patterns)
}

/// Reads one log if it still is what it was when it was matched.
fn read(
    file: &Found,
    cursor: Option<&LogCursor>,
    settings: &Settings,
    collected: &mut Collected,
) -> Result<Option<LogCursor>, Error> {
    let Some(mut log) = Log::open(&file.path)? else { return Ok(None) };
    if log.stat.identity != file.stat.identity {
        return Ok(None);
    }
    if let Some(cursor) = cursor {
        if !cursor.held_by(&mut log)? {
            return Ok(None);
        }
        let unread = match log.compressed {
            true => !cursor.ended || !cursor.untouched(&log.stat),
            false => cursor.offset < log.stat.size,
        };
        if !unread && cursor.offset > 0 {
            let stat = log.stat;
            let path = file.path.to_string_lossy().into_owned();
            let ended = cursor.ended || !log.compressed;
            let (device, inode, size, modified) = (stat.device, stat.inode, stat.size, stat.modified);
            return Ok(Some(LogCursor { path, device, inode, size, modified, ended, ..cursor.clone() }));
        }
    }
    let base = cursor.map_or_else(|| base(&file.path), |cursor| cursor.base.clone());
    reading::read(&mut log, &file.path, &base, cursor, settings, collected).map(Some)
}

/// Which files are read: those of a cursor, new ones of the patterns, and new
/// siblings that were rotated away since the collect before. No mere copies.
fn chosen(
    files: &[Found],
    cursors: &[Option<LogCursor>],
    from: &[LogCursor],
    patterns: &[PathBuf],
) -> Result<Vec<bool>, Error> {
    let mut chosen: Vec<bool> = cursors.iter().map(Option::is_some).collect();
    let mut namesakes: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (index, file) in files.iter().enumerate() {
        namesakes.entry(base(&file.path)).or_default().push(index);
    }
    let mut fresh: Vec<usize> = (0..files.len()).filter(|index| !chosen[*index]).collect();
    fresh.sort_by_key(|index| {
        (is_packed(&files[*index].path), std::cmp::Reverse(files[*index].stat.size), files[*index].path.clone())
    });
    for index in fresh {
        let file = &files[index];
        if !file.by_pattern && !rotated_since(file, from, patterns) {
            continue;
        }
        let mut copy = false;
        for other in namesakes.get(&base(&file.path)).into_iter().flatten().filter(|other| chosen[**other]) {
            copy = copy || file.stat.size > 0 && copies::is_copy(&file.path, &files[*other].path)?;
        }
        chosen[index] = !copy;
    }
    Ok(chosen)
}

/// Whether a sibling that no pattern names was written since its log was read.
fn rotated_since(file: &Found, from: &[LogCursor], patterns: &[PathBuf]) -> bool {
    let family =
        || from.iter().filter(|cursor| is_family(cursor, &file.path) && covered(patterns, Path::new(&cursor.base)));
    let last = family().map(|cursor| cursor.modified).max();
    last.is_some_and(|last| file.stat.modified >= last) && family().all(|cursor| Path::new(&cursor.base) != file.path)
}

fn is_packed(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "gz" || ending == "zst")
}

/// Tells whether the log is one that nothing is written to any more.
fn settle(new: &mut LogCursor, old: Option<&LogCursor>, index: usize, files: &[Found]) {
    let file = &files[index];
    // Capture never goes on in a file of before.
    let packed = is_packed(&file.path) || capture::is_named(&file.path);
    // A log whose whole directory was moved is not rotated by that.
    let renamed = old
        .is_some_and(|old| old.rotated || old.path != new.path && Path::new(&old.path).parent() == file.path.parent());
    if Path::new(&new.base).parent() != file.path.parent() {
        new.base = base(&file.path);
    }
    let behind = || files.iter().any(|other| other.path.to_string_lossy() == new.base && other.path != file.path);
    // What bears the log's own name is written to, even if its inode was once
    // that of a rotated log.
    let current = file.path.to_string_lossy() == new.base;
    new.rotated = packed || !current && (renamed || behind());
    // There may be very many files: what is compared faster is compared first.
    let newer = || {
        // The clock of a file system stands still for some milliseconds.
        let newer = |other: &Found| (other.stat.modified, &other.path) > (file.stat.modified, &file.path);
        files.iter().any(|other| newer(other) && other.path.parent() == file.path.parent())
    };
    new.quiet = old.is_some_and(|old| old.untouched(&file.stat) && old.offset == new.offset) && newer();
}
