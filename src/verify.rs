//! `verify`: keys, references, hashes and counts of a dataset.
//!
//! Files that a kept commit record names are compared with its SHA-256. Dates
//! with other files are made again from the archive, and must be the same byte
//! for byte. All parts are read for keys and references.

use crate::arrow::array::{Array, AsArray, RecordBatch};
use crate::arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};
use crate::dataset::Dataset;
use crate::dataset::layout::{ALERTS, LEDGER, RAW};
use crate::dataset::{call_logs, commit, parquet, rebuild};
use crate::error::Result;
use crate::files;
use crate::flatten;
use crate::printable;
use crate::raw;
use chrono::{DateTime, NaiveDate};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// At most so many faults are told one by one.
const MAX_FAULTS: usize = 1000;

/// What was found.
#[derive(Debug, Default, Serialize)]
pub struct Verified {
    /// Files compared with the hash in a commit record.
    pub files_by_hash: u64,
    /// Files compared with what the archive gives.
    pub files_by_archive: u64,
    /// Files read in full for which there is neither hash nor archive.
    pub files_by_keys_alone: u64,
    /// Calls in the tables.
    pub calls: u64,
    /// Rows read, by table.
    pub rows: BTreeMap<String, u64>,
    /// Calls whose record is not in the archive.
    pub calls_without_archive: u64,
    /// How many faults there are.
    pub fault_count: u64,
    /// What is wrong, by file or call; the first thousand.
    pub faults: Vec<String>,
}

impl Verified {
    fn fault(&mut self, fault: String) {
        self.fault_count += 1;
        if self.faults.len() < MAX_FAULTS {
            self.faults.push(fault);
        }
    }

    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        use std::fmt::Write;
        let mut text = format!(
            "files     {} by the hash of their commit, {} against the archive, {} by their keys alone\ncalls     {}\n",
            self.files_by_hash, self.files_by_archive, self.files_by_keys_alone, self.calls
        );
        for (table, rows) in &self.rows {
            let _ = writeln!(text, "rows      {rows:>12} {table}");
        }
        if self.calls_without_archive > 0 {
            let _ = writeln!(text, "archive   lacks {} calls of the tables", self.calls_without_archive);
        }
        let _ = writeln!(text, "faults    {}", self.fault_count);
        for fault in &self.faults {
            let _ = writeln!(text, "  {}", printable::field(fault));
        }
        text
    }
}

struct Call {
    version: i64,
    date: NaiveDate,
    part: String,
    /// What `calls` says of the rows of other tables.
    counts: Vec<Option<i32>>,
    /// What was found.
    found: Vec<i32>,
}

/// Counted children: table and column of `calls`.
const COUNTED: [(&str, &str); 4] = [
    ("participants", "participant_count"),
    ("sessions", "session_count"),
    ("segments", "segment_count"),
    ("streams", "stream_count"),
];

/// Verifies a dataset, whose lock is held.
///
/// # Errors
/// Any failure of the file system; damage is a fault, not an error.
pub fn verify(dataset: &Dataset, threads: usize) -> Result<Verified> {
    let mut verified = Verified::default();
    let unnamed = hashes(dataset, &mut verified)?;
    let archived = archive(dataset, &mut verified)?;
    let mut calls = calls(dataset, &mut verified)?;
    for table in dataset.tables.catalogue.tables.iter().filter(|t| t.name != "calls") {
        children(dataset, &table.name, &mut calls, &mut verified)?;
    }
    compare_with_archive(&calls, &archived, &mut verified);
    ledger(dataset, &calls, &mut verified)?;
    remake(dataset, &unnamed, &archived, threads, &mut verified)?;
    let logs = call_logs::verify(dataset)?;
    verified.files_by_archive += logs.by_archive;
    verified.rows.extend(logs.rows);
    for fault in logs.faults {
        verified.fault(fault);
    }
    Ok(verified)
}

/// Compares what kept commits name, and gives the other files by date.
fn hashes(dataset: &Dataset, verified: &mut Verified) -> Result<BTreeMap<NaiveDate, BTreeSet<(String, String)>>> {
    let layout = &dataset.layout;
    let named = commit::named_files(layout)?;
    for (relative, file) in &named {
        match files::digest(&layout.path(relative))? {
            // It goes when it is delivered.
            None if file.table == ALERTS => {}
            None => verified.fault(format!("{relative} is missing")),
            Some((_, found)) if found != file.sha256 => {
                verified.fault(format!("{relative} is not what its commit wrote"));
            }
            Some(_) => verified.files_by_hash += 1,
        }
    }
    let mut unnamed: BTreeMap<NaiveDate, BTreeSet<(String, String)>> = BTreeMap::new();
    let records = dataset.tables.catalogue.tables.iter().map(|t| t.name.as_str());
    for table in records.chain([LEDGER, RAW]) {
        for part in layout.parts(table)? {
            let relative = crate::dataset::layout::relative(table, part.date, &part.name);
            if !named.contains_key(&relative) {
                unnamed.entry(part.date).or_default().insert((table.to_owned(), part.name));
            }
        }
    }
    Ok(unnamed)
}

