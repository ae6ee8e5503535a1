//! Takes calls out of tables, archive, quarantine and worklist, as a commit.

use super::Dataset;
use super::call_logs;
use super::commit::{Commit, Kind, Superseded};
use super::layout::{self, QUARANTINE, RAW};
use super::ledger::{self, State, Touch};
use super::merge::Input;
use super::stage::Stage;
use super::{lookup, parquet};
use crate::arrow::array::AsArray;
use crate::crash_point::crash_point;
use crate::error::{Error, Result};
use crate::files::{self, PRIVATE};
use crate::flatten;
use crate::quarantine;
use crate::raw::{self, SegmentWriter};
use ::parquet::arrow::ProjectionMask;
use chrono::{DateTime, NaiveDate, Utc};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::Write;

/// What is taken out.
#[derive(Clone, Debug)]
pub enum Purge {
    /// Calls that started before this date.
    Before(NaiveDate),
    /// These calls, by id in lower case.
    Calls(BTreeSet<String>),
}

/// Purges; `None` if nothing was there to be taken out.
///
/// # Errors
/// Any failure of the file system, by class I/O: the tables are then as they
/// were.
pub fn purge(dataset: &mut Dataset, what: &Purge, run_id: &str, now: DateTime<Utc>) -> Result<Option<Commit>> {
    dataset.check_no_spool()?;
    let (layout, tables) = (dataset.layout.clone(), dataset.tables.clone());
    let mut commit = dataset.begin_commit(Kind::Purge, run_id, now);
    let mut stage = Stage::begin(&layout, &tables, commit.number)?;
    let calls = found(dataset, what)?;
    let mut names: BTreeSet<String> = calls.iter().map(|call| call.call_id.clone()).collect();
    if let Purge::Calls(named) = what {
        names.extend(named.iter().cloned());
    }
    let gone: HashSet<String> = names.iter().cloned().collect();
    let parts: BTreeSet<(NaiveDate, String)> = calls.iter().map(|c| (c.date, c.part.clone())).collect();
    for (date, name) in &parts {
        for (_, table, format) in tables.children_first() {
            let relative = layout::relative(table, *date, name);
            let path = layout.path(&relative);
            if files::exists(&path)?
                && !stage.merge(table, format, *date, name, &[Input { path, without: Some(&gone) }])?
            {
                commit.removed.push(relative);
            }
        }
    }
    crash_point("purge::tables")?;
    purge_archive(&mut stage, dataset, what, &mut names, &mut commit)?;
    if let Purge::Before(date) = what {
        commit.removed.extend(call_logs::before(dataset, *date)?);
        call_logs::purge_alerts(&mut stage, *date, &mut commit)?;
    }
    crash_point("purge::archive")?;
    purge_quarantine(&mut stage, dataset, &names, &mut commit)?;
    let before = commit.pending.len();
    commit.pending.retain(|pending| !names.contains(&pending.call_id.to_string()));
    if stage.files.is_empty() && commit.removed.is_empty() && before == commit.pending.len() {
        files::remove_directory(&layout.staging(commit.number))?;
        return Ok(None);
    }
    let touches: BTreeMap<String, Touch> = names.iter().map(|id| (id.clone(), purged(now))).collect();
    ledger::stage(&mut stage, &layout, &tables, &touches)?;
    commit.superseded = calls
        .into_iter()
        .map(|call| Superseded { call_id: call.call_id, version: call.version, call_date: call.date })
        .collect();
    commit.files = stage.finish()?;
    crash_point("purge::staged")?;
    dataset.commit(commit.clone())?;
    Ok(Some(commit))
}

fn purged(now: DateTime<Utc>) -> Touch {
    Touch {
        state: State::Purged,
        reason: None,
        sources: BTreeSet::new(),
        tenant_id: None,
        first_seen: now,
        first_notified_at: None,
        last_notified_at: None,
        expires_at: None,
        fetched: None,
        asked_at: None,
    }
}

struct Found {
    call_id: String,
    version: i64,
    date: NaiveDate,
    part: String,
}

