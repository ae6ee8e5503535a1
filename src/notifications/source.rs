//! Which files the log consists of: files, directories and globs.

use crate::error::{Error, Result};
use globset::{GlobBuilder, GlobMatcher};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::Metadata;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::time::UNIX_EPOCH;

/// Deepest tree below a `**`.
const MAX_LEVELS: usize = 32;

/// What the file system says of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    /// Device and inode, where there are such.
    pub(super) device: Option<u64>,
    pub(super) inode: Option<u64>,
    /// Bytes as stored.
    pub(super) size: u64,
    /// Time of the last change in ns since 1970.
    pub(super) modified: i64,
    /// One value for all names of one file.
    pub(super) identity: String,
}

pub(super) fn stat_of(path: &Path, metadata: &Metadata) -> Stat {
    let age = metadata.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let modified = age.and_then(|age| i64::try_from(age.as_nanos()).ok()).unwrap_or_default();
    let (device, inode, identity) = identity(path, metadata);
    Stat { device, inode, size: metadata.len(), modified, identity }
}

#[cfg(unix)]
fn identity(_: &Path, metadata: &Metadata) -> (Option<u64>, Option<u64>, String) {
    use std::os::unix::fs::MetadataExt;
    let (device, inode) = (metadata.dev(), metadata.ino());
    (Some(device), Some(inode), format!("{device}:{inode}"))
}

#[cfg(not(unix))]
fn identity(path: &Path, _: &Metadata) -> (Option<u64>, Option<u64>, String) {
    let canonical = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    (None, None, canonical.to_string_lossy().into_owned())
}

/// A file of the log, or beside it.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) stat: Stat,
    /// Named by a pattern, and not only the sibling of a log.
    pub(super) by_pattern: bool,
}

/// The error for what is no regular file and would hang or never end.
pub(super) fn not_a_file(path: &Path) -> Error {
    Error::config(format!("the notification log {} is no regular file", path.display()))
        .hint("name regular files, directories of them or globs; a FIFO or device cannot be read twice")
}

/// Regular files that the patterns name, each physical file once, in the order
/// of their paths.
pub(super) fn files(patterns: &[PathBuf]) -> Result<Vec<Found>> {
    let mut paths = BTreeSet::new();
    for pattern in patterns {
        match metadata(pattern)? {
            Some(metadata) if metadata.is_dir() => {
                for (path, name) in entries(pattern)? {
                    if !name.starts_with('.') && self::metadata(&path)?.is_some_and(|m| m.is_file()) {
                        paths.insert(path);
                    }
                }
            }
            Some(_) => {
                paths.insert(pattern.clone());
            }
            None if has_wildcard(&pattern.to_string_lossy()) => {
                let mut named = BTreeSet::new();
                expand(pattern, &mut named)?;
                if named.is_empty() {
                    tracing::warn!(pattern = %pattern.display(), "no notification log has such a name yet");
                }
                paths.append(&mut named);
            }
            None => tracing::warn!(file = %pattern.display(), "the notification log is not there yet"),
        }
    }
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for path in paths {
        let Some(metadata) = metadata(&path)? else { continue };
        if metadata.is_dir() {
            continue;
        }
        if !metadata.is_file() {
            return Err(not_a_file(&path));
        }
        let stat = stat_of(&path, &metadata);
        if seen.insert(stat.identity.clone()) {
            found.push(Found { path, stat, by_pattern: true });
        }
    }
    Ok(found)
}

