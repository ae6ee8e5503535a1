//! Which file is which log now: by name, identity and content.

use super::cursor::LogCursor;
use super::source::{Found, covered, siblings};
use super::stream::Log;
use super::{Gap, GapReason};
use crate::error::Result;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The files of the log beside the cursors of an earlier collect.
pub(super) struct Matched {
    /// All files looked at, those of the patterns first.
    pub(super) files: Vec<Found>,
    /// For each file the cursor whose log it is.
    pub(super) cursors: Vec<Option<LogCursor>>,
    /// Logs that are nowhere and were not read to their end.
    pub(super) gaps: Vec<Gap>,
}

/// The name that a log had before it was rotated and compressed.
pub(super) fn base(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut base = name.as_ref();
    for ending in [".gz", ".zst"] {
        base = base.strip_suffix(ending).unwrap_or(base);
    }
    let digits = base.trim_end_matches(|character: char| character.is_ascii_digit());
    if digits.len() < base.len() && digits.len() > 1 {
        base = digits.strip_suffix(['.', '-']).unwrap_or(base);
    }
    path.with_file_name(base).to_string_lossy().into_owned()
}

/// Whether the file's name begins with a name that the log had.
pub(super) fn is_family(cursor: &LogCursor, path: &Path) -> bool {
    let path = path.to_string_lossy();
    let separated = |rest: &str| !rest.contains(['/', std::path::MAIN_SEPARATOR]);
    [&cursor.base, &cursor.path].iter().any(|name| path.strip_prefix(name.as_str()).is_some_and(separated))
}

/// Finds the file of every cursor. `files` are those of the patterns; siblings
/// of logs are added. Cursors of logs that no pattern names any more are dropped.
pub(super) fn match_up(mut files: Vec<Found>, from: &[LogCursor], patterns: &[PathBuf]) -> Result<Matched> {
    let mut known: BTreeSet<String> = files.iter().map(|file| file.stat.identity.clone()).collect();
    let own =
        |cursor: &&LogCursor| covered(patterns, Path::new(&cursor.base)) || covered(patterns, Path::new(&cursor.path));
    let mut waiting: Vec<&LogCursor> = from.iter().filter(own).collect();
    let foreign = from.len() - waiting.len();
    if foreign > 0 {
        tracing::info!(logs = foreign, "logs that no pattern names any more are forgotten");
    }
    waiting.sort_by(|one, other| other.offset.cmp(&one.offset).then_with(|| one.path.cmp(&other.path)));
    let bases = waiting.iter().map(|cursor| cursor.base.as_str()).collect();
    files.extend(siblings(&bases)?.into_iter().filter(|file| known.insert(file.stat.identity.clone())));
    let mut cursors: Vec<Option<LogCursor>> = vec![None; files.len()];
    for pass in Pass::ALL {
        let mut left = Vec::new();
        for cursor in waiting {
            match claim(cursor, pass, &files, &cursors)? {
                Some(file) => cursors[file] = Some(cursor.clone()),
                None => left.push(cursor),
            }
        }
        waiting = left;
    }
    let mut gaps = Vec::new();
    for cursor in waiting {
        if !covered_by_another(cursor, &files, &cursors)? {
            gaps.extend(gap(cursor, &files));
        }
    }
    Ok(Matched { files, cursors, gaps })
}

/// How well a file fits a cursor, best first.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    NameAndIdentity,
    Identity,
    Name,
    Family,
    Content,
}

impl Pass {
    const ALL: [Self; 5] = [Self::NameAndIdentity, Self::Identity, Self::Name, Self::Family, Self::Content];

    fn fits(self, cursor: &LogCursor, file: &Found) -> bool {
        match self {
            // Known by its inode alone, which may be another file's by now: last.
            _ if cursor.offset == 0 => self == Self::Content && cursor.same_file(&file.stat),
            Self::NameAndIdentity => cursor.same_file(&file.stat) && cursor.named(&file.path),
            Self::Identity => cursor.same_file(&file.stat),
            Self::Name => cursor.named(&file.path),
            Self::Family => is_family(cursor, &file.path),
            // One line alone may well be repeated by another log: the same call, updated again.
            Self::Content => !cursor.document && (!settled(cursor) || cursor.last_length < cursor.offset),
        }
    }
}

fn claim(cursor: &LogCursor, pass: Pass, files: &[Found], taken: &[Option<LogCursor>]) -> Result<Option<usize>> {
    for (index, file) in files.iter().enumerate() {
        if taken[index].is_none() && pass.fits(cursor, file) && held(cursor, file)? {
            return Ok(Some(index));
        }
    }
    Ok(None)
}

fn held(cursor: &LogCursor, file: &Found) -> Result<bool> {
    match Log::open(&file.path)? {
        Some(mut log) => cursor.held_by(&mut log),
        None => Ok(false),
    }
}

/// A longer cursor of the same content goes on for this one.
fn covered_by_another(cursor: &LogCursor, files: &[Found], taken: &[Option<LogCursor>]) -> Result<bool> {
    for (file, other) in files.iter().zip(taken) {
        if cursor.offset > 0 && other.as_ref().is_some_and(|other| other.offset >= cursor.offset) && held(cursor, file)?
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Nothing more was to be expected of it.
const fn settled(cursor: &LogCursor) -> bool {
    cursor.document || cursor.ended && (cursor.rotated || cursor.quiet)
}

fn gap(cursor: &LogCursor, files: &[Found]) -> Option<Gap> {
    let namesake = files.iter().find(|file| cursor.named(&file.path));
    let expected = match namesake {
        // Nothing of it was read: any younger file of its family is read from its start.
        _ if cursor.offset == 0 => {
            let younger = |file: &Found| {
                !cursor.named(&file.path) && is_family(cursor, &file.path) && file.stat.modified >= cursor.modified
            };
            cursor.ended || cursor.document || files.iter().any(younger)
        }
        Some(_) => cursor.document || cursor.ended && cursor.rotated,
        None => settled(cursor),
    };
    let reason = match namesake {
        None => GapReason::Missing,
        Some(file) if file.stat.size < cursor.size => GapReason::Truncated,
        Some(_) => GapReason::Replaced,
    };
    (!expected).then(|| Gap { file: PathBuf::from(&cursor.path), reason })
}
