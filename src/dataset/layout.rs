//! Where everything lies below the root of a dataset.

use crate::error::Result;
use crate::files::{self, Modes};
use chrono::NaiveDate;
use std::path::{Path, PathBuf};

/// The directory of state, beside the tables.
pub const STATE: &str = "_callrec";
/// The directory of the raw archive.
pub const RAW: &str = "raw";
/// The table of where each call id stands.
pub const LEDGER: &str = "ledger";
/// The table of runs, which is no part of any commit.
pub const RUNS: &str = "runs";
/// What the names of its partitions begin with.
pub const RUN_MONTH: &str = "run_month=";

/// The directory of alerts that are not delivered, in that of the state.
pub const ALERTS: &str = "alerts";
/// The directory of the quarantine, in that of the state.
pub const QUARANTINE: &str = "quarantine";

/// The paths of one dataset.
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
    /// Modes of the tables.
    pub modes: Modes,
}

/// One file of a partitioned table or of the archive.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Part {
    /// The date of its partition.
    pub date: NaiveDate,
    /// Its file name.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
}

impl Layout {
    /// The dataset below `root`.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>, modes: Modes) -> Self {
        Self { root: root.into(), modes }
    }

    /// The root.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A path below the root, from the form with `/` that commits hold.
    #[must_use]
    pub fn path(&self, relative: &str) -> PathBuf {
        relative.split('/').fold(self.root.clone(), |path, name| path.join(name))
    }

    /// The directory of state.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.root.join(STATE)
    }

    /// The lock.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.state().join("lock")
    }

    /// The commit records.
    #[must_use]
    pub fn commits(&self) -> PathBuf {
        self.state().join("commits")
    }

    /// The spools.
    #[must_use]
    pub fn spools(&self) -> PathBuf {
        self.state().join("spool")
    }

    /// The staging directory of all commits.
    #[must_use]
    pub fn stagings(&self) -> PathBuf {
        self.state().join("staging")
    }

    /// The staging directory of one commit.
    #[must_use]
    pub fn staging(&self, number: u64) -> PathBuf {
        self.stagings().join(format!("{number:06}"))
    }

    /// The quarantine.
    #[must_use]
    pub fn quarantine(&self) -> PathBuf {
        self.state().join(QUARANTINE)
    }

    /// The alerts that are not delivered. It is made when there is one.
    #[must_use]
    pub fn alerts(&self) -> PathBuf {
        self.state().join(ALERTS)
    }

    /// The directories that every state has, the outermost first.
    #[must_use]
    pub fn state_directories(&self) -> [PathBuf; 5] {
        [self.state(), self.commits(), self.spools(), self.stagings(), self.quarantine()]
    }

    /// Refuses links and files where directories belong, so that nothing which is
    /// written or removed later lies outside the root.
    ///
    /// # Errors
    /// By class configuration, naming the path; any failure of the file system.
    pub fn check<'a>(&self, tables: impl IntoIterator<Item = &'a str>) -> Result<()> {
        for directory in self.state_directories().into_iter().chain([self.alerts()]) {
            files::check_directory(&directory)?;
            files::make_private(&directory)?;
        }
        // The archives of logs are within that of the records.
        for table in [RAW, LEDGER, RUNS].into_iter().chain(tables) {
            let directory = self.root.join(table);
            files::check_directory(&directory)?;
            for partition in files::list(&directory)? {
                if is_partition(table, &partition) {
                    files::check_directory(&partition)?;
                }
            }
        }
        files::make_private(&self.root.join(RAW))
    }

    /// The highest number of a commit that a file of the dataset is named after;
    /// 0 if there is none. Normally that of the newest commit, or a lower one.
    ///
    /// # Errors
    /// Any failure of the file system, by class I/O.
    pub fn highest_number<'a>(&self, tables: impl IntoIterator<Item = &'a str>) -> Result<u64> {
        let mut names = Vec::new();
        for table in tables.into_iter().chain([RAW, LEDGER]) {
            let is_file = |part: &Part| std::fs::symlink_metadata(&part.path).is_ok_and(|there| there.is_file());
            names.extend(self.parts(table)?.into_iter().filter(is_file).map(|part| part.name));
        }
        for (directory, ending) in [(self.commits(), ".published"), (self.quarantine(), ".jsonl")] {
            let paths = files::list(&directory)?;
            let all = paths.iter().filter_map(|path| path.file_name()?.to_str().map(str::to_owned));
            names.extend(all.filter(|name| name.ends_with(ending)));
        }
        let number = |name: &str| {
            let name = name.strip_prefix("part-").unwrap_or(name);
            name.split('.').next()?.parse().ok()
        };
        Ok(names.iter().filter_map(|name| number(name)).max().unwrap_or(0))
    }

    /// All parts of a table, by date and name.
    ///
    /// # Errors
    /// Any failure of the file system, by class I/O.
    pub fn parts(&self, table: &str) -> Result<Vec<Part>> {
        let mut parts = Vec::new();
        for directory in files::list(&self.root.join(table))? {
            if let Some(date) = partition_date(table, &directory) {
                parts.extend(parts_in(table, date, &directory)?);
            }
        }
        Ok(parts)
    }

    /// The parts of a table under one date, by name.
    ///
    /// # Errors
    /// Any failure of the file system, by class I/O.
    pub fn parts_of(&self, table: &str, date: NaiveDate) -> Result<Vec<Part>> {
        let directory = self.path(table).join(format!("{}={date}", partition_key(table)));
        parts_in(table, date, &directory)
    }
}

/// Whether that is the archive of records, or of a log.
#[must_use]
pub fn is_archive(table: &str) -> bool {
    table == RAW || table.starts_with("raw/")
}

/// Whether commits name so what they put into the state: no table, and nobody else's.
#[must_use]
pub fn is_state(table: &str) -> bool {
    matches!(table, QUARANTINE | ALERTS)
}

/// The archive of a table of logs, which is beside the dates of the records'.
#[must_use]
pub fn archive_of(table: &str) -> String {
    format!("{RAW}/{table}")
}

/// The name of a part that commit `number` makes.
#[must_use]
pub fn part_name(number: u64) -> String {
    format!("part-{number:06}.parquet")
}

/// The name of a segment of the archive that commit `number` makes.
#[must_use]
pub fn segment_name(number: u64) -> String {
    format!("{number:06}.ndjson.zst")
}

/// The path of a file below the root, with `/`.
#[must_use]
pub fn relative(table: &str, date: NaiveDate, name: &str) -> String {
    format!("{table}/{}={date}/{name}", partition_key(table))
}

fn parts_in(table: &str, date: NaiveDate, directory: &Path) -> Result<Vec<Part>> {
    let suffix = if is_archive(table) { ".ndjson.zst" } else { ".parquet" };
    let mut parts = Vec::new();
    for path in files::list(directory)? {
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default().to_owned();
        if name.ends_with(suffix) && !name.starts_with(['.', '_']) {
            parts.push(Part { date, name, path });
        }
    }
    Ok(parts)
}

fn partition_key(table: &str) -> &'static str {
    if table == LEDGER { "seen_date" } else { "call_date" }
}

fn is_partition(table: &str, directory: &Path) -> bool {
    let name = directory.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    partition_date(table, directory).is_some() || table == RUNS && name.starts_with(RUN_MONTH)
}

fn partition_date(table: &str, directory: &Path) -> Option<NaiveDate> {
    let name = directory.file_name()?.to_str()?;
    name.strip_prefix(partition_key(table))?.strip_prefix('=')?.parse().ok()
}