/// For each of the paths the regular files in its directory whose names begin with
/// its name.
pub(super) fn siblings(bases: &BTreeSet<&str>) -> Result<Vec<Found>> {
    let mut listings: BTreeMap<&Path, Vec<(PathBuf, String)>> = BTreeMap::new();
    let mut found = Vec::new();
    for base in bases.iter().map(Path::new) {
        let (Some(directory), Some(name)) = (base.parent(), base.file_name()) else { continue };
        let name = name.to_string_lossy();
        let listing = match listings.entry(directory) {
            Entry::Occupied(listing) => listing.into_mut(),
            Entry::Vacant(room) => {
                let mut listing = entries(directory)?;
                listing.sort_by(|(_, one), (_, other)| one.cmp(other));
                room.insert(listing)
            }
        };
        let first = listing.partition_point(|(_, other)| other.as_str() < name.as_ref());
        let beginning = listing.iter().skip(first).take_while(|(_, other)| other.starts_with(name.as_ref()));
        for (path, _) in beginning {
            if let Some(metadata) = metadata(path)?.filter(Metadata::is_file) {
                found.push(Found { path: path.clone(), stat: stat_of(path, &metadata), by_pattern: false });
            }
        }
    }
    Ok(found)
}

/// Whether a pattern names, or would name, `path`.
pub(super) fn covered(patterns: &[PathBuf], path: &Path) -> bool {
    patterns.iter().any(|pattern| {
        pattern == path
            || path.parent() == Some(pattern.as_path())
            || matcher(&pattern.to_string_lossy()).is_ok_and(|matcher| matcher.is_match(path))
    })
}

fn has_wildcard(text: &str) -> bool {
    text.contains(['*', '?', '[', '{'])
}

fn matcher(glob: &str) -> Result<GlobMatcher> {
    let built = GlobBuilder::new(glob).literal_separator(true).backslash_escape(cfg!(not(windows))).build();
    built.map(|glob| glob.compile_matcher()).map_err(|error| {
        Error::config(format!("the glob {glob} of the notification log cannot be read"))
            .because(error)
            .hint("mend it in [source] notifications")
    })
}

/// Follows symbolic links; `None` if nothing is there.
fn metadata(path: &Path) -> Result<Option<Metadata>> {
    match std::fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::InvalidFilename
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(Error::io("look at the notification log", path, error)),
    }
}

/// Paths and names directly inside a directory, sorted; none if it is not there. The
/// paths begin as that of the directory does, so that patterns match them.
fn entries(directory: &Path) -> Result<Vec<(PathBuf, String)>> {
    let listed = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let failed = |error| Error::io("list the directory of the notification log", listed, error);
    let listing = match std::fs::read_dir(listed) {
        Ok(listing) => listing,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(failed(error)),
    };
    let mut entries = Vec::new();
    for entry in listing {
        let name = entry.map_err(failed)?.file_name();
        entries.push((directory.join(&name), name.to_string_lossy().into_owned()));
    }
    entries.sort();
    Ok(entries)
}

/// The paths that a glob names, walking only directories that can hold them.
fn expand(pattern: &Path, paths: &mut BTreeSet<PathBuf>) -> Result<()> {
    let mut places = vec![PathBuf::new()];
    for component in pattern.components() {
        let Component::Normal(part) = component else {
            places.iter_mut().for_each(|place| place.push(component));
            continue;
        };
        let text = part.to_string_lossy();
        if text == "**" {
            let mut level = places.clone();
            for _ in 0..MAX_LEVELS {
                level = directories_below(&level)?;
                if level.is_empty() {
                    break;
                }
                places.extend(level.iter().cloned());
            }
            continue;
        }
        let matcher = if has_wildcard(&text) { Some(matcher(&text)?) } else { None };
        let mut next = Vec::new();
        for place in &places {
            let literal = place.join(part);
            if metadata(&literal)?.is_some() {
                next.push(literal);
            } else if let Some(matcher) = &matcher {
                let hidden = text.starts_with('.');
                let named = entries(place)?
                    .into_iter()
                    .filter(|(_, name)| (hidden || !name.starts_with('.')) && matcher.is_match(name));
                next.extend(named.map(|(path, _)| path));
            }
        }
        places = next;
    }
    paths.extend(places);
    Ok(())
}

fn directories_below(places: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut below = Vec::new();
    for place in places {
        for (path, name) in entries(place)? {
            let real = std::fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_dir());
            if real && !name.starts_with('.') {
                below.push(path);
            }
        }
    }
    Ok(below)
}
