//! Any texts as schema files: refused, or a catalogue whose plan, Arrow schemas,
//! documentation and SQL can be made and which flattens a record.

use callrec::flatten::{Flattener, Plan};
use callrec::schema::{Catalogue, Files, Table, documentation, sql};
use std::sync::Arc;

const RECORD: &[u8] = include_bytes!("../../../sample_data/records/08-feedback-tokens.json");

/// The first byte says which of the files the rest stands for.
pub fn check(data: &[u8]) {
    let Some((&which, text)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let mut files = Files::embedded();
    let tables = files.tables.len();
    match usize::from(which) % (tables + files.shapes.len() + 4) {
        n if n < tables => files.tables[n].1 = text,
        n if n < tables + files.shapes.len() => files.shapes[n - tables].1 = text,
        n if n == tables + files.shapes.len() => files.ledger = text,
        n if n == tables + files.shapes.len() + 1 => files.enums = text,
        n if n == tables + files.shapes.len() + 2 => files.runs = text,
        _ => files.identity = text,
    }
    let Ok(catalogue) = Catalogue::from_files(&files) else { return };
    let schemas: Vec<_> = catalogue.tables.iter().chain([&catalogue.ledger]).map(Table::arrow_schema).collect();
    assert_eq!(schemas.len(), tables + 1);
    assert!(!documentation::text(&catalogue).is_empty());
    assert!(documentation::markdown(&catalogue).is_ascii() || !catalogue.tables.is_empty());
    let json = documentation::json(&catalogue);
    assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok(), "not JSON: {json}");
    assert!(!sql::views(&catalogue, "out").is_empty());
    let Ok(plan) = Plan::compile(&catalogue) else { return };
    let mut flattener = Flattener::new(Arc::new(plan));
    if flattener.push(RECORD).is_ok() {
        let batches = flattener.flush().expect("one record");
        for (batch, schema) in batches.iter().zip(schemas) {
            assert_eq!(batch.schema(), schema);
        }
    }
}
