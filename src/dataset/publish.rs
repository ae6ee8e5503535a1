//! Puts the files of a commit in place: renames only, each of which can be done
//! again, so that a killed publish goes on where it stopped.

use super::commit::{self, Commit};
use super::layout::{self, ALERTS, LEDGER, Layout, QUARANTINE};
use crate::crash_point::crash_point;
use crate::error::{Error, Result};
use crate::files::{self, Modes, PRIVATE};
use crate::spool;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Publishes `commit`, marks it, and cleans up.
///
/// # Errors
/// Any failure of the file system; by class configuration when a file of the
/// commit is neither staged nor in place.
pub fn publish(layout: &Layout, commit: &Commit) -> Result<()> {
    let mut touched = BTreeSet::new();
    for file in &commit.files {
        let (staged, path) = (layout.path(&file.staged), layout.path(&file.path));
        let directory = parent(&path);
        files::create_directory(&directory, modes(layout, &file.table))?;
        if files::exists(&staged)? {
            files::rename(&staged, &path)?;
        } else if files::digest(&path)?.is_none_or(|(_, sha256)| sha256 != file.sha256) {
            return Err(Error::config(format!(
                "{} of commit {} is neither staged nor in place",
                path.display(),
                commit.number
            ))
            .hint("run `callrec verify`; `callrec rebuild` makes the tables again from the archive"));
        }
        touched.insert(directory);
        crash_point(match file.table.as_str() {
            table if layout::is_archive(table) => "publish::raw",
            "calls" => "publish::calls",
            LEDGER => "publish::ledger",
            QUARANTINE => "publish::quarantine",
            ALERTS => "publish::alerts",
            _ => "publish::child",
        })?;
    }
    for name in &commit.removed {
        let path = layout.path(name);
        files::remove_if_there(&path)?;
        touched.insert(parent(&path));
        crash_point("publish::removed")?;
    }
    for directory in &touched {
        sync_with_parents(layout.root(), directory)?;
    }
    crash_point("publish::synced")?;
    commit.mark_published(layout)?;
    crash_point("publish::marked")?;
    clean(layout, commit)
}

/// Removes what the commit needed; comes last, and may be repeated.
///
/// # Errors
/// Any failure of the file system, by class I/O.
pub fn clean(layout: &Layout, commit: &Commit) -> Result<()> {
    files::remove_directory(&spool::directory(&layout.spools(), commit.number))?;
    crash_point("clean::spool")?;
    files::remove_directory(&layout.staging(commit.number))?;
    crash_point("clean::staging")?;
    for name in &commit.removed {
        // An empty partition directory is harmless to every reader but untidy.
        let _ = std::fs::remove_dir(parent(&layout.path(name)));
    }
    commit::prune(layout, commit.number)?;
    crash_point("clean::done")
}

fn modes(layout: &Layout, table: &str) -> Modes {
    if layout::is_archive(table) || layout::is_state(table) { PRIVATE } else { layout.modes }
}

fn parent(path: &Path) -> PathBuf {
    path.parent().unwrap_or_else(|| Path::new("")).to_owned()
}

fn sync_with_parents(root: &Path, directory: &Path) -> Result<()> {
    let mut directory = directory;
    loop {
        if files::exists(directory)? {
            files::sync_directory(directory)?;
        }
        match directory.parent() {
            Some(parent) if directory != root && directory.starts_with(root) => directory = parent,
            _ => return Ok(()),
        }
    }
}
