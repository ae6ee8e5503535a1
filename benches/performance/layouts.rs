//! What other ways to write the same rows would give those who ask.

use crate::Settings;
use crate::corpus;
use crate::engine::{self, Format, Modes, PartWriter};
use crate::peers::{self, Peers};
use crate::process;
use crate::queries::{self, Layout, Queries, TABLES};
use arrow::array::RecordBatch;
use arrow::compute::{SortColumn, concat_batches, lexsort_to_indices, take_record_batch};
use arrow::datatypes::Schema;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::EnabledStatistics;
use parquet::schema::types::ColumnPath;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What is done otherwise than the program does it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    Nothing,
    /// Bytes of a row group, or no bound.
    RowGroups(Option<usize>),
    ByIdentity,
    ByMonth,
    NoBloom,
    BloomEverywhere,
    NoPageIndex,
    Dictionaries,
    BareFooter,
}

const CHANGES: [(&str, Change); 10] = [
    ("row groups of 2 MiB", Change::RowGroups(Some(2 << 20))),
    ("row groups of 64 MiB", Change::RowGroups(Some(64 << 20))),
    ("one row group a file", Change::RowGroups(None)),
    ("rows by identity", Change::ByIdentity),
    ("a file a month", Change::ByMonth),
    ("no bloom filters", Change::NoBloom),
    ("bloom filters in all tables", Change::BloomEverywhere),
    ("no page index", Change::NoPageIndex),
    ("dictionaries of all columns", Change::Dictionaries),
    ("footers without descriptions", Change::BareFooter),
];
/// The identity that the rows of a table are about; `media` has none.
const IDENTITIES: [(&str, &str); 4] = [
    ("calls", "organizer_id"),
    ("participants", "identity_id"),
    ("sessions", "caller_identity_id"),
    ("streams", "sender_identity_id"),
];
const KEYS: [&str; 6] =
    ["call_start_date_time", "call_id", "session_index", "segment_index", "media_index", "stream_index"];
const OURS: &str = "as callrec writes";

pub struct Layouts {
    /// With the records of each.
    dates: (Queries, u64),
    one_date: (Queries, u64),
}

/// The questions to the program's files and to the same rows written otherwise: on all dates, and on one.
pub fn measure(peers: &Peers, kept: &Path, settings: &Settings, work: &Path, repeats: usize) -> Layouts {
    let ours = peers::kept(kept, peers.taken[0].name);
    let of_dates = |change| !matches!(change, Change::RowGroups(_));
    let dates = asked(&ours, &work.join("layouts"), repeats, of_dates);
    let input = work.join("one_date.ndjson");
    let records = settings.records * if settings.large { 5 } else { 1 };
    eprintln!("generating {records} records on one date");
    let one = corpus::on_dates(&input, records, 1);
    let ours = work.join("one_date");
    process::flatten(&one.path, &ours, 2);
    std::fs::remove_file(input).unwrap();
    let one_date = asked(&ours, &work.join("layouts"), repeats, |change| change != Change::ByMonth);
    std::fs::remove_dir_all(ours).unwrap();
    Layouts { dates: (dates, settings.records), one_date: (one_date, records) }
}

fn asked(ours: &Path, work: &Path, repeats: usize, wanted: impl Fn(Change) -> bool) -> Queries {
    let copy = work.join("copy");
    rewrite(Change::Nothing, ours, &copy);
    assert_same_files(ours, &copy);
    let mut layouts = vec![Layout { name: OURS.to_owned(), kind: "all", path: ours.to_owned() }];
    for (name, change) in CHANGES.into_iter().filter(|(_, change)| wanted(*change)) {
        let path = work.join(name.replace(' ', "_"));
        rewrite(change, ours, &path);
        let kind = if change == Change::ByMonth { "month" } else { "all" };
        layouts.push(Layout { name: name.to_owned(), kind, path });
    }
    let asked = queries::ask(layouts, repeats, false);
    std::fs::remove_dir_all(work).unwrap();
    asked
}

/// What the changes are made to must be what the program does.
fn assert_same_files(ours: &Path, copy: &Path) {
    for (from, _) in TABLES.iter().flat_map(|table| parts(&ours.join(table))) {
        let to = copy.join(from.strip_prefix(ours).unwrap());
        let same = std::fs::read(&from).unwrap() == std::fs::read(&to).unwrap();
        assert!(same, "{} is not what the bench writes: its settings are not those of the program", from.display());
    }
}

/// The files of a table, by the name of their folder.
fn parts(table: &Path) -> Vec<(PathBuf, String)> {
    let mut found: Vec<(PathBuf, String)> = std::fs::read_dir(table)
        .unwrap()
        .map(|folder| folder.unwrap())
        .flat_map(|folder| {
            let name = folder.file_name().into_string().unwrap();
            std::fs::read_dir(folder.path()).unwrap().map(move |file| (file.unwrap().path(), name.clone()))
        })
        .collect();
    found.sort();
    found
}

fn rewrite(change: Change, from: &Path, to: &Path) {
    for table in TABLES {
        let format = engine::format(table);
        let mut files: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
        for (path, folder) in parts(&from.join(table)) {
            let folder = match change {
                // `call_date=2026-11-07`.
                Change::ByMonth => format!("{}-01", &folder[.."call_date=2026-11".len()]),
                _ => folder,
            };
            files.entry(folder).or_default().push(path);
        }
        for (folder, paths) in files {
            let folder = to.join(table).join(folder);
            std::fs::create_dir_all(&folder).unwrap();
            write(change, table, &format, &paths, &folder.join(paths[0].file_name().unwrap()));
        }
    }
}