fn found(dataset: &Dataset, what: &Purge) -> Result<Vec<Found>> {
    let layout = &dataset.layout;
    match what {
        Purge::Calls(ids) => {
            let ids: HashSet<&str> = ids.iter().map(String::as_str).collect();
            let stored = lookup::stored(layout, &ids)?;
            Ok(stored
                .into_iter()
                .flat_map(|(call_id, all)| {
                    all.into_iter().map(move |s| Found {
                        call_id: call_id.clone(),
                        version: s.version,
                        date: s.part.date,
                        part: s.part.name,
                    })
                })
                .collect())
        }
        Purge::Before(date) => {
            let mut found = Vec::new();
            for part in layout.parts("calls")?.into_iter().filter(|part| part.date < *date) {
                let fail = |e| parquet::failed("read", &part.path, e);
                let builder = parquet::open(&part.path)?;
                let mask = ProjectionMask::columns(builder.parquet_schema(), ["call_id"]);
                for batch in builder.with_projection(mask).build().map_err(fail)? {
                    let batch = batch.map_err(|e| fail(e.into()))?;
                    found.extend(batch.column(0).as_string::<i32>().iter().flatten().map(|id| Found {
                        call_id: id.to_owned(),
                        version: 0,
                        date: part.date,
                        part: part.name.clone(),
                    }));
                }
            }
            Ok(found)
        }
    }
}

/// Rewrites the segments that hold one of the calls. An old version of a call
/// may stand under another date than its latest.
fn purge_archive(
    stage: &mut Stage<'_>,
    dataset: &Dataset,
    what: &Purge,
    names: &mut BTreeSet<String>,
    commit: &mut Commit,
) -> Result<()> {
    for part in dataset.layout.parts(RAW)? {
        let relative = layout::relative(RAW, part.date, &part.name);
        let mut ids = HashSet::new();
        raw::read_segment(&part.path, |_, record| {
            if let Ok(head) = flatten::head(record) {
                ids.insert(head.call_id);
            }
            Ok(())
        })?;
        let all = matches!(what, Purge::Before(date) if part.date < *date);
        if all {
            // Calls that have moved to a later date since then stay.
            let stays = |id: &String| !names.contains(id);
            if !ids.iter().any(stays) {
                commit.removed.push(relative);
                continue;
            }
        }
        if ids.iter().all(|id| !names.contains(id)) {
            continue;
        }
        let mut writer = SegmentWriter::create(&stage.path(&relative)?)?;
        raw::read_segment(&part.path, |_, record| match flatten::head(record) {
            Ok(head) if names.contains(&head.call_id) => Ok(()),
            _ => writer.write(record),
        })?;
        match writer.finish()? {
            0 => {
                files::remove_if_there(&stage.path(&relative)?)?;
                commit.removed.push(relative);
            }
            rows => stage.put(RAW, &relative, rows)?,
        }
    }
    Ok(())
}

fn purge_quarantine(
    stage: &mut Stage<'_>,
    dataset: &Dataset,
    names: &BTreeSet<String>,
    commit: &mut Commit,
) -> Result<()> {
    release(stage, dataset, commit, |item| item.call_id.as_ref().is_some_and(|id| names.contains(id)))
}

/// Stages the quarantine without the items for which `leaves` is true.
///
/// # Errors
/// Any failure of the file system, by class I/O.
pub fn release(
    stage: &mut Stage<'_>,
    dataset: &Dataset,
    commit: &mut Commit,
    leaves: impl Fn(&quarantine::Item) -> bool,
) -> Result<()> {
    for (path, items) in quarantine::read(&dataset.layout.quarantine())? {
        let kept: Vec<_> = items.iter().filter(|item| !leaves(item)).cloned().collect();
        if kept.len() == items.len() {
            continue;
        }
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        if kept.is_empty() {
            commit.removed.push(format!("{}/{QUARANTINE}/{name}", layout::STATE));
            continue;
        }
        let relative = format!("{QUARANTINE}/{name}");
        let staged = stage.path(&relative)?;
        let mut file = files::create_file(&staged, PRIVATE)?;
        file.write_all(&quarantine::encode_named(&kept)?)
            .and_then(|()| file.sync_all())
            .map_err(|e| Error::io("write", &staged, e))?;
        stage.put(QUARANTINE, &relative, kept.len() as u64)?;
    }
    Ok(())
}
