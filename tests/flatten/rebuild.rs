//! Builds records again from their rows, by the catalogue alone.
//!
//! Value columns go to their first path, identity columns to the place that
//! `_source` and `_kind` name;
//! then `extra_json` is merged over the row's object: null deletes a member, and
//! stands in a list for an element of which nothing is left over. Parents come
//! before children, so that rows find their place.

use crate::cells::{Cell, Row, rows};
use crate::json::Json;
use crate::leaves::{self, Leaf, steps};
use callrec::schema::{Catalogue, Column, Identity, IdentitySource, Rows, Source, Table, Type};
use std::collections::HashMap;

/// The fields of an identity, as its columns end.
pub(crate) const FIELDS: [&str; 10] = [
    "id",
    "display_name",
    "tenant_id",
    "user_principal_name",
    "email",
    "ip_address",
    "application_type",
    "hidden",
    "azure_communication_services_resource_id",
    "odata_type",
];

/// Rows of one record, by table.
pub(crate) type RecordRows = Vec<Vec<Row>>;

/// The record, read with `participants` rows without a source as `unnamed`.
pub(crate) fn record(tables: &RecordRows, unnamed: usize) -> Json {
    let mut root = Json::Null;
    for (table, rows) in std::iter::zip(&Catalogue::embedded().tables, tables) {
        for row in rows {
            let from = rows_path(table, row, rows, unnamed);
            let mut object = Json::Object(Vec::new());
            let extra = row.get("extra_json").map_or(Json::Null, |cell| Json::parse(cell.text().unwrap()));
            fill(table, row, &mut object);
            merge(&mut object, extra);
            let place = place(table, &table.rows[from], row);
            if table.rows[from].path.ends_with("{}") {
                object = object.get("value").cloned().unwrap_or(Json::Null);
            }
            merge(at(&mut root, &place), object);
        }
    }
    root
}

/// Which of the table's rows paths a row is of: by the constants, or by what
/// the identities of the record's rows say.
fn rows_path(table: &Table, row: &Row, all: &[Row], unnamed: usize) -> usize {
    let constants =
        |rows: &Rows| rows.constants.iter().all(|(name, value)| row.get(name).and_then(Cell::text) == Some(value));
    if table.rows.len() == 1 || !table.rows[0].constants.is_empty() {
        return table.rows.iter().position(constants).expect("a rows path with these constants");
    }
    let identity = &table.identities[0];
    let named = |row: &Row| {
        let name = row.get(&format!("{}_source", identity.prefix))?.text()?;
        identity.sources.iter().find(|source| source.name == name)?.rows
    };
    all.iter().find_map(named).unwrap_or(unnamed)
}

/// The steps from the root, the row's positions among them as `#n`.
fn place(table: &Table, rows: &Rows, row: &Row) -> Vec<String> {
    let mut positions = table.columns.iter().filter(|column| is_position(column)).map(|column| row.get(&column.name));
    let filled = steps(&rows.path).into_iter().map(|step| match step.as_str() {
        "[]" => format!("#{}", positions.next().flatten().and_then(Cell::integer).expect("a position")),
        "{}" => row["token"].text().unwrap().to_owned(),
        _ => step,
    });
    filled.collect()
}

pub(crate) fn is_position(column: &Column) -> bool {
    match &column.source {
        Source::Position => true,
        Source::Inherited { column, .. } => column.ends_with("_index"),
        _ => false,
    }
}

fn fill(table: &Table, row: &Row, object: &mut Json) {
    for column in &table.columns {
        let (Source::Value(paths), Some(cell)) = (&column.source, row.get(&column.name)) else { continue };
        if is_of_identity(table, &column.name) || paths[0] == "key" {
            continue;
        }
        put(object, &steps(&paths[0]), cell, column.data_type);
    }
    for identity in &table.identities {
        put_identity(table, identity, row, object);
    }
}

pub(crate) fn is_of_identity(table: &Table, column: &str) -> bool {
    let suffix = |identity: &Identity| column.strip_prefix(&identity.prefix)?.strip_prefix('_').map(str::to_owned);
    table.identities.iter().filter_map(suffix).any(|suffix| FIELDS.contains(&suffix.as_str()))
}

fn put_identity(table: &Table, identity: &Identity, row: &Row, object: &mut Json) {
    let said = |what: &str| row.get(&format!("{}_{what}", identity.prefix)).and_then(Cell::text);
    let Some(source) = said("source") else { return };
    let source = identity.sources.iter().find(|known| known.name == source).expect("a source of the catalogue");
    let home = match source {
        IdentitySource { object: Some(path), .. } => steps(path),
        IdentitySource { set: Some(path), .. } => {
            let Some(kind) = said("kind") else { return };
            steps(path).into_iter().chain([kind.to_owned()]).collect()
        }
        _ => panic!("a source has an object or a set"),
    };
    for field in FIELDS {
        let name = format!("{}_{field}", identity.prefix);
        let Some(cell) = row.get(&name) else { continue };
        let column = &table.columns[table.column(&name).unwrap()];
        let Source::Value(paths) = &column.source else { panic!("{name} has paths") };
        let member = steps(&paths[0]).pop().expect("a member");
        let path: Vec<_> = home.iter().cloned().chain([member]).collect();
        put(object, &path, cell, column.data_type);
    }
}