fn write(change: Change, table: &str, format: &Format, from: &[PathBuf], to: &Path) {
    let identity = IDENTITIES.iter().find(|(of, _)| *of == table).map(|(_, column)| *column);
    let identity = identity.filter(|_| change == Change::ByIdentity);
    let format = changed(change, format, identity.is_some());
    let schema = &format.schema;
    let batches = from.iter().flat_map(|path| engine::read(path));
    let mut batches: Vec<_> =
        batches.map(|batch| RecordBatch::try_new(schema.clone(), batch.columns().to_vec()).unwrap()).collect();
    if let Some(identity) = identity {
        let whole = concat_batches(schema, &batches).unwrap();
        let columns = [identity].into_iter().chain(KEYS).filter_map(|name| whole.column_by_name(name));
        let columns: Vec<_> = columns.map(|values| SortColumn { values: values.clone(), options: None }).collect();
        batches = vec![take_record_batch(&whole, &lexsort_to_indices(&columns, None).unwrap()).unwrap()];
    }
    if change == Change::Dictionaries {
        let file = std::fs::File::create(to).unwrap();
        let mut writer = ArrowWriter::try_new(file, schema.clone(), Some(format.properties)).unwrap();
        batches.iter().for_each(|batch| writer.write(batch).unwrap());
        writer.close().unwrap();
    } else {
        let mut writer = PartWriter::create(to, &Arc::new(format), Modes::shared(0o640)).unwrap();
        batches.into_iter().for_each(|batch| writer.write(batch).unwrap());
        writer.finish().unwrap();
    }
}

fn changed(change: Change, format: &Format, is_sorted_otherwise: bool) -> Format {
    let (mut schema, mut builder) = (format.schema.clone(), format.properties.clone().into_builder());
    let call_id = ColumnPath::from("call_id");
    builder = match change {
        Change::RowGroups(bytes) => {
            builder.set_max_row_group_bytes(bytes).set_max_row_group_row_count(bytes.map(|_| 1 << 20))
        }
        Change::NoBloom => builder.set_column_bloom_filter_enabled(call_id, false),
        Change::BloomEverywhere => builder
            .set_column_bloom_filter_enabled(call_id.clone(), true)
            .set_column_bloom_filter_fpp(call_id.clone(), 1e-6)
            .set_column_bloom_filter_max_ndv(call_id, 1 << 17),
        Change::NoPageIndex => builder.set_statistics_enabled(EnabledStatistics::Chunk).set_offset_index_disabled(true),
        // The bytes of a group are encoded ones where the Parquet library ends it.
        Change::Dictionaries => builder.set_max_row_group_bytes(Some(8 << 20)),
        Change::BareFooter => {
            let fields = schema.fields().iter().map(|field| field.as_ref().clone().with_metadata(Default::default()));
            schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
            builder
        }
        _ => builder,
    };
    if is_sorted_otherwise {
        builder = builder.set_sorting_columns(None);
    }
    Format::of(schema, builder.build()).unwrap()
}

impl Layouts {
    pub fn report(&self, out: &mut String) {
        writeln!(out, "{}", ABOUT.replace("REPEATS", &self.dates.0.repeats().to_string())).unwrap();
        for (of, (queries, records)) in [("25 dates", &self.dates), ("one date", &self.one_date)] {
            writeln!(out, "{records} records on {of}:\n").unwrap();
            queries.tables(out);
            writeln!(out, "{}\n", less(queries)).unwrap();
        }
    }
}

/// What is clearly below the files as they are.
fn less(queries: &Queries) -> String {
    const CLEARLY: f64 = 0.95;
    let list = |holds: &dyn Fn(usize, u64) -> bool| {
        let names: Vec<&str> = queries
            .layouts()
            .filter(|(at, _, bytes)| *at > 0 && holds(*at, *bytes))
            .map(|(_, layout, _)| layout.name.as_str())
            .collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    };
    let ours = queries.layouts().next().unwrap().2;
    format!(
        "More than 5 % below the files as callrec writes them, in bytes: {}; in CPU time of all questions, in DuckDB:\n\
         {}; in Polars: {}.",
        list(&|_, bytes| (bytes as f64) < ours as f64 * CLEARLY),
        list(&|at, _| queries.over(0, at).median < CLEARLY),
        list(&|at, _| queries.over(1, at).median < CLEARLY),
    )
}

const ABOUT: &str = "\
## The same rows written otherwise

The same questions to the same rows, with one thing changed in how they are written: callrec writes row groups of 12 MiB
in memory or 131,072 rows, rows by the start of the call and its id, a file a date, bloom filters of `call_id` in `calls`,
a page index, dictionaries where values repeat, and the description of each column in the footer. The bench first writes the files as
callrec does and ends if one byte differs. Rows by identity: `calls` by organizer, `participants` by identity,
`sessions` by caller, `streams` by sender. A file a month: the questions get the day from `call_start_date_time`.
REPEATS repeats as above. A choice of callrec's is a poor one if another is named below the tables for both, the files of
few and of many rows. A file a month says what it costs that a date has few rows here: with a file a month, every run
would write the whole month again.
";
