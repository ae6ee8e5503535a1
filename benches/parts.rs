//! The parts of flattening, one by one: `cargo bench --bench parts`.
#![allow(missing_docs, clippy::unwrap_used)]

use callrec::dataset::parquet::PartWriter;
use callrec::dataset::tables::Tables;
use callrec::files::Modes;
use callrec::flatten::{self, Flattener};
use callrec::schema::Catalogue;
use callrec::simulator::generator::{self, Shape};
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};

fn main() {
    divan::main();
}

/// A plain record of the generator with so many sessions at most, the largest of a few hundred.
fn record(most: usize) -> Vec<u8> {
    let now = "2026-11-20T00:00:00Z".parse().unwrap();
    let shape = Shape { max_sessions: most, misfits: false };
    let records = (0..400).map(|index| generator::record(7, index, now, shape).json.into_bytes());
    let mut flattener = Flattener::new(tables().plan);
    let plain = records.filter(|record| {
        flattener.push(record).unwrap();
        flattener.take_drift().counts().is_empty()
    });
    plain.max_by_key(Vec::len).unwrap()
}

fn tables() -> Tables {
    Tables::new(Catalogue::embedded()).unwrap()
}

fn filled(most: usize) -> Flattener {
    let mut flattener = Flattener::new(tables().plan);
    let record = record(most);
    while flattener.buffered_bytes() < 4 << 20 {
        flattener.push(&record).unwrap();
    }
    flattener
}

/// Id, version and start of a record, for the index.
#[divan::bench(args = [1, 100])]
fn head(bencher: Bencher, sessions: usize) {
    let record = record(sessions);
    bencher.bench(|| flatten::head(black_box(&record)).unwrap());
}

/// A record into the buffers.
#[divan::bench(args = [1, 10, 100])]
fn push(bencher: Bencher, sessions: usize) {
    let (record, mut flattener) = (record(sessions), Flattener::new(tables().plan));
    bencher.counter(BytesCount::new(record.len())).bench_local(|| {
        flattener.push(black_box(&record)).unwrap();
        if flattener.buffered_bytes() > 8 << 20 {
            flattener.flush().unwrap();
        }
    });
}

/// The buffers to batches.
#[divan::bench]
fn flush(bencher: Bencher) {
    bencher.with_inputs(|| filled(10)).bench_local_values(|mut flattener| flattener.flush().unwrap());
}

/// The batches to files.
#[divan::bench]
fn encode(bencher: Bencher) {
    let (tables, directory) = (tables(), tempfile::tempdir().unwrap());
    let batches = filled(10).flush().unwrap();
    let rows: usize = batches.iter().map(arrow::array::RecordBatch::num_rows).sum();
    bencher.counter(ItemsCount::new(rows)).with_inputs(|| batches.clone()).bench_local_values(|batches| {
        let files = tempfile::tempdir_in(directory.path()).unwrap().keep();
        for (batch, (table, format)) in batches.into_iter().zip(tables.catalogue.tables.iter().zip(&tables.formats)) {
            // As the program does, which writes no file without rows.
            if batch.num_rows() == 0 {
                continue;
            }
            let path = files.join(&table.name);
            let mut writer = PartWriter::create(&path, format, Modes::shared(0o640)).unwrap();
            writer.write(batch).unwrap();
            writer.finish().unwrap();
        }
    });
}
