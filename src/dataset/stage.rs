//! Files that a commit will put in place, made and synced in staging.

use super::commit::PutFile;
use super::format::Format;
use super::layout::{self, LEDGER, Layout, STATE};
use super::merge::{Input, merge};
use super::parquet::Written;
use super::tables::Tables;
use crate::error::Result;
use crate::files::{self, Modes, PRIVATE};
use chrono::NaiveDate;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The staging directory of one commit.
pub struct Stage<'a> {
    layout: &'a Layout,
    tables: &'a Tables,
    number: u64,
    /// What was staged so far.
    pub files: Vec<PutFile>,
}

impl<'a> Stage<'a> {
    /// Begins with an empty directory.
    ///
    /// # Errors
    /// Any failure of the file system, by class I/O.
    pub fn begin(layout: &'a Layout, tables: &'a Tables, number: u64) -> Result<Self> {
        files::remove_directory(&layout.staging(number))?;
        files::create_directory(&layout.staging(number), PRIVATE)?;
        Ok(Self { layout, tables, number, files: Vec::new() })
    }

    /// The number of the commit.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// Where everything lies.
    #[must_use]
    pub const fn layout(&self) -> &Layout {
        self.layout
    }

    /// The path of a file to be staged for `relative`, its directory made.
    ///
    /// # Errors
    /// Any failure of the file system, by class I/O.
    pub fn path(&self, relative: &str) -> Result<PathBuf> {
        let path = relative.split('/').fold(self.layout.staging(self.number), |p, name| p.join(name));
        files::create_directory(path.parent().unwrap_or(Path::new("")), PRIVATE)?;
        Ok(path)
    }

    /// Notes that the file staged for `relative` is whole and synced.
    ///
    /// # Errors
    /// Any failure of the file system, by class I/O.
    pub fn put(&mut self, table: &str, relative: &str, rows: u64) -> Result<()> {
        let (bytes, sha256) = files::digest(&self.path(relative)?)?.unwrap_or_default();
        self.files.push(PutFile {
            table: table.to_owned(),
            staged: format!("{STATE}/staging/{:06}/{relative}", self.number),
            path: if layout::is_state(table) { format!("{STATE}/{relative}") } else { relative.to_owned() },
            rows,
            bytes,
            sha256,
        });
        Ok(())
    }

    /// The modes of the files of a table.
    #[must_use]
    pub fn modes(&self, table: &str) -> Modes {
        if layout::is_archive(table) || layout::is_state(table) { PRIVATE } else { self.layout.modes }
    }

    /// Merges parts of `table` into the part `name` of `date` and notes it; whether a
    /// row was left.
    ///
    /// # Errors
    /// Any failure of the file system, by class I/O.
    pub fn merge(
        &mut self,
        table: &str,
        format: &Arc<Format>,
        date: NaiveDate,
        name: &str,
        inputs: &[Input<'_>],
    ) -> Result<bool> {
        match self.merged(table, format, date, name, inputs)? {
            Some(written) => self.put(table, &layout::relative(table, date, name), written.rows).map(|()| true),
            None => Ok(false),
        }
    }

    /// As [`Self::merge`], without the note; what was written, if anything.
    ///
    /// # Errors
    /// Any failure of the file system, by class I/O.
    pub fn merged(
        &self,
        table: &str,
        format: &Arc<Format>,
        date: NaiveDate,
        name: &str,
        inputs: &[Input<'_>],
    ) -> Result<Option<Written>> {
        merge(inputs, &self.path(&layout::relative(table, date, name))?, format, self.modes(table))
    }

    /// Syncs the directories of what was staged, and puts the files in the
    /// order of publishing: state, archive, children, `calls`, ledger.
    /// Within a table, new files come before those that replace one.
    ///
    /// # Errors
    /// Any failure of the file system, by class I/O.
    pub fn finish(mut self) -> Result<Vec<PutFile>> {
        let directories: BTreeSet<PathBuf> =
            self.files.iter().filter_map(|f| self.layout.path(&f.staged).parent().map(Path::to_owned)).collect();
        for directory in &directories {
            for above in directory.ancestors().take_while(|d| d.starts_with(self.layout.stagings())) {
                files::sync_directory(above)?;
            }
        }
        let rank = |table: &str| match table {
            table if layout::is_state(table) => 0,
            table if layout::is_archive(table) => 1,
            LEDGER => 1000,
            table => {
                let tables = &self.tables.catalogue.tables;
                2 + tables.len() - tables.iter().position(|t| t.name == table).unwrap_or_default()
            }
        };
        let mut files = Vec::with_capacity(self.files.len());
        for file in std::mem::take(&mut self.files) {
            let replaces = files::exists(&self.layout.path(&file.path))?;
            files.push((rank(&file.table), replaces, file));
        }
        files.sort_by(|(a, b, one), (c, d, other)| (a, b, &one.path).cmp(&(c, d, &other.path)));
        Ok(files.into_iter().map(|(.., file)| file).collect())
    }
}
