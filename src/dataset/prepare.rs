//! Makes everything that a batch will put in place, and commits it.

use super::Dataset;
use super::commit::{Commit, Counts, Kind, Quarantined, Superseded};
use super::layout::{self, Part, QUARANTINE, RAW};
use super::ledger::{self, Fetched, State, Touch};
use super::lookup::{self, Stored};
use super::merge::Input;
use super::order::{self, Entry, SourceReader};
use super::parquet::Written;
use super::parts::{PartSet, Successive};
use super::stage::Stage;
use crate::arrow::array::{Array, AsArray, RecordBatch};
use crate::arrow::datatypes::TimestampMicrosecondType;
use crate::call_id::CallId;
use crate::crash_point::crash_point;
use crate::error::{Error, Result};
use crate::files::{self, PRIVATE};
use crate::flatten;
use crate::notifications::LogCursor;
use crate::quarantine::{self, Content, Item};
use crate::raw::SegmentWriter;
use crate::spool::{self, Frame, Spool};
use crate::worklist::{Origin, Pending, RETENTION, Verdict, Worklist};
use chrono::{DateTime, NaiveDate, Utc};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io::Write;
use std::path::PathBuf;

/// An id that was given up or refused.
pub struct Closed {
    /// What was known of it.
    pub pending: Pending,
    /// Expired or quarantine.
    pub verdict: Verdict,
    /// Why.
    pub reason: String,
}

/// All that a run knows when a batch ends.
pub struct Batch<'a> {
    /// What was fetched.
    pub spool: &'a Spool,
    /// All ids that are in no commit yet; stored ones are settled here.
    pub worklist: &'a mut Worklist,
    /// Ids that stay pending although the spool has a record of theirs.
    pub stay_pending: &'a HashSet<CallId>,
    /// Ids that leave the worklist without a record.
    pub closed: Vec<Closed>,
    /// Items for the quarantine, without their names.
    pub items: Vec<Item>,
    /// Where every log was read to.
    pub cursors: Vec<LogCursor>,
    /// The run.
    pub run_id: &'a str,
    /// The clock.
    pub now: DateTime<Utc>,
    /// The tenant.
    pub tenant_id: Option<String>,
    /// Threads that flatten.
    pub threads: usize,
}

