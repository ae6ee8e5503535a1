//! `flatten`: call-record files on disk to tables, without Graph.
//!
//! Takes JSON documents (`.json`: a record, a list of records, or a collection
//! `{"value": […]}`), lines (`.ndjson`, `.jsonl`) and both as `.gz` or `.zst`.
//! The tables appear in one step in a directory that was absent or empty.

use super::inputs::{self, Source};
use super::layout::{self, Layout, STATE};
use super::lines::Lines;
use super::order::{self, ById, ByStart, Entry, SourceReader};
use super::parquet::Written;
use super::parts::{PartSet, Successive};
use super::sort::{Scratch, Sorter};
use super::tables::Tables;
use crate::error::{Class, Error, Result};
use crate::files::{self, Modes};
use crate::flatten::Refused;
use crate::quarantine::{self, Content, Item, Kind};
use chrono::{DateTime, NaiveDate, Utc};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Of a record that is too large, as much goes to quarantine as of an answer of
/// Graph that is.
const START_OF_TOO_LARGE: u64 = 16 << 10;

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
/// failure of the file system by class I/O; that of `go_on`, which is asked between
/// records. Nothing is left of a failure.
pub fn convert(
    inputs: &[PathBuf],
    output: &Path,
    tables: &Tables,
    modes: Modes,
    threads: usize,
    now: DateTime<Utc>,
    go_on: &dyn Fn() -> Result<()>,
) -> Result<Converted> {
    let named = output;
    // An empty directory is replaced: that which a link names, not the link.
    let output = &if named.exists() { files::resolved(named)? } else { named.to_owned() };
    if output.exists() && (!output.is_dir() || !files::list(output)?.is_empty()) {
        return Err(Error::new(Class::Usage, format!("{} is there already and not empty", named.display()))
            .hint("name a directory that is absent or empty"));
    }
    let name = output.file_name().and_then(|n| n.to_str()).unwrap_or("tables");
    let parent = output.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    files::create_directory(parent, modes)?;
    if output.exists() && files::is_mount_point(output)? {
        return Err(Error::new(
            Class::Usage,
            format!("{} is a mount point, which cannot be replaced", named.display()),
        )
        .hint("name a directory in it: the tables appear in one step"));
    }
    let work = tempfile::Builder::new()
        .prefix(&format!(".{name}-"))
        .tempdir_in(parent)
        .map_err(|e| Error::io("make a directory in", parent, e))?;
    let staged = work.path().join("tables");
    files::create_unsynced_directory(&staged, modes)?;
    let plan = Plan { lines: Lines::default(), scratch: Scratch::new(work.path().join("index")), threads, now, go_on };
    let converted = write(inputs, &staged, &work.path().join("unpacked"), tables, modes, &plan)?;
    if output.exists() {
        std::fs::remove_dir(output).map_err(|e| Error::io("replace", output, e))?;
    }
    files::rename(&staged, output)?;
    files::sync_directory(parent)?;
    Ok(converted)
}

/// How records are read and sorted.
struct Plan<'a> {
    lines: Lines,
    scratch: Scratch,
    threads: usize,
    now: DateTime<Utc>,
    go_on: &'a dyn Fn() -> Result<()>,
}

