//! Emergency calls of which a receiver is to be told: files of the commit that
//! brings their rows, which go when they are delivered.
//!
//! So there is no alert of a row that is not in its table, and none is lost by a
//! kill: it appears as the tables do, and what is not delivered stays.

use super::{SLICE, Work};
use crate::arrow::datatypes::SchemaRef;
use crate::call_logs::{Alert, Emergency, EmergencyCall};
use crate::dataset::commit::Commit;
use crate::dataset::layout::{self, ALERTS, Layout};
use crate::dataset::stage::Stage;
use crate::error::{Error, Result};
use crate::files::{self, PRIVATE};
use chrono::NaiveDate;
use std::collections::HashSet;
use std::io::Write;
use std::path::PathBuf;

/// Calls of one alert, about 150 KB of JSON.
const MOST_CALLS: usize = 500;

impl Work<'_> {
    /// The emergency calls that the table did not have, or not as such.
    pub(super) fn emergencies(&self, schema: &SchemaRef, emergency: &Emergency) -> Result<Vec<EmergencyCall>> {
        if self.table.column("is_emergency").is_none() {
            return Ok(Vec::new());
        }
        let now = self.changed.iter().flat_map(|(date, keys)| {
            let rows = self.rows.get(date);
            keys.iter().filter_map(move |key| rows?.get(key).map(|(_, line)| (key.as_str(), line.as_slice())))
        });
        let older = self.older.iter().map(|(key, line)| (key.as_str(), line.as_slice()));
        let known: HashSet<&str> = self.flagged(older, schema, emergency)?.into_iter().map(|(key, _)| key).collect();
        let found = self.flagged(now, schema, emergency)?;
        Ok(found.into_iter().filter(|(key, _)| !known.contains(key)).map(|(_, call)| call).collect())
    }

    fn flagged<'b>(
        &self,
        rows: impl Iterator<Item = (&'b str, &'b [u8])>,
        schema: &SchemaRef,
        emergency: &Emergency,
    ) -> Result<Vec<(&'b str, EmergencyCall)>> {
        let (keys, lines): (Vec<&str>, Vec<&[u8]>) = rows.unzip();
        let mut found = Vec::new();
        for (keys, lines) in keys.chunks(SLICE).zip(lines.chunks(SLICE)) {
            let calls = EmergencyCall::among(lines, self.table, schema, emergency)?;
            found.extend(calls.into_iter().map(|(place, call)| (keys[place], call)));
        }
        Ok(found)
    }
}

/// Stages what is to be told of `calls`.
pub(super) fn stage(stage: &mut Stage<'_>, mut calls: Vec<EmergencyCall>, commit: &Commit) -> Result<()> {
    calls.sort_unstable();
    for (number, calls) in calls.chunks(MOST_CALLS).enumerate() {
        let id = format!("{:06}-{}", stage.number(), number + 1);
        let alert = Alert {
            event: Alert::EVENT.to_owned(),
            id,
            tenant_id: commit.tenant_id.clone(),
            run_id: commit.run_id.clone(),
            calls: calls.to_vec(),
        };
        put(stage, &format!("{}.json", alert.id), &alert)?;
    }
    Ok(())
}

fn put(stage: &mut Stage<'_>, name: &str, alert: &Alert) -> Result<()> {
    let relative = format!("{ALERTS}/{name}");
    let path = stage.path(&relative)?;
    let mut file = files::create_file(&path, PRIVATE)?;
    file.write_all(&alert.to_bytes()?).and_then(|()| file.sync_all()).map_err(|e| Error::io("write", &path, e))?;
    stage.put(ALERTS, &relative, alert.calls.len() as u64)
}

/// An alert that is not delivered: its file, and what that holds.
pub struct Pending {
    /// The file.
    pub path: PathBuf,
    /// Its bytes, which are what is posted.
    pub bytes: Vec<u8>,
    /// What they say.
    pub alert: Alert,
}

/// The alerts that are not delivered, the oldest first; for one that cannot be read
/// the error, so that it does not keep the others.
///
/// # Errors
/// Any failure of the file system, by class I/O.
pub fn pending(layout: &Layout) -> Result<Vec<Result<Pending>>> {
    let read = |path: PathBuf| {
        let bytes = files::read_if_there(&path)?.unwrap_or_default();
        let alert = serde_json::from_slice(&bytes).map_err(|e| {
            Error::config(format!("{} holds no alert", path.display()))
                .hint("restore it from a backup, or take it away: is_emergency in the tables says which calls it was")
                .because(e)
        })?;
        Ok(Pending { path, bytes, alert })
    };
    Ok(files::list(&layout.alerts())?.into_iter().map(read).collect())
}

/// Takes calls that began before `date` out of the alerts that are not delivered.
///
/// # Errors
/// Any failure of the file system, by class I/O; by class configuration when an
/// alert is damaged.
pub fn purge_alerts(staged: &mut Stage<'_>, date: NaiveDate, commit: &mut Commit) -> Result<()> {
    for one in pending(staged.layout())? {
        let Pending { path, mut alert, .. } = one?;
        let before = alert.calls.len();
        alert.calls.retain(|call| call.start_date_time.date_naive() >= date);
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if alert.calls.is_empty() {
            commit.removed.push(format!("{}/{ALERTS}/{name}", layout::STATE));
        } else if alert.calls.len() < before {
            put(staged, name, &alert)?;
        }
    }
    Ok(())
}