/// Prepares, commits and publishes a batch.
///
/// # Errors
/// Any failure of the file system, by class I/O: the tables are then as they
/// were, and the spool is kept for the next run.
pub fn commit(dataset: &mut Dataset, mut batch: Batch<'_>) -> Result<Commit> {
    let number = batch.spool.number();
    let mut commit = dataset.begin_commit(Kind::Batch, batch.run_id, batch.now);
    if commit.number != number {
        return Err(Error::config(format!("The spool is of commit {number}, but the next one is {}", commit.number)));
    }
    let layout = dataset.layout.clone();
    let tables = dataset.tables.clone();
    let mut stage = Stage::begin(&layout, &tables, number)?;
    let mut touches = BTreeMap::new();
    let mut counts = Counts::default();

    let sources = [batch.spool.frames_path().to_owned()];
    let indexed = index(&mut batch, &sources, &mut touches)?;
    let ids: HashSet<&str> = indexed.iter().map(|e| e.head.call_id.as_str()).collect();
    let stored = lookup::stored(&layout, &ids)?;
    drop(ids);
    let plan = Placement::new(indexed, stored, &mut counts);
    settle(&mut batch, &plan.unchanged, &mut touches, None);
    crash_point("prepare::looked_up")?;
    let placed = place(&mut stage, dataset, &mut batch, &plan, &sources, &mut touches)?;
    counts.schema_drift = placed.drift;
    crash_point("prepare::placed")?;
    let refused = &placed.refused;
    rewrite(&mut stage, dataset, &plan, refused, &placed.deltas, &mut commit.removed)?;
    crash_point("prepare::rewritten")?;
    archive(&mut stage, &plan, refused, &sources)?;
    crash_point("prepare::archived")?;
    for entry in &plan.accepted {
        if refused.contains(&entry.head.call_id) {
            continue;
        }
        match plan.replaced.get(&entry.head.call_id) {
            None => counts.exported_new += 1,
            Some(old) => {
                counts.exported_updated += 1;
                commit.superseded.extend(old.iter().map(|stored| Superseded {
                    call_id: entry.head.call_id.clone(),
                    version: stored.version,
                    call_date: stored.part.date,
                }));
            }
        }
    }
    for closed in std::mem::take(&mut batch.closed) {
        let state = if closed.verdict == Verdict::Expired { State::Expired } else { State::Quarantined };
        counts.expired += u64::from(closed.verdict == Verdict::Expired);
        let touch = touch(&closed.pending, state, Some(closed.reason), &batch);
        touches.insert(closed.pending.call_id.to_string(), touch);
    }
    for pending in batch.worklist.pending().filter(|p| !p.in_ledger) {
        let entry = touches.entry(pending.call_id.to_string());
        entry.or_insert_with(|| touch(pending, State::Pending, pending.reason.clone(), &batch));
    }
    for frame in batch.spool.frames() {
        if let Some(touch) = touches.get_mut(&frame.stamp.call_id.to_string())
            && touch.state == State::Exported
        {
            touch.asked_at = touch.asked_at.max(Some(frame.stamp.fetched_at.timestamp_micros()));
        }
    }
    ledger::stage(&mut stage, &layout, &tables, &touches)?;
    crash_point("prepare::ledger")?;
    batch.worklist.written_to_ledger();
    commit.quarantined = stage_quarantine(&mut stage, &mut batch.items)?;
    counts.quarantined = commit.quarantined.len() as u64;
    counts.rows = placed.rows;
    commit.files = stage.finish()?;
    crash_point("prepare::staged")?;
    commit.tenant_id = batch.tenant_id.or(commit.tenant_id);
    commit.cursors = batch.cursors;
    commit.pending = batch.worklist.pending().cloned().collect();
    commit.counts = counts;
    dataset.commit(commit.clone())?;
    Ok(commit)
}

/// Reads the head of every spooled record; those without go to quarantine.
fn index(batch: &mut Batch<'_>, sources: &[PathBuf], touches: &mut BTreeMap<String, Touch>) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    let mut refused = Vec::new();
    let mut last_read: HashMap<CallId, usize> = HashMap::new();
    for (number, frame) in batch.spool.frames().iter().enumerate() {
        let record = spool::read_record(&sources[0], frame)?;
        match flatten::head(&record) {
            Ok(head) => {
                last_read.insert(frame.stamp.call_id, number);
                entries.push(Entry { head, source: 0, offset: frame.offset, length: frame.length });
            }
            Err(why) => refused.push((number, frame, why)),
        }
    }
    for (number, frame, why) in refused {
        let id = frame.stamp.call_id;
        let record = spool::read_record(&sources[0], frame)?;
        if last_read.get(&id).is_some_and(|later| *later > number) {
            // Graph was asked again and had a record that can be read: that one
            // says what becomes of the id.
            let item = refused_item(batch.now, id, why.code(), &record);
            batch.items.push(item);
        } else {
            refuse(batch, id, why.code(), &record, touches);
        }
    }
    // Of two frames with one version the later counts: Graph was asked again.
    let mut latest: HashMap<String, Entry> = HashMap::with_capacity(entries.len());
    for entry in entries {
        match latest.get(&entry.head.call_id) {
            Some(present) if present.head.version > entry.head.version => {}
            _ => {
                latest.insert(entry.head.call_id.clone(), entry);
            }
        }
    }
    let mut entries: Vec<Entry> = latest.into_values().collect();
    order::sort(&mut entries);
    Ok(entries)
}

fn refused_item(at: DateTime<Utc>, id: CallId, reason: &str, record: &[u8]) -> Item {
    tracing::warn!(call_id = %id, reason, "a record went to quarantine");
    Item {
        item: String::new(),
        kind: quarantine::Kind::Record,
        call_id: Some(id.to_string()),
        file: None,
        offset: None,
        reason: reason.to_owned(),
        at,
        content: Content::new(record),
    }
}

