//! The dataset on disk: tables, archive, ledger and the commits that change
//! them, each wholly or not at all.
//!
//! Input: spooled records and what became of every id. Output: Parquet parts,
//! archive segments, ledger rows and one commit record per change. It refuses
//! to work without the lock, on a state of a later program, and on a state of
//! another tenant.

pub mod call_logs;
pub mod commit;
pub mod convert;
pub mod dated;
mod encoding;
pub mod format;
pub mod inputs;
pub mod known;
pub mod layout;
pub mod ledger;
pub mod lines;
pub mod lookup;
pub mod maintain;
pub mod merge;
pub mod order;
pub mod others;
pub mod parquet;
pub mod parts;
pub mod pool;
pub mod prepare;
pub mod publish;
pub mod purge;
pub mod rebuild;
pub mod release;
pub mod runs;
pub mod runs_table;
pub mod sort;
pub mod stage;
mod syncing;
pub mod tables;

use crate::crash_point::crash_point;
use crate::error::{Class, Error, Result};
use crate::files::{self, PRIVATE};
use crate::schema::Catalogue;
use crate::spool::Spool;
use chrono::{DateTime, Utc};
use commit::Commit;
use layout::Layout;
use std::fs::{File, TryLockError};
use tables::Tables;

/// An open dataset; holds the lock until it is dropped.
pub struct Dataset {
    /// Its paths.
    pub layout: Layout,
    /// What the catalogue means for its files.
    pub tables: Tables,
    newest: Option<Commit>,
    /// The number of the newest commit when it was opened; 0 without one.
    opened_at: u64,
    /// The highest number that a commit has or a file is named after: a name that
    /// is taken is never used again, also where the commit that took it is gone.
    highest: u64,
    _lock: File,
}

/// The directories of all tables but the ledger, and of the archives of logs.
fn names(catalogue: &Catalogue) -> Vec<String> {
    let logs = catalogue.logs.iter().flat_map(|table| [table.name.clone(), layout::archive_of(&table.name)]);
    catalogue.tables.iter().map(|table| table.name.clone()).chain(logs).collect()
}

