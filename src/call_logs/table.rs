//! Rows of a log as one Arrow batch. Whatever no column holds goes to `extra_json`.

use super::emergency::Emergency;
use super::head::{is_nothing, members};
use crate::arrow::array::{
    ArrayRef, BooleanArray, Decimal128Array, Int32Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use crate::arrow::datatypes::SchemaRef;
use crate::error::{Error, Result};
use crate::flatten::Drift;
use crate::flatten::values::{YEAR_ONE, decimal, instant, integer};
use crate::schema::{Catalogue, Column, Source, Table, Type};
use std::collections::HashMap;
use std::sync::Arc;

/// The cells of a column.
enum Cells {
    Text(Vec<Option<String>>),
    Boolean(Vec<Option<bool>>),
    Int32(Vec<Option<i32>>),
    Decimal(Vec<Option<i128>>),
    Instant(Vec<Option<i64>>),
}

/// What a value does not do.
struct Misfit;

impl Cells {
    fn new(column: &Column) -> Result<Self> {
        Ok(match column.data_type {
            Type::String => Self::Text(Vec::new()),
            Type::Boolean => Self::Boolean(Vec::new()),
            Type::Int32 => Self::Int32(Vec::new()),
            Type::Decimal => Self::Decimal(Vec::new()),
            Type::Timestamp => Self::Instant(Vec::new()),
            other => {
                return Err(Error::config(format!("{}: logs have no column of type {}", column.name, other.name())));
            }
        })
    }

    fn pad(&mut self, rows: usize) {
        match self {
            Self::Text(cells) => cells.resize(rows, None),
            Self::Boolean(cells) => cells.resize(rows, None),
            Self::Int32(cells) => cells.resize(rows, None),
            Self::Decimal(cells) => cells.resize(rows, None),
            Self::Instant(cells) => cells.resize(rows, None),
        }
    }

    /// Appends a value, which is not null.
    fn push(&mut self, raw: &str) -> Result<(), Misfit> {
        let text = || serde_json::from_str::<String>(raw).map_err(|_| Misfit);
        match self {
            Self::Text(cells) => cells.push(Some(text()?)),
            Self::Boolean(cells) => cells.push(Some(raw.parse().map_err(|_| Misfit)?)),
            Self::Int32(cells) => cells.push(Some(integer(raw).and_then(|n| i32::try_from(n).ok()).ok_or(Misfit)?)),
            Self::Decimal(cells) => {
                // OData may write decimals as text.
                let value = if raw.starts_with('"') { decimal(&text()?) } else { decimal(raw) };
                cells.push(Some(value.ok_or(Misfit)?));
            }
            Self::Instant(cells) => {
                let at = instant(&text()?).ok_or(Misfit)?;
                cells.push(Some(at).filter(|&at| at != YEAR_ONE));
            }
        }
        Ok(())
    }

    fn text(&self, row: usize) -> Option<&str> {
        match self {
            Self::Text(cells) => cells.get(row)?.as_deref(),
            _ => None,
        }
    }

    fn finish(self) -> Result<ArrayRef> {
        Ok(match self {
            Self::Text(cells) => Arc::new(StringArray::from(cells)),
            Self::Boolean(cells) => Arc::new(BooleanArray::from(cells)),
            Self::Int32(cells) => Arc::new(Int32Array::from(cells)),
            Self::Decimal(cells) => {
                let cells = Decimal128Array::from(cells).with_precision_and_scale(18, 6);
                Arc::new(cells.map_err(|e| Error::config("The decimals of a log are no decimals").because(e))?)
            }
            Self::Instant(cells) => Arc::new(TimestampMicrosecondArray::from(cells).with_timezone("UTC")),
        })
    }
}

/// The rows as a batch of the table's `schema`, in their order.
///
/// # Errors
/// When the catalogue contradicts itself, which tests rule out.
pub fn batch<'a>(
    lines: impl IntoIterator<Item = &'a [u8]>,
    table: &Table,
    schema: &SchemaRef,
    emergency: &Emergency,
    drift: &mut Drift,
) -> Result<RecordBatch> {
    let mut cells = table.columns.iter().map(Cells::new).collect::<Result<Vec<_>>>()?;
    let mut places = HashMap::new();
    for (number, column) in table.columns.iter().enumerate() {
        if let Source::Value(paths) = &column.source {
            places.extend(paths.iter().map(|path| (path.as_str(), number)));
        }
    }
    let extra = table.columns.iter().position(|column| column.source == Source::ExtraJson);
    let mut rows = 0;
    for line in lines {
        let mut rest = String::new();
        let mut keep = |name: &str, raw: &str| {
            rest.push(if rest.is_empty() { '{' } else { ',' });
            rest.push_str(name);
            rest.push(':');
            rest.push_str(raw);
        };
        for entry in members(line).unwrap_or_default() {
            let raw = entry.value.get();
            if is_nothing(raw) {
                continue;
            }
            let name = entry.name.as_deref().unwrap_or_default();
            match places.get(name) {
                None => {
                    keep(&entry.quoted(), raw);
                    if !name.contains("@odata.") {
                        drift.unknown_member(format!("{}.{name}", table.name));
                    }
                }
                Some(&at) => {
                    if cells[at].push(raw).is_err() {
                        keep(&entry.quoted(), raw);
                        drift.misfit(format!("{}.{name}", table.name));
                    } else if !is_known(&table.columns[at], cells[at].text(rows)) {
                        drift.unknown_enum_member(&format!("{}.{name}", table.name));
                    }
                }
            }
        }
        rows += 1;
        for column in &mut cells {
            column.pad(rows);
        }
        if let (Some(at), false) = (extra, rest.is_empty())
            && let Cells::Text(column) = &mut cells[at]
        {
            rest.push('}');
            column[rows - 1] = Some(rest);
        }
    }
    derive(&mut cells, table, rows, emergency);
    let columns = cells.into_iter().map(Cells::finish).collect::<Result<Vec<_>>>()?;
    RecordBatch::try_new(schema.clone(), columns)
        .map_err(|e| Error::config(format!("The rows of {} do not fit its schema", table.name)).because(e))
}