fn refuse(batch: &mut Batch<'_>, id: CallId, reason: &str, record: &[u8], touches: &mut BTreeMap<String, Touch>) {
    let item = refused_item(batch.now, id, reason, record);
    batch.items.push(item);
    if let Some(pending) = leave(batch, id) {
        let touch = touch(&pending, State::Quarantined, Some(reason.to_owned()), batch);
        touches.insert(id.to_string(), touch);
    }
}

/// The id leaves the worklist, unless Graph is still to be asked again for it or
/// had nothing when it was.
fn leave(batch: &mut Batch<'_>, id: CallId) -> Option<Pending> {
    if batch.stay_pending.contains(&id) { batch.worklist.get(id).cloned() } else { batch.worklist.settle(id) }
}

fn touch(pending: &Pending, state: State, reason: Option<String>, batch: &Batch<'_>) -> Touch {
    Touch {
        state,
        reason,
        sources: source_names(pending),
        tenant_id: pending.tenant_id.map(|id| id.to_string()).or_else(|| batch.tenant_id.clone()),
        first_seen: pending.first_seen,
        first_notified_at: pending.first_notified_at,
        last_notified_at: pending.last_notified_at,
        expires_at: Some(pending.expires_at()),
        fetched: None,
        asked_at: None,
    }
}

/// What goes where.
struct Placement {
    /// New and updated records in the order of the tables.
    accepted: Vec<Entry>,
    /// Stored versions that are replaced.
    replaced: HashMap<String, Vec<Stored>>,
    /// Calls whose version is stored already.
    unchanged: Vec<String>,
}

impl Placement {
    fn new(entries: Vec<Entry>, mut stored: HashMap<String, Vec<Stored>>, counts: &mut Counts) -> Self {
        let mut placement = Self { accepted: Vec::new(), replaced: HashMap::new(), unchanged: Vec::new() };
        for entry in entries {
            match stored.remove(&entry.head.call_id) {
                Some(old) if old.iter().any(|s| s.version >= entry.head.version) => {
                    counts.unchanged += 1;
                    placement.unchanged.push(entry.head.call_id);
                }
                Some(old) => {
                    placement.replaced.insert(entry.head.call_id.clone(), old);
                    placement.accepted.push(entry);
                }
                None => placement.accepted.push(entry),
            }
        }
        // Records of one part together, parts by date, new ones first.
        let mut keyed: Vec<_> = std::mem::take(&mut placement.accepted)
            .into_iter()
            .map(|entry| ((entry.date(), placement.target(&entry).map(|p| p.name.clone())), entry))
            .collect();
        keyed.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| order_key(&a.1).cmp(&order_key(&b.1))));
        placement.accepted = keyed.into_iter().map(|(_, entry)| entry).collect();
        placement
    }

    /// The part whose name the record takes over: where its call stands now,
    /// if that is the same date.
    fn target(&self, entry: &Entry) -> Option<&Part> {
        let old = self.replaced.get(&entry.head.call_id)?;
        old.iter().map(|stored| &stored.part).find(|part| part.date == entry.date())
    }
}

fn order_key(entry: &Entry) -> (i64, &str) {
    (entry.head.start, &entry.head.call_id)
}

type PartKey = (NaiveDate, String);
/// A date, and the part whose name is taken over; `None` is the new part.
type Target = (NaiveDate, Option<String>);

#[derive(Default)]
struct Placed {
    refused: HashSet<String>,
    /// New rows for parts that exist, by part and table.
    deltas: BTreeMap<PartKey, Vec<Option<Written>>>,
    rows: BTreeMap<String, u64>,
    drift: BTreeMap<String, u64>,
}