/// The highest archived version of every call and its date.
fn archive(dataset: &Dataset, verified: &mut Verified) -> Result<HashMap<String, (i64, NaiveDate)>> {
    let mut archived: HashMap<String, (i64, NaiveDate)> = HashMap::new();
    for part in dataset.layout.parts(RAW)? {
        let mut faults = Vec::new();
        let read = raw::read_segment(&part.path, |offset, record| {
            match flatten::head(record) {
                Err(refused) => faults.push(format!("{} at {offset}: {refused}", part.path.display())),
                Ok(head) => {
                    if head.date() != part.date {
                        faults.push(format!("{} at {offset}: a record of {}", part.path.display(), head.date()));
                    }
                    let date = head.date();
                    let entry = archived.entry(head.call_id).or_insert((head.version, date));
                    if head.version > entry.0 {
                        *entry = (head.version, date);
                    }
                }
            }
            Ok(())
        });
        if let Err(error) = read {
            faults.push(error.to_string());
        }
        faults.into_iter().for_each(|fault| verified.fault(fault));
    }
    Ok(archived)
}

/// Calls `each` with the slices of a part; damage is a fault.
fn read_part(
    verified: &mut Verified,
    table: &str,
    path: &std::path::Path,
    mut each: impl FnMut(&mut Verified, &RecordBatch),
) {
    let reader = match parquet::read(path) {
        Ok(reader) => reader,
        Err(error) => return verified.fault(error.to_string()),
    };
    for batch in reader {
        match batch {
            Ok(batch) => {
                *verified.rows.entry(table.to_owned()).or_default() += batch.num_rows() as u64;
                each(verified, &batch);
            }
            Err(error) => return verified.fault(format!("{} cannot be read: {error}", path.display())),
        }
    }
}

fn calls(dataset: &Dataset, verified: &mut Verified) -> Result<HashMap<String, Call>> {
    let mut calls: HashMap<String, Call> = HashMap::new();
    for part in dataset.layout.parts("calls")? {
        read_part(verified, "calls", &part.path, |verified, batch| {
            let Some(ids) = batch.column_by_name("call_id").and_then(|c| c.as_string_opt::<i32>()) else {
                return verified.fault(format!("{} has no column call_id", part.path.display()));
            };
            let versions = batch.column_by_name("version").and_then(|c| c.as_primitive_opt::<Int64Type>());
            let starts = batch
                .column_by_name("call_start_date_time")
                .and_then(|c| c.as_primitive_opt::<TimestampMicrosecondType>());
            let counts: Vec<_> = COUNTED
                .iter()
                .map(|(_, column)| batch.column_by_name(column).and_then(|c| c.as_primitive_opt::<Int32Type>()))
                .collect();
            for row in 0..batch.num_rows() {
                let id = ids.value(row);
                let date = starts.and_then(|s| DateTime::from_timestamp_micros(s.value(row))).map(|at| at.date_naive());
                if date != Some(part.date) {
                    verified.fault(format!("call {id} stands under {} but began on another date", part.date));
                }
                let call = Call {
                    version: versions.filter(|v| v.is_valid(row)).map_or(0, |v| v.value(row)),
                    date: part.date,
                    part: part.name.clone(),
                    counts: counts.iter().map(|c| c.filter(|c| c.is_valid(row)).map(|c| c.value(row))).collect(),
                    found: vec![0; COUNTED.len()],
                };
                if calls.insert(id.to_owned(), call).is_some() {
                    verified.fault(format!("call {id} stands twice in calls"));
                }
            }
        });
    }
    verified.calls = calls.len() as u64;
    Ok(calls)
}

/// Children belong to a call of the same part, and no key comes twice.
fn children(dataset: &Dataset, table: &str, calls: &mut HashMap<String, Call>, verified: &mut Verified) -> Result<()> {
    let counted = COUNTED.iter().position(|(name, _)| *name == table);
    for part in dataset.layout.parts(table)? {
        let mut last: Option<(String, Vec<String>)> = None;
        let mut keys_of_call: HashSet<Vec<String>> = HashSet::new();
        read_part(verified, table, &part.path, |verified, batch| {
            let Some(ids) = batch.column_by_name("call_id").and_then(|c| c.as_string_opt::<i32>()) else {
                return verified.fault(format!("{} has no column call_id", part.path.display()));
            };
            let keys = key_columns(batch, table);
            for row in 0..batch.num_rows() {
                let id = ids.value(row);
                match calls.get_mut(id) {
                    Some(call) if call.date == part.date && call.part == part.name => {
                        if let Some(counted) = counted {
                            call.found[counted] += 1;
                        }
                    }
                    Some(_) => verified.fault(format!("{table} has a row of call {id} in another part than calls")),
                    None => verified.fault(format!("{table} has a row of call {id}, which calls does not have")),
                }
                let key: Vec<String> = keys.iter().map(|column| key_text(column, row)).collect();
                if last.as_ref().is_none_or(|(call, _)| call != id) {
                    keys_of_call.clear();
                }
                if !keys_of_call.insert(key.clone()) {
                    verified.fault(format!("{table} has two rows with one key in call {id}"));
                }
                last = Some((id.to_owned(), key));
            }
        });
    }
    if let Some(counted) = counted {
        for (id, call) in calls.iter() {
            if call.counts[counted].is_some_and(|count| count != call.found[counted]) {
                verified.fault(format!(
                    "call {id} has {} rows in {table}, and its {} says otherwise",
                    call.found[counted], COUNTED[counted].1
                ));
            }
        }
    }
    Ok(())
}