fn is_known(column: &Column, text: Option<&str>) -> bool {
    let known = column.enumeration.as_ref().and_then(|name| Catalogue::embedded().enums.get(name));
    known.zip(text).is_none_or(|(known, text)| known.iter().any(|member| member == text))
}

/// Fills the columns that are computed.
fn derive(cells: &mut [Cells], table: &Table, rows: usize, emergency: &Emergency) {
    for (number, column) in table.columns.iter().enumerate() {
        let Source::Derived(derive) = &column.source else { continue };
        let argument = |at: usize| {
            let path = derive.arguments.get(at)?;
            table.columns.iter().position(|c| matches!(&c.source, Source::Value(paths) if paths.contains(path)))
        };
        let (call_type, callee) = (argument(0), argument(1));
        let of = |column: Option<usize>, row: usize| column.and_then(|at| cells[at].text(row));
        let is: Vec<_> = (0..rows).map(|row| emergency.is_call(of(call_type, row), of(callee, row))).collect();
        cells[number] = Cells::Boolean(is);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arrow::array::{Array, AsArray};
    use crate::arrow::datatypes::{Decimal128Type, TimestampMicrosecondType};

    fn made(name: &str, lines: &[&str]) -> (RecordBatch, Drift) {
        let table = Catalogue::embedded().log(name).expect("a log");
        let mut drift = Drift::default();
        let emergency = Emergency::new(&["112".to_owned()]);
        let lines = lines.iter().map(|line| line.as_bytes());
        (batch(lines, table, &table.arrow_schema(), &emergency, &mut drift).unwrap(), drift)
    }

    fn text<'a>(batch: &'a RecordBatch, column: &str, row: usize) -> Option<&'a str> {
        let column = batch.column_by_name(column).unwrap().as_string::<i32>();
        column.is_valid(row).then(|| column.value(row))
    }

    #[test]
    fn what_fits_no_column_is_kept_and_counted() {
        let (batch, drift) = made(
            "pstn_calls",
            &[
                r#"{"id":"a","charge":0.0000001,"connectionCharge":1.25,"duration":"long","new":{"x":[1]},"none":null,"callDurationSource":"operator"}"#,
                r##"{"id":"b","charge":"12.50","connectionCharge":-1e-6,"id":"c","calleeNumber":"112","callDurationSource":"moon","x@odata.type":"#T"}"##,
            ],
        );
        assert_eq!(text(&batch, "extra_json", 0), Some(r#"{"charge":0.0000001,"duration":"long","new":{"x":[1]}}"#));
        assert_eq!(
            (text(&batch, "id", 1), text(&batch, "extra_json", 1)),
            (Some("c"), Some(r##"{"x@odata.type":"#T"}"##))
        );
        let charge = batch.column_by_name("charge").unwrap().as_primitive::<Decimal128Type>();
        assert_eq!((charge.is_null(0), charge.value(1), charge.scale()), (true, 12_500_000, 6));
        let connection = batch.column_by_name("connection_charge").unwrap().as_primitive::<Decimal128Type>();
        assert_eq!((connection.value(0), connection.value(1)), (1_250_000, -1));
        let emergency = batch.column_by_name("is_emergency").unwrap().as_boolean();
        assert_eq!((emergency.is_null(0), emergency.value(1)), (true, true));
        let counts = drift.counts();
        let expected = [("callDurationSource", 1), ("charge", 1), ("duration", 1), ("new", 1)]
            .map(|(n, c)| (format!("pstn_calls.{n}"), c));
        assert_eq!(counts.into_iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn the_year_one_is_null() {
        let (batch, drift) = made(
            "direct_routing_calls",
            &[
                r#"{"id":"a","startDateTime":"2026-11-01T10:00:00Z","failureDateTime":"0001-01-01T00:00:00Z","callType":"ByotOutEmergency","successfulCall":true}"#,
            ],
        );
        let at = |name: &str| batch.column_by_name(name).unwrap().as_primitive::<TimestampMicrosecondType>().clone();
        assert!(at("failure_date_time").is_null(0) && at("start_date_time").is_valid(0) && drift.is_empty());
        assert!(batch.column_by_name("is_emergency").unwrap().as_boolean().value(0));
        assert_eq!(text(&batch, "extra_json", 0), None);
    }

    #[test]
    fn every_column_of_every_log_can_be_made() {
        for table in &Catalogue::embedded().logs {
            let (batch, _) = made(&table.name, &["{}"]);
            assert_eq!((batch.num_rows(), batch.num_columns()), (1, table.columns.len()));
        }
    }
}
