//! `flatten`: call-record files on disk to tables, without Graph.
//!
//! Takes JSON documents (`.json`: a record, a list of records, or a collection
//! `{"value": […]}`), lines (`.ndjson`, `.jsonl`) and both as `.gz` or `.zst`.
//! The tables appear in one step in a directory that was absent or empty.

use super::layout::{self, Layout, STATE};
use super::order::{self, Entry};
use super::parquet::Written;
use super::parts::{PartSet, Successive};
use super::tables::Tables;
use crate::error::{Class, Error, Result};
use crate::files::{self, Modes, PRIVATE};
use crate::flatten::{self, Refused};
use crate::quarantine::{self, Content, Item, Kind};
use chrono::{DateTime, NaiveDate, Utc};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// The largest JSON document that is read as a whole.
const MAX_DOCUMENT: u64 = 1 << 30;

/// What was converted.
#[derive(Clone, Debug, Default)]
pub struct Converted {
    /// Records read.
    pub records: u64,
    /// Calls written: one per id, in its latest version.
    pub exported: u64,
    /// Records refused.
    pub quarantined: u64,
    /// Rows by table.
    pub rows: BTreeMap<String, u64>,
    /// Files of tables.
    pub files_written: u64,
    /// Their bytes.
    pub bytes_written: u64,
    /// Drift by path.
    pub schema_drift: BTreeMap<String, u64>,
}

/// Converts `inputs` to tables in `output`.
///
/// # Errors
/// By class usage when `output` is not empty or an input is missing; any
/// failure of the file system by class I/O. Nothing is left of a failure.
pub fn convert(
    inputs: &[PathBuf],
    output: &Path,
    tables: &Tables,
    modes: Modes,
    threads: usize,
    now: DateTime<Utc>,
) -> Result<Converted> {
    if output.exists() && (!output.is_dir() || !files::list(output)?.is_empty()) {
        return Err(Error::new(Class::Usage, format!("{} is there already and not empty", output.display()))
            .hint("name a directory that is absent or empty"));
    }
    let name = output.file_name().and_then(|n| n.to_str()).unwrap_or("tables");
    let parent = output.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    files::create_directory(parent, modes)?;
    let work = tempfile::Builder::new()
        .prefix(&format!(".{name}-"))
        .tempdir_in(parent)
        .map_err(|e| Error::io("make a directory in", parent, e))?;
    let staged = work.path().join("tables");
    files::create_directory(&staged, modes)?;
    let converted = write(inputs, &staged, &work.path().join("unpacked"), tables, modes, threads, now)?;
    if output.exists() {
        std::fs::remove_dir(output).map_err(|e| Error::io("replace", output, e))?;
    }
    files::rename(&staged, output)?;
    files::sync_directory(parent)?;
    Ok(converted)
}

fn write(
    inputs: &[PathBuf],
    staged: &Path,
    unpacked: &Path,
    tables: &Tables,
    modes: Modes,
    threads: usize,
    now: DateTime<Utc>,
) -> Result<Converted> {
    let mut index = Index { now, ..Index::default() };
    for input in inputs {
        index.add(input, unpacked)?;
    }
    let Index { entries, sources, names, mut refused, .. } = index;
    let mut converted = Converted { records: entries.len() as u64 + refused.len() as u64, ..Converted::default() };
    let mut reader = order::SourceReader::new(&sources);
    let mut entries = order::latest(entries, |a, b| Ok(reader.read(a)? > reader.read(b)?))?;
    order::sort(&mut entries);
    let layout = Layout::new(staged, modes);
    let pool = order::pool(threads)?;
    let mut parts = Successive::default();
    let mut late = Vec::new();
    let begin = |date: &NaiveDate| {
        let (layout, date) = (layout.clone(), *date);
        PartSet::new(tables, modes, &pool, move |table| {
            let path = layout.path(&layout::relative(table, date, &layout::part_name(1)));
            files::create_directory(path.parent().unwrap_or(Path::new("")), modes)?;
            Ok(path)
        })
    };
    let drift = order::flatten(&entries, &sources, &tables.plan, &pool, Entry::date, |flattened| {
        let date = entries[flattened.entries.start].date();
        converted.exported += (flattened.entries.len() - flattened.refused.len()) as u64;
        late.extend(flattened.refused);
        parts.write(date, begin, flattened.batches, &flattened.hold)
    })?;
    for (_, written) in parts.finish()? {
        count(written, tables, &mut converted)?;
    }
    converted.schema_drift = drift.counts();
    let mut reader = order::SourceReader::new(&sources);
    for (number, reason) in late {
        let entry = &entries[number];
        let record = reader.read(entry)?;
        refused.push(item(&names[entry.source], entry.offset, &reason, &record, now));
    }
    converted.quarantined = refused.len() as u64;
    if !refused.is_empty() {
        let directory = staged.join(STATE).join("quarantine");
        files::create_directory(&directory, PRIVATE)?;
        let bytes = quarantine::encode(&mut refused, 1)?;
        files::write_atomically(&directory.join(quarantine::file_name(1)), &bytes, PRIVATE)?;
    }
    Ok(converted)
}

fn count(parts: Vec<Option<Written>>, tables: &Tables, converted: &mut Converted) -> Result<()> {
    for (table, written) in tables.catalogue.tables.iter().zip(parts) {
        let Some(written) = written else { continue };
        *converted.rows.entry(table.name.clone()).or_default() += written.rows;
        converted.files_written += 1;
        converted.bytes_written += files::size(&written.path)?;
    }
    Ok(())
}