fn write(
    inputs: &[PathBuf],
    staged: &Path,
    unpacked: &Path,
    tables: &Tables,
    modes: Modes,
    plan: &Plan<'_>,
) -> Result<Converted> {
    let inputs: Vec<Source> =
        inputs.iter().enumerate().map(|(number, input)| Source::new(number, input, unpacked)).collect::<Result<_>>()?;
    let sources: Vec<PathBuf> = inputs.iter().map(|input| input.path.clone()).collect();
    let pool = order::pool(plan.threads)?;
    let mut converted = Converted::default();
    let mut refusals = Refusals::new(staged, &inputs, &sources, plan.now);
    let mut entries = Sorter::new(&plan.scratch, "id");
    let each = |entry| {
        (plan.go_on)()?;
        converted.records += 1;
        entries.push(ById(entry))
    };
    inputs::index(&inputs, &plan.lines, &pool, each, |source, offset, length, reason| {
        refusals.add(source, offset, length, reason)
    })?;
    converted.records += refusals.count();
    let mut reader = SourceReader::new(&sources);
    let greater = |a: &Entry, b: &Entry| Ok(reader.read(a)? > reader.read(b)?);
    let entries = order::latest(entries, &plan.scratch, greater, |_| true)?;
    let layout = Layout::new(staged, modes);
    let mut parts = Successive::default();
    let begin = |date: &NaiveDate| {
        let (layout, date) = (layout.clone(), *date);
        PartSet::new(tables, modes, &pool, move |table| {
            let path = layout.path(&layout::relative(table, date, &layout::part_name(1)));
            files::create_unsynced_directory(path.parent().unwrap_or(Path::new("")), modes)?;
            Ok(path)
        })
    };
    let entries = entries.map(|entry| entry.map(|ByStart(entry)| entry));
    let drift = order::flatten(entries, &sources, &tables.plan, &pool, Entry::date, |flattened| {
        (plan.go_on)()?;
        let date = flattened.entries[0].date();
        converted.exported += (flattened.entries.len() - flattened.refused.len()) as u64;
        for (entry, reason) in flattened.refused {
            refusals.add(entry.source, entry.offset, entry.length, reason)?;
        }
        parts.write(date, begin, flattened.batches, &flattened.hold)
    })?;
    let written = parts.finish()?;
    let of_tables = written.iter().flat_map(|(_, tables)| tables.iter().flatten());
    files::sync_directories(of_tables.map(|written| written.path.as_path()), staged)?;
    for (_, written) in written {
        count(written, tables, &mut converted)?;
    }
    converted.schema_drift = drift.counts();
    converted.quarantined = refusals.finish()?;
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

/// Writes what was refused to the quarantine.
struct Refusals<'a> {
    inputs: &'a [Source],
    reader: SourceReader<'a>,
    items: quarantine::Writer,
    now: DateTime<Utc>,
}

impl<'a> Refusals<'a> {
    fn new(staged: &Path, inputs: &'a [Source], sources: &'a [PathBuf], now: DateTime<Utc>) -> Self {
        let items = quarantine::Writer::new(&staged.join(STATE).join("quarantine"), 1);
        Self { inputs, reader: SourceReader::new(sources), items, now }
    }

    const fn count(&self) -> u64 {
        self.items.count()
    }

    fn add(&mut self, source: usize, offset: u64, length: u64, reason: Refused) -> Result<()> {
        let file = self.inputs[source].named.display();
        tracing::warn!(%file, offset, reason = reason.code(), "a record went to quarantine");
        let length = if reason == Refused::TooLarge { length.min(START_OF_TOO_LARGE) } else { length };
        let bytes = self.reader.read_at(source, offset, length)?;
        self.items.push(Item {
            item: String::new(),
            kind: Kind::Record,
            call_id: None,
            file: Some(file.to_string()),
            offset: Some(offset),
            reason: reason.code().to_owned(),
            at: self.now,
            content: Content::new(whole_letters(&bytes)),
        })
    }

    fn finish(self) -> Result<u64> {
        self.items.finish()
    }
}

