//! Rows as plain maps, from record batches.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use callrec::schema::{Catalogue, Type};
use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell {
    Text(String),
    Bool(bool),
    Integer(i64),
    /// Bits, so that minus zero is not zero.
    Float(u64),
    /// Microseconds since the epoch.
    Instant(i64),
    List(Vec<Option<String>>),
}

impl Cell {
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) const fn integer(&self) -> Option<i64> {
        match self {
            Self::Integer(value) => Some(*value),
            _ => None,
        }
    }

    pub(crate) const fn float(&self) -> Option<f64> {
        match self {
            Self::Float(bits) => Some(f64::from_bits(*bits)),
            _ => None,
        }
    }
}

/// Cells by column; nulls are not there.
pub(crate) type Row = BTreeMap<String, Cell>;

/// The rows of each record table, in the order of the catalogue.
pub(crate) fn rows(batches: &[RecordBatch]) -> Vec<Vec<Row>> {
    let catalogue = Catalogue::embedded();
    assert_eq!(batches.len(), catalogue.tables.len());
    let mut tables = Vec::new();
    for (table, batch) in std::iter::zip(&catalogue.tables, batches) {
        assert_eq!(batch.schema(), table.arrow_schema());
        let mut rows = vec![Row::new(); batch.num_rows()];
        for (column, array) in std::iter::zip(&table.columns, batch.columns()) {
            for (at, row) in rows.iter_mut().enumerate().filter(|(at, _)| array.is_valid(*at)) {
                row.insert(column.name.clone(), cell(column.data_type, array, at));
            }
        }
        tables.push(rows);
    }
    tables
}

fn cell(data_type: Type, array: &dyn Array, at: usize) -> Cell {
    match data_type {
        Type::String => Cell::Text(array.as_string::<i32>().value(at).to_owned()),
        Type::Boolean => Cell::Bool(array.as_boolean().value(at)),
        Type::Int32 => Cell::Integer(array.as_primitive::<Int32Type>().value(at).into()),
        Type::Int64 => Cell::Integer(array.as_primitive::<Int64Type>().value(at)),
        Type::Float64 | Type::DurationMs => Cell::Float(array.as_primitive::<Float64Type>().value(at).to_bits()),
        Type::Timestamp => Cell::Instant(array.as_primitive::<TimestampMicrosecondType>().value(at)),
        Type::StringList => {
            let list = array.as_list::<i32>().value(at);
            let texts = list.as_string::<i32>();
            Cell::List(texts.iter().map(|text| text.map(str::to_owned)).collect())
        }
        Type::Decimal | Type::Int64List => unreachable!("no record table holds such yet"),
    }
}