impl Dataset {
    /// Takes the lock, finishes what a killed run left of the newest commit and
    /// drops what it left of a commit that was not written.
    ///
    /// # Errors
    /// By class temporary when another run holds the lock; by class
    /// configuration when the state is of a later program or damaged.
    pub fn open(layout: Layout, catalogue: &'static Catalogue) -> Result<Self> {
        files::create_directory(layout.root(), layout.modes)?;
        let names = names(catalogue);
        layout.check(names.iter().map(String::as_str))?;
        for directory in layout.state_directories() {
            files::create_directory(&directory, PRIVATE)?;
        }
        // A run that was killed may have made them and not synced them.
        files::sync_directory(&layout.state())?;
        files::sync_directory(layout.root())?;
        let path = layout.lock();
        let lock = files::append_file(&path, PRIVATE)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::temporary(format!("Another callrec works on {}", layout.root().display()))
                    .hint("wait until it ends and run again; the lock is free at once when its process dies"));
            }
            Err(TryLockError::Error(e)) => return Err(Error::io("lock", &path, e)),
        }
        let newest = commit::newest(&layout)?;
        let tables = Tables::new(catalogue)?;
        let named = layout.highest_number(names.iter().map(String::as_str))?;
        let opened_at = newest.as_ref().map_or(0, |c| c.number);
        let highest = named.max(opened_at);
        let dataset = Self { layout, tables, newest, opened_at, highest, _lock: lock };
        if dataset.is_rolled_back() {
            tracing::warn!(
                "there are files of later commits than the newest one in _callrec, which was restored or lost a part; \
                 `callrec verify` says what the archive lacks"
            );
        }
        dataset.recover()?;
        Ok(dataset)
    }

    /// The dataset as [`Dataset::open`], but only if there is one.
    ///
    /// # Errors
    /// By class configuration when there is none.
    pub fn open_existing(layout: Layout, catalogue: &'static Catalogue) -> Result<Self> {
        if !layout.state().is_dir() {
            return Err(Error::config(format!("There is no dataset at {}", layout.root().display()))
                .hint("check [output] root in the config, or run `callrec run` first"));
        }
        Self::open(layout, catalogue)
    }

    fn recover(&self) -> Result<()> {
        crash_point("start::locked")?;
        let number = self.newest.as_ref().map_or(0, |c| c.number);
        if let Some(newest) = &self.newest {
            if newest.is_published(&self.layout)? {
                publish::clean(&self.layout, newest)?;
            } else {
                tracing::info!(commit = number, "publishing a commit that a killed run left");
                // Its process may have died before the record's entry was synced: without
                // that, a power loss would leave what is published without its commit.
                files::sync_directory(&self.layout.commits())?;
                publish::publish(&self.layout, newest)?;
            }
        }
        crash_point("start::published")?;
        for staging in files::list(&self.layout.stagings())? {
            files::remove_directory(&staging)?;
        }
        crash_point("start::staging")?;
        for spool in files::list(&self.layout.spools())? {
            let of = spool.file_name().and_then(|n| n.to_str()).and_then(|n| n.parse::<u64>().ok());
            if of != Some(self.next_number()) || files::check_directory(&spool).is_err() {
                files::remove_directory(&spool)?;
            }
        }
        crash_point("start::spools")
    }

    /// The newest commit.
    #[must_use]
    pub const fn newest(&self) -> Option<&Commit> {
        self.newest.as_ref()
    }

    /// The number of the commit that was the newest when it was opened; 0 without one.
    #[must_use]
    pub const fn opened_at(&self) -> u64 {
        self.opened_at
    }

    /// The numbers of the first and the last commit that were made since it was
    /// opened, those that then failed to be published too.
    ///
    /// # Errors
    /// Any failure of the file system, by class I/O.
    pub fn made(&self) -> Result<Option<(u64, u64)>> {
        let numbers = commit::numbers(&self.layout)?;
        let first = numbers.iter().copied().find(|&number| number > self.opened_at);
        Ok(first.zip(numbers.last().copied()))
    }

    /// The commit of that number, whose record is read unless it is the newest.
    ///
    /// # Errors
    /// As [`commit::read`].
    pub fn commit_of(&self, number: u64) -> Result<Commit> {
        match &self.newest {
            Some(newest) if newest.number == number => Ok(newest.clone()),
            _ => commit::read(&self.layout, number),
        }
    }

    /// The number that the next commit will have.
    #[must_use]
    pub const fn next_number(&self) -> u64 {
        self.highest + 1
    }

    /// Whether files are named after commits that are not known: `_callrec` was
    /// restored from a backup that is older than the tables, or lost a record.
    #[must_use]
    pub fn is_rolled_back(&self) -> bool {
        self.highest > self.newest.as_ref().map_or(0, |c| c.number)
    }

    /// A commit that changes nothing, after the newest one.
    #[must_use]
    pub fn begin_commit(&self, kind: commit::Kind, run_id: &str, now: DateTime<Utc>) -> Commit {
        Commit::after(self.newest(), self.next_number(), kind, run_id, &self.tables.catalogue.hash, now)
    }

    /// What a killed run left for the next commit.
    ///
    /// # Errors
    /// Any failure of the file system, by class I/O.
    pub fn leftover(&self) -> Result<Option<Spool>> {
        Ok(Spool::leftover(&self.layout.spools(), self.next_number())?.filter(|spool| !spool.frames().is_empty()))
    }

    /// Refuses a state that belongs to another tenant.
    ///
    /// # Errors
    /// By class configuration.
    pub fn check_tenant(&self, tenant_id: Option<&str>) -> Result<()> {
        match (self.newest.as_ref().and_then(|c| c.tenant_id.as_deref()), tenant_id) {
            (Some(stored), Some(wanted)) if !stored.eq_ignore_ascii_case(wanted) => {
                Err(Error::config(format!("{} holds the calls of another tenant", self.layout.root().display()))
                    .hint("give every tenant an [output] root of its own"))
            }
            _ => Ok(()),
        }
    }

    /// Whether the tables were written by another schema than the program's.
    #[must_use]
    pub fn needs_upgrade(&self) -> bool {
        let catalogue = self.tables.catalogue;
        self.newest.as_ref().is_some_and(|c| {
            c.schema != catalogue.hash || c.logs.as_ref().is_some_and(|logs| logs.schema != catalogue.logs_hash)
        })
    }

    /// Writes and publishes a commit whose files are staged.
    ///
    /// # Errors
    /// Any failure of the file system, by class I/O.
    pub fn commit(&mut self, commit: Commit) -> Result<()> {
        commit.write(&self.layout)?;
        publish::publish(&self.layout, &commit)?;
        self.highest = commit.number;
        self.newest = Some(commit);
        Ok(())
    }

    /// Keeps what a killed run left beyond the next commit, which takes the number
    /// of its spool and holds none of its records.
    ///
    /// # Errors
    /// Any failure of the file system, by class I/O.
    pub fn carry_spool(&self) -> Result<()> {
        match self.leftover()? {
            Some(spool) => spool.copy_for(&self.layout.spools(), self.next_number() + 1),
            None => Ok(()),
        }
    }

    /// Refuses a merge or a change by hand while fetched records wait.
    ///
    /// # Errors
    /// By class temporary.
    pub fn check_no_spool(&self) -> Result<()> {
        if self.leftover()?.is_some() {
            return Err(Error::new(Class::Temporary, "A killed run left records that are in no commit yet")
                .hint("run `callrec run` first"));
        }
        Ok(())
    }
}
