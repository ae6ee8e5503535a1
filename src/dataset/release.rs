//! Takes items out of the quarantine once they are settled elsewhere.

use super::Dataset;
use super::commit::{Commit, Kind};
use super::purge;
use super::stage::Stage;
use crate::crash_point::crash_point;
use crate::error::Result;
use crate::files;
use chrono::{DateTime, Utc};
use std::collections::BTreeSet;

/// Removes the items named, as a commit; `None` if none was there.
///
/// # Errors
/// Any failure of the file system, by class I/O; by class temporary when fetched
/// records wait.
pub fn release(
    dataset: &mut Dataset,
    items: &BTreeSet<String>,
    run_id: &str,
    now: DateTime<Utc>,
) -> Result<Option<Commit>> {
    dataset.check_no_spool()?;
    let (layout, tables) = (dataset.layout.clone(), dataset.tables.clone());
    let mut commit = dataset.begin_commit(Kind::Quarantine, run_id, now);
    let mut stage = Stage::begin(&layout, &tables, commit.number)?;
    purge::release(&mut stage, dataset, &mut commit, |item| items.contains(&item.item))?;
    if stage.files.is_empty() && commit.removed.is_empty() {
        files::remove_directory(&layout.staging(commit.number))?;
        return Ok(None);
    }
    commit.files = stage.finish()?;
    crash_point("quarantine::staged")?;
    dataset.commit(commit.clone())?;
    Ok(Some(commit))
}