/// Flattens what is accepted into new parts, and into deltas for old ones.
fn place(
    stage: &mut Stage<'_>,
    dataset: &Dataset,
    batch: &mut Batch<'_>,
    placement: &Placement,
    sources: &[PathBuf],
    touches: &mut BTreeMap<String, Touch>,
) -> Result<Placed> {
    let tables = &dataset.tables;
    let mut placed = Placed::default();
    let group = |entry: &Entry| (entry.date(), placement.target(entry).map(|part| part.name.clone()));
    let pool = order::pool(batch.threads)?;
    let mut fetched: HashMap<String, Fetched> = HashMap::new();
    let mut refused = Vec::new();
    let (drift, written) = {
        let stage = &*stage;
        let begin = |(date, target): &Target| {
            let (date, target) = (*date, target.clone());
            PartSet::new(tables, dataset.layout.modes, &pool, move |table| match &target {
                None => stage.path(&layout::relative(table, date, &layout::part_name(stage.number()))),
                Some(name) => stage.path(&format!("delta/{}", layout::relative(table, date, name))),
            })
        };
        let mut parts = Successive::default();
        let entries = placement.accepted.iter().cloned().map(Ok);
        let drift = order::flatten(entries, sources, &tables.plan, &pool, group, |flattened| {
            for (table, batch) in tables.catalogue.tables.iter().zip(&flattened.batches) {
                *placed.rows.entry(table.name.clone()).or_default() += batch.num_rows() as u64;
                if table.name == "calls" {
                    note_fetched(batch, &mut fetched);
                }
            }
            refused.extend(flattened.refused);
            let key = group(&flattened.entries[0]);
            parts.write(key, begin, flattened.batches, &flattened.hold)
        })?;
        (drift, parts.finish()?)
    };
    placed.drift = drift.counts();
    let frames: HashMap<(u64, u64), &Frame> = batch.spool.frames().iter().map(|f| ((f.offset, f.length), f)).collect();
    let mut reader = SourceReader::new(sources);
    let mut settled = Vec::new();
    for (entry, reason) in refused {
        placed.refused.insert(entry.head.call_id.clone());
        if let Some(frame) = frames.get(&(entry.offset, entry.length)) {
            refuse(batch, frame.stamp.call_id, reason.code(), &reader.read(&entry)?, touches);
        }
    }
    for entry in &placement.accepted {
        if placed.refused.contains(&entry.head.call_id) {
            continue;
        }
        let Some(frame) = frames.get(&(entry.offset, entry.length)) else { continue };
        let mut row = fetched.remove(&entry.head.call_id).unwrap_or_default();
        row.at = frame.stamp.fetched_at.timestamp_micros();
        row.version = entry.head.version;
        row.start = entry.head.start;
        settled.push((entry.head.call_id.clone(), row));
    }
    for (call_id, row) in settled {
        settle(batch, std::slice::from_ref(&call_id), touches, Some(row));
    }
    for ((date, target), tables_written) in written {
        match target {
            Some(name) => {
                placed.deltas.insert((date, name), tables_written);
            }
            None => {
                for (table, written) in tables.catalogue.tables.iter().zip(tables_written) {
                    if let Some(written) = written {
                        let relative = layout::relative(&table.name, date, &layout::part_name(stage.number()));
                        stage.put(&table.name, &relative, written.rows)?;
                    }
                }
            }
        }
    }
    Ok(placed)
}

fn note_fetched(calls: &RecordBatch, fetched: &mut HashMap<String, Fetched>) {
    let instants =
        |name: &str| calls.column_by_name(name).and_then(|c| c.as_primitive_opt::<TimestampMicrosecondType>());
    let value = |column: Option<&crate::arrow::array::TimestampMicrosecondArray>, row: usize| {
        column.filter(|c| c.is_valid(row)).map(|c| c.value(row))
    };
    let Some(ids) = calls.column_by_name("call_id").and_then(|c| c.as_string_opt::<i32>()) else { return };
    for row in 0..calls.num_rows() {
        fetched.insert(
            ids.value(row).to_owned(),
            Fetched {
                end: value(instants("end_date_time"), row),
                last_modified: value(instants("last_modified_date_time"), row),
                ..Fetched::default()
            },
        );
    }
}

