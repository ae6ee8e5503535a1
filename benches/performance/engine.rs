//! The parts of the program that the bench calls: all of them here.

use arrow::array::RecordBatch;
use callrec::dataset::convert;
use callrec::dataset::order::{self, Entry};
use callrec::dataset::parquet;
use callrec::dataset::tables::Tables;
use callrec::flatten;
use callrec::schema::{Catalogue, Source};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;

pub use callrec::dataset::format::Format;
/// The level of the program's own files, which the neighbours are given too.
pub use callrec::dataset::format::ZSTD_LEVEL;
pub use callrec::dataset::parquet::PartWriter;
pub use callrec::files::Modes;

/// Columns that the core cannot do without, though the neighbours have none of them.
const NEEDED: [&str; 3] = ["identity_kind", "identity_source", "endpoint_kind"];

/// The tables with the columns that the neighbours write: values and keys.
pub fn columns_of_the_peers() -> &'static Catalogue {
    let mut catalogue = Catalogue::embedded().clone();
    for table in &mut catalogue.tables {
        table.columns.retain(|column| match &column.source {
            Source::Derived(derive) => {
                NEEDED.contains(&derive.function.as_str()) || column.name == "call_start_date_time"
            }
            _ => true,
        });
    }
    Box::leak(Box::new(catalogue))
}

/// `flatten` with the columns of the neighbours: what the child process of the bench does.
pub fn convert(input: &Path, output: &Path, threads: usize) {
    let tables = Tables::new(columns_of_the_peers()).unwrap();
    let now = chrono::DateTime::UNIX_EPOCH;
    convert::convert(&[input.to_owned()], output, &tables, Modes::shared(0o640), threads, now, &|| Ok(())).unwrap();
}

/// Flattens the records of a file date by date and writes the batches of each date, when all of
/// them are in memory, to files in `output`. `timed` is given the writing alone.
pub fn encode(input: &Path, output: &Path, mut timed: impl FnMut(&mut dyn FnMut())) {
    let tables = Tables::new(Catalogue::embedded()).unwrap();
    let sources = [input.to_owned()];
    let mut entries = index(input);
    order::sort(&mut entries);
    std::fs::create_dir(output).unwrap();
    let (mut date, mut waiting) = (None, Vec::new());
    let mut write = |batches: &mut Vec<Vec<RecordBatch>>| {
        timed(&mut || {
            for (number, (table, format)) in tables.catalogue.tables.iter().zip(&tables.formats).enumerate() {
                // As the program does, which writes no file without rows.
                if batches.iter().all(|of_all| of_all[number].num_rows() == 0) {
                    continue;
                }
                let path = output.join(&table.name);
                let mut writer = PartWriter::create(&path, format, Modes::shared(0o640)).unwrap();
                batches.iter().for_each(|of_all: &Vec<RecordBatch>| writer.write(of_all[number].clone()).unwrap());
                writer.finish().unwrap();
            }
            batches.clear();
        });
        std::fs::remove_dir_all(output).unwrap();
        std::fs::create_dir(output).unwrap();
    };
    let entries = entries.into_iter().map(Ok);
    order::flatten(entries, &sources, &tables.plan, &order::pool(2).unwrap(), Entry::date, |flattened| {
        let of = flattened.entries[0].date();
        if date.replace(of).is_some_and(|before| before != of) {
            write(&mut waiting);
        }
        waiting.push(flattened.batches);
        Ok(())
    })
    .unwrap();
    write(&mut waiting);
}

/// How the program writes a table.
pub fn format(table: &str) -> Arc<Format> {
    let tables = Tables::new(Catalogue::embedded()).unwrap();
    let at = tables.catalogue.tables.iter().position(|other| other.name == table).unwrap();
    tables.formats[at].clone()
}

/// The rows of a file of the program, in slices.
pub fn read(path: &Path) -> impl Iterator<Item = RecordBatch> {
    parquet::read(path).unwrap().map(Result::unwrap)
}

fn index(input: &Path) -> Vec<Entry> {
    let mut reader = BufReader::with_capacity(1 << 20, std::fs::File::open(input).unwrap());
    let (mut entries, mut line, mut offset) = (Vec::new(), Vec::new(), 0);
    while reader.read_until(b'\n', &mut line).unwrap() > 0 {
        let length = line.len() as u64;
        let head = flatten::head(&line).unwrap();
        entries.push(Entry { head, source: 0, offset, length: length - 1 });
        offset += length;
        line.clear();
    }
    entries
}