fn put(object: &mut Json, path: &[String], cell: &Cell, data_type: Type) {
    let leaf = match cell {
        Cell::List(texts) => {
            let split = path.iter().position(|step| step == "[]").unwrap_or(path.len());
            for (position, text) in texts.iter().enumerate() {
                let element =
                    [&path[..split], &[format!("#{position}")], path.get(split + 1..).unwrap_or(&[])].concat();
                *at(object, &element) = text.clone().map_or(Json::Null, Json::Text);
            }
            return;
        }
        Cell::Text(text) => Leaf::Text(text.clone()),
        Cell::Bool(value) => Leaf::Bool(*value),
        Cell::Integer(value) => leaves::number(&value.to_string()),
        Cell::Float(bits) if data_type == Type::DurationMs => Leaf::Milliseconds(*bits),
        Cell::Float(bits) => Leaf::Float(*bits),
        Cell::Instant(micros) => Leaf::Instant(*micros),
    };
    *at(object, path) = match leaf {
        // Texts that say nothing are told by the comparison.
        Leaf::Text(text) => Json::Text(text),
        leaf => Json::Cell(leaf),
    };
}

fn at<'a>(json: &'a mut Json, path: &[String]) -> &'a mut Json {
    let Some((first, rest)) = path.split_first() else { return json };
    if let Some(position) = first.strip_prefix('#') {
        let position: usize = position.parse().unwrap();
        if !matches!(json, Json::List(_)) {
            *json = Json::List(Vec::new());
        }
        let Json::List(elements) = json else { unreachable!() };
        if elements.len() <= position {
            elements.resize(position + 1, Json::Null);
        }
        return at(&mut elements[position], rest);
    }
    if !json.is_object() {
        *json = Json::Object(Vec::new());
    }
    let Json::Object(members) = json else { unreachable!() };
    let place = members.iter().position(|(name, _)| name == first).unwrap_or_else(|| {
        members.push((first.clone(), Json::Null));
        members.len() - 1
    });
    at(&mut members[place].1, rest)
}

fn merge(into: &mut Json, extra: Json) {
    match (into, extra) {
        (Json::Object(members), Json::Object(extra)) => {
            for (name, value) in extra {
                let known = members.iter().position(|(known, _)| *known == name);
                match (known, value) {
                    (Some(at), Json::Null) => drop(members.remove(at)),
                    (Some(at), value) => merge(&mut members[at].1, value),
                    (None, value) => members.push((name, value)),
                }
            }
        }
        (Json::List(elements), Json::List(extra)) => {
            for (position, value) in extra.into_iter().enumerate() {
                if elements.len() <= position {
                    elements.push(Json::Null);
                }
                merge(&mut elements[position], value);
            }
        }
        (_, Json::Null) => {}
        (into, extra) => *into = extra,
    }
}

/// Rows of many records, by record.
pub(crate) fn by_call(tables: Vec<Vec<Row>>) -> HashMap<String, RecordRows> {
    let count = tables.len();
    let mut calls: HashMap<String, RecordRows> = HashMap::new();
    for (table, rows) in tables.into_iter().enumerate() {
        for row in rows {
            let id = row["call_id"].text().unwrap().to_owned();
            calls.entry(id).or_insert_with(|| vec![Vec::new(); count])[table].push(row);
        }
    }
    calls
}

/// The rows of each text, in order, however ids repeat.
pub(crate) fn flattened(texts: &[String]) -> Vec<RecordRows> {
    let mut flattener = crate::flattener(callrec::flatten::Mode::default());
    for text in texts {
        flattener.push(text.as_bytes()).unwrap_or_else(|refused| panic!("{refused}: {text}"));
    }
    let mut calls = by_call(rows(&flattener.flush().expect("batches")));
    let id = |text: &String| Json::parse(text).get("id").and_then(Json::text).unwrap().to_ascii_lowercase();
    texts.iter().map(|text| calls.remove(&id(text)).unwrap_or_else(|| panic!("no rows of {text}"))).collect()
}

pub(crate) fn assert_rebuilt(text: &str, tables: &RecordRows) {
    let served = leaves::leaves(&Json::parse(text), &[]);
    let difference = |unnamed| leaves::difference(&served, &leaves::leaves(&record(tables, unnamed), &[]));
    // Where no row of a record has an identity, nothing says which list of participants it had.
    if let (Some(first), Some(_)) = (difference(0), difference(1)) {
        panic!("the record is not built again:\n{first}\nrecord: {text}\nrows: {tables:#?}");
    }
}

fn assert_random_records_are_rebuilt(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let mut records = crate::random::Records::new(seed);
        let texts: Vec<_> = (0..100).map(|_| records.next_record()).collect();
        for (number, (text, tables)) in std::iter::zip(&texts, flattened(&texts)).enumerate() {
            let built = std::panic::catch_unwind(|| assert_rebuilt(text, &tables));
            assert!(built.is_ok(), "seed {seed}, record {number}");
        }
    }
}

// Two halves, so that they run beside each other.
#[test]
fn random_records_are_built_again() {
    assert_random_records_are_rebuilt(0..50);
}

#[test]
fn more_random_records_are_built_again() {
    assert_random_records_are_rebuilt(50..100);
}