/// The calls are stored: they leave the worklist, and the ledger is told.
fn settle(batch: &mut Batch<'_>, calls: &[String], touches: &mut BTreeMap<String, Touch>, fetched: Option<Fetched>) {
    for call_id in calls {
        let Ok(id) = call_id.parse::<CallId>() else { continue };
        let Some(pending) = leave(batch, id) else { continue };
        let mut touch = touch(&pending, State::Exported, None, batch);
        if let Some(fetched) = &fetched {
            let end = fetched.end.unwrap_or(fetched.start);
            touch.expires_at = DateTime::from_timestamp_micros(end).map(|end| end + RETENTION);
        }
        touch.fetched.clone_from(&fetched);
        touches.insert(call_id.clone(), touch);
    }
}

/// New contents of the parts that held a superseded call.
fn rewrite(
    stage: &mut Stage<'_>,
    dataset: &Dataset,
    placement: &Placement,
    refused: &HashSet<String>,
    deltas: &BTreeMap<PartKey, Vec<Option<Written>>>,
    removed: &mut Vec<String>,
) -> Result<()> {
    let mut dropped: BTreeMap<PartKey, HashSet<String>> = BTreeMap::new();
    for (call_id, old) in placement.replaced.iter().filter(|(id, _)| !refused.contains(*id)) {
        for stored in old {
            let key = (stored.part.date, stored.part.name.clone());
            dropped.entry(key).or_default().insert(call_id.clone());
        }
    }
    let tables: Vec<_> =
        dataset.tables.children_first().map(|(n, name, format)| (n, name.to_owned(), format.clone())).collect();
    for ((date, name), calls) in &dropped {
        for (number, table, format) in &tables {
            let relative = layout::relative(table, *date, name);
            let present = dataset.layout.path(&relative);
            let delta = deltas.get(&(*date, name.clone())).and_then(|written| written[*number].as_ref());
            let mut inputs = Vec::new();
            if files::exists(&present)? {
                inputs.push(Input { path: present, without: Some(calls) });
            }
            let stood = !inputs.is_empty();
            inputs.extend(delta.map(|written| Input { path: written.path.clone(), without: None }));
            let left = stage.merge(table, format, *date, name, &inputs)?;
            if stood && !left {
                removed.push(relative);
            }
        }
    }
    Ok(())
}

/// The archive segments: what is accepted and was not refused, sorted.
fn archive(stage: &mut Stage<'_>, placement: &Placement, refused: &HashSet<String>, sources: &[PathBuf]) -> Result<()> {
    let mut kept: Vec<&Entry> = placement.accepted.iter().filter(|e| !refused.contains(&e.head.call_id)).collect();
    kept.sort_by(|a, b| order_key(a).cmp(&order_key(b)));
    let mut reader = SourceReader::new(sources);
    let mut rest = kept.as_slice();
    while let Some(first) = rest.first() {
        let date = first.date();
        let (today, later) = rest.split_at(rest.partition_point(|e| e.date() == date));
        let relative = layout::relative(RAW, date, &layout::segment_name(stage.number()));
        let mut writer = SegmentWriter::create(&stage.path(&relative)?)?;
        for entry in today {
            writer.write(&reader.read(entry)?)?;
        }
        let rows = writer.finish()?;
        stage.put(RAW, &relative, rows)?;
        rest = later;
    }
    Ok(())
}

pub(super) fn stage_quarantine(stage: &mut Stage<'_>, items: &mut [Item]) -> Result<Vec<Quarantined>> {
    if items.is_empty() {
        return Ok(Vec::new());
    }
    let bytes = quarantine::encode(items, stage.number())?;
    let relative = format!("{QUARANTINE}/{}", quarantine::file_name(stage.number()));
    let path = stage.path(&relative)?;
    let mut file = files::create_file(&path, PRIVATE)?;
    file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(|e| Error::io("write", &path, e))?;
    stage.put(QUARANTINE, &relative, items.len() as u64)?;
    Ok(items
        .iter()
        .map(|item| Quarantined { item: item.item.clone(), call_id: item.call_id.clone(), reason: item.reason.clone() })
        .collect())
}

/// The sources of an id, as the ledger has them: none, if it was only looked at again.
fn source_names(pending: &Pending) -> BTreeSet<String> {
    pending.sources.iter().filter(|origin| **origin != Origin::Settle).map(|origin| origin.name().to_owned()).collect()
}