/// The columns that tell the rows of one call apart.
fn key_columns(batch: &RecordBatch, table: &str) -> Vec<std::sync::Arc<dyn Array>> {
    let schema = batch.schema();
    let is_key = |name: &str| {
        name.ends_with("_index")
            || (table == "feedback_tokens" && matches!(name, "level" | "side" | "token"))
            || (table == "trace_route_hops" && name == "side")
    };
    let names = schema.fields().iter().map(|f| f.name().clone()).filter(|name| is_key(name));
    names.filter_map(|name| batch.column_by_name(&name).cloned()).collect()
}

fn key_text(column: &std::sync::Arc<dyn Array>, row: usize) -> String {
    if column.is_null(row) {
        return String::new();
    }
    if let Some(numbers) = column.as_primitive_opt::<Int32Type>() {
        return numbers.value(row).to_string();
    }
    column.as_string_opt::<i32>().map(|texts| texts.value(row).to_owned()).unwrap_or_default()
}

fn compare_with_archive(
    calls: &HashMap<String, Call>,
    archived: &HashMap<String, (i64, NaiveDate)>,
    verified: &mut Verified,
) {
    for (id, call) in calls {
        match archived.get(id) {
            None => verified.calls_without_archive += 1,
            Some((version, _)) if *version != call.version => {
                verified.fault(format!("call {id} stands in version {}, the archive has {version}", call.version));
            }
            Some((_, date)) if *date != call.date => {
                verified.fault(format!("call {id} stands under {}, the archive under {date}", call.date));
            }
            Some(_) => {}
        }
    }
    for id in archived.keys().filter(|id| !calls.contains_key(*id)) {
        verified.fault(format!("call {id} is in the archive and not in calls"));
    }
}

fn ledger(dataset: &Dataset, calls: &HashMap<String, Call>, verified: &mut Verified) -> Result<()> {
    let mut exported: HashSet<String> = HashSet::new();
    let mut seen: HashSet<String> = HashSet::new();
    for part in dataset.layout.parts(LEDGER)? {
        read_part(verified, LEDGER, &part.path, |verified, batch| {
            let text = |name: &str| batch.column_by_name(name).and_then(|c| c.as_string_opt::<i32>());
            let (Some(ids), Some(states)) = (text("call_id"), text("state")) else {
                return verified.fault(format!("{} has no ledger columns", part.path.display()));
            };
            let versions = batch.column_by_name("version").and_then(|c| c.as_primitive_opt::<Int64Type>());
            for row in 0..batch.num_rows() {
                let id = ids.value(row);
                if !seen.insert(id.to_owned()) {
                    verified.fault(format!("call {id} stands twice in the ledger"));
                }
                if states.value(row) == "exported" {
                    exported.insert(id.to_owned());
                    let version = versions.filter(|v| v.is_valid(row)).map(|v| v.value(row));
                    if calls.get(id).is_none_or(|call| Some(call.version) != version) {
                        verified.fault(format!(
                            "the ledger says that call {id} is exported, and calls does not have that version"
                        ));
                    }
                }
            }
        });
    }
    for id in calls.keys().filter(|id| !seen.contains(*id)) {
        verified.fault(format!("call {id} is not in the ledger"));
    }
    Ok(())
}

/// Makes dates with unnamed files again and compares them.
fn remake(
    dataset: &Dataset,
    unnamed: &BTreeMap<NaiveDate, BTreeSet<(String, String)>>,
    archived: &HashMap<String, (i64, NaiveDate)>,
    threads: usize,
    verified: &mut Verified,
) -> Result<()> {
    let dates_with_archive: HashSet<NaiveDate> = archived.values().map(|(_, date)| *date).collect();
    for (date, parts) in unnamed {
        let tables: BTreeSet<&str> =
            parts.iter().map(|(t, _)| t.as_str()).filter(|t| *t != LEDGER && *t != RAW).collect();
        verified.files_by_keys_alone += parts.iter().filter(|(t, _)| t == LEDGER || t == RAW).count() as u64;
        let of_tables = parts.iter().filter(|(t, _)| tables.contains(t.as_str())).count() as u64;
        if tables.is_empty() {
            continue;
        }
        if !dates_with_archive.contains(date) {
            verified.files_by_keys_alone += of_tables;
            continue;
        }
        for (table, same) in rebuild::compare(dataset, *date, &tables, threads)? {
            if !same {
                verified.fault(format!("{table} of {date} is not what the archive gives"));
            }
        }
        verified.files_by_archive += of_tables;
    }
    Ok(())
}