/// Without the beginning of a letter at the end, where bytes were cut.
fn whole_letters(bytes: &[u8]) -> &[u8] {
    match std::str::from_utf8(bytes) {
        Err(e) if e.error_len().is_none() => &bytes[..e.valid_up_to()],
        _ => bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::PRIVATE;
    use crate::schema::Catalogue;
    use crate::simulator::generator::{self, Shape};
    use std::io::Write;

    fn record(index: u64) -> String {
        generator::record(7, index, DateTime::UNIX_EPOCH, Shape { max_sessions: 3, misfits: true }).json
    }

    /// All files below a directory with their digests.
    fn tree(root: &Path) -> BTreeMap<PathBuf, Option<(u64, String)>> {
        let mut found = BTreeMap::new();
        let mut folders = vec![root.to_owned()];
        while let Some(folder) = folders.pop() {
            for path in files::list(&folder).unwrap() {
                if path.is_dir() {
                    folders.push(path);
                } else {
                    found.insert(path.strip_prefix(root).unwrap().to_owned(), files::digest(&path).unwrap());
                }
            }
        }
        found
    }

    fn converted(
        inputs: &[PathBuf],
        home: &Path,
        plan: &Plan<'_>,
    ) -> (BTreeMap<PathBuf, Option<(u64, String)>>, Converted) {
        let tables = Tables::new(Catalogue::embedded()).unwrap();
        let staged = home.join("tables");
        files::create_directory(&staged, PRIVATE).unwrap();
        let converted = write(inputs, &staged, &home.join("unpacked"), &tables, PRIVATE, plan).unwrap();
        (tree(&staged), converted)
    }

    #[test]
    fn small_pieces_and_runs_on_the_disk_change_no_byte() {
        let home = tempfile::tempdir().unwrap();
        let mut lines: Vec<String> = (0..60).map(record).collect();
        lines.extend((0..60).step_by(7).map(record));
        lines[12] = "no json".into();
        // Its head is whole: it is refused when it is flattened.
        lines[40] = format!("{},,", &lines[40][..lines[40].len() - 1]);
        lines.push(lines[3].replacen("\"version\":", "\"version\":9", 1));
        let write = |name: &str, bytes: &[u8]| {
            let path = home.path().join(name);
            files::write_atomically(&path, bytes, PRIVATE).unwrap();
            path
        };
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(lines[..30].join("\r\n").as_bytes()).unwrap();
        let inputs = [
            write("a.jsonl", format!("\u{feff}{}\n\n", lines[20..].join("\n")).as_bytes()),
            write("b.ndjson.gz", &gzip.finish().unwrap()),
            write("c.json", format!("[{}] {{\"value\":[{}]}} rest", lines[5], lines[6]).as_bytes()),
        ];
        let now = DateTime::UNIX_EPOCH;
        let plan = |name: &str, lines, held_bytes, threads| Plan {
            lines,
            scratch: Scratch::with_bounds(home.path().join(name).join("index"), held_bytes, 3),
            threads,
            now,
            go_on: &|| Ok(()),
        };
        let whole = plan("whole", Lines::default(), 1 << 30, 1);
        let (expected, counts) = converted(&inputs, &home.path().join("whole"), &whole);
        assert!(!home.path().join("whole/index").exists());
        assert_eq!((counts.records, counts.quarantined), (50 + 30 + 3, 3), "{counts:?}");
        let quarantine = files::read_if_there(&home.path().join("whole/tables/_callrec/quarantine/000001.jsonl"));
        let quarantine = String::from_utf8(quarantine.unwrap().unwrap()).unwrap();
        assert_eq!(quarantine.lines().count(), 3);
        assert!(quarantine.lines().all(|line| line.contains("not-json")), "{quarantine}");
        assert!(quarantine.starts_with("{\"item\":\"000001-1\"") && quarantine.contains("\"item\":\"000001-3\""));
        for (name, threads, piece) in [("one", 1, 700), ("three", 3, 20_000)] {
            let plan = plan(name, Lines::with_bounds(piece, 60, 5000, 1 << 20), 500, threads);
            let (found, counts_of) = converted(&inputs, &home.path().join(name), &plan);
            assert_eq!(found, expected, "{name}");
            assert_eq!(counts_of.exported, counts.exported);
            let runs = home.path().join(name).join("index");
            assert_eq!((runs.is_dir(), files::list(&runs).unwrap().len()), (true, 0), "runs were made and removed");
        }
    }

    #[test]
    fn of_a_record_that_is_too_large_the_quarantine_has_the_start_and_the_place() {
        let home = tempfile::tempdir().unwrap();
        let long = format!("{{\"xy\":\"{}\"}}", "ü".repeat(20_000));
        let input = home.path().join("in.ndjson");
        files::write_atomically(&input, format!("{}\n{long}\n{}", record(1), record(2)).as_bytes(), PRIVATE).unwrap();
        let plan = Plan {
            lines: Lines::with_bounds(4000, 60, 100, 30_000),
            scratch: Scratch::new(home.path().join("index")),
            threads: 2,
            now: DateTime::UNIX_EPOCH,
            go_on: &|| Ok(()),
        };
        let (_, counts) = converted(std::slice::from_ref(&input), home.path(), &plan);
        assert_eq!((counts.records, counts.exported, counts.quarantined), (3, 2, 1));
        let (_, items) = quarantine::read(&home.path().join("tables/_callrec/quarantine")).unwrap().remove(0);
        assert_eq!((items[0].reason.as_str(), items[0].offset), ("too-large", Some(record(1).len() as u64 + 1)));
        let Content::Text(text) = &items[0].content else { panic!("no text") };
        assert!(long.starts_with(text.as_str()) && text.len() == (16 << 10) - 1, "{}", text.len());
    }
}