fn item(file: &Path, offset: u64, reason: &Refused, bytes: &[u8], now: DateTime<Utc>) -> Item {
    tracing::warn!(file = %file.display(), offset, reason = reason.code(), "a record went to quarantine");
    Item {
        item: String::new(),
        kind: Kind::Record,
        call_id: None,
        file: Some(file.display().to_string()),
        offset: Some(offset),
        reason: reason.code().to_owned(),
        at: now,
        content: Content::new(bytes),
    }
}

#[derive(Default)]
struct Index {
    entries: Vec<Entry>,
    /// The files that are read: inputs, or what was unpacked from them.
    sources: Vec<PathBuf>,
    /// The inputs' own names.
    names: Vec<PathBuf>,
    refused: Vec<Item>,
    now: DateTime<Utc>,
}

impl Index {
    fn add(&mut self, named: &Path, unpacked: &Path) -> Result<()> {
        let input = named;
        let name = input.file_name().and_then(|n| n.to_str()).unwrap_or_default().to_ascii_lowercase();
        let fail = |e| Error::io("read", input, e);
        if !input.is_file() {
            return Err(Error::usage(format!("There is no file {}", input.display()))
                .hint("name files with call records: .json, .ndjson, .jsonl, each also as .gz or .zst"));
        }
        // An input may be a link; what it names is read.
        let input = &std::fs::canonicalize(input).map_err(fail)?;
        let (inner, source): (&str, PathBuf) = if let Some(inner) = name.strip_suffix(".gz") {
            let reader = flate2::bufread::MultiGzDecoder::new(BufReader::new(files::open(input)?));
            (inner, self.unpack(input, reader, unpacked)?)
        } else if let Some(inner) = name.strip_suffix(".zst") {
            (inner, self.unpack(input, zstd::Decoder::new(files::open(input)?).map_err(fail)?, unpacked)?)
        } else {
            (name.as_str(), input.to_owned())
        };
        self.sources.push(source.clone());
        self.names.push(named.to_owned());
        match Path::new(inner).extension().and_then(|e| e.to_str()) {
            Some("json") => self.document(&source),
            Some("ndjson" | "jsonl") => self.lines(&source),
            _ => Err(Error::usage(format!("{} is of no kind that can be read", input.display()))
                .hint("name files with call records: .json, .ndjson, .jsonl, each also as .gz or .zst")),
        }
    }

    fn unpack(&self, input: &Path, mut reader: impl Read, unpacked: &Path) -> Result<PathBuf> {
        files::create_directory(unpacked, PRIVATE)?;
        let path = unpacked.join(self.sources.len().to_string());
        let mut file = files::create_file(&path, PRIVATE)?;
        std::io::copy(&mut reader, &mut file).map_err(|e| Error::io("unpack", input, e))?;
        Ok(path)
    }

    fn record(&mut self, offset: u64, record: &[u8]) {
        let source = self.sources.len() - 1;
        match flatten::head(record) {
            Ok(head) => self.entries.push(Entry { head, source, offset, length: record.len() as u64 }),
            Err(reason) => self.refused.push(item(&self.names[source], offset, &reason, record, self.now)),
        }
    }

    fn lines(&mut self, source: &Path) -> Result<()> {
        let mut reader = BufReader::with_capacity(1 << 17, files::open(source)?);
        let (mut line, mut offset) = (Vec::new(), 0_u64);
        loop {
            line.clear();
            let read = reader.read_until(b'\n', &mut line).map_err(|e| Error::io("read", source, e))?;
            if read == 0 {
                return Ok(());
            }
            let mark = if offset == 0 && line.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
            let record = line[mark..].trim_ascii_end();
            if !record.trim_ascii().is_empty() {
                self.record(offset + mark as u64, record);
            }
            offset += read as u64;
        }
    }

    fn document(&mut self, source: &Path) -> Result<()> {
        let size = std::fs::metadata(source).map_err(|e| Error::io("read", source, e))?.len();
        if size > MAX_DOCUMENT {
            return Err(Error::usage(format!("{} is larger than a JSON document may be", source.display()))
                .hint("write one record a line and name the file .ndjson"));
        }
        let bytes = std::fs::read(source).map_err(|e| Error::io("read", source, e))?;
        let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
        let place = |part: &[u8]| (part.as_ptr() as usize - bytes.as_ptr() as usize) as u64;
        let mut values = serde_json::Deserializer::from_slice(text).into_iter::<&RawValue>();
        loop {
            let begin = values.byte_offset();
            match values.next() {
                None => return Ok(()),
                Some(Ok(value)) => {
                    for record in records(value.get()) {
                        self.record(place(record.as_bytes()), record.as_bytes());
                    }
                }
                Some(Err(_)) => {
                    // The rest of the file cannot be told apart any more.
                    let rest = &text[begin..];
                    let source = self.sources.len() - 1;
                    self.refused.push(item(&self.names[source], place(rest), &Refused::NotJson, rest, self.now));
                    return Ok(());
                }
            }
        }
    }
}

#[derive(Deserialize)]
struct Collection<'a> {
    #[serde(borrow, default)]
    value: Option<Vec<&'a RawValue>>,
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
}

fn records(text: &str) -> Vec<&str> {
    if text.starts_with('[')
        && let Ok(list) = serde_json::from_str::<Vec<&RawValue>>(text)
    {
        return list.into_iter().map(RawValue::get).collect();
    }
    match serde_json::from_str::<Collection<'_>>(text) {
        Ok(Collection { value: Some(list), id: None }) => list.into_iter().map(RawValue::get).collect(),
        _ => vec![text],
    }
}
