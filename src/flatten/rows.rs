//! The rows read so far and not yet flushed: buffers per table, cut back as one
//! when a record is refused.

use super::columns::Buffered;
use super::plan::{Plan, Target};
use super::values;
use crate::schema::Type;

/// Row number of an ancestor that a row does not have.
pub(crate) const NONE: u32 = u32::MAX;

#[derive(Debug)]
pub(crate) struct TableRows {
    pub(crate) rows: usize,
    pub(crate) columns: Vec<Buffered>,
    /// For each ancestor table, the row of it that each row sits in.
    pub(crate) ancestors: Vec<Vec<u32>>,
    /// Position of each row in its list.
    pub(crate) positions: Vec<u32>,
    /// Which rows path each row came by.
    pub(crate) numbers: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Buffers {
    pub(crate) tables: Vec<TableRows>,
}

/// A leaf as a parser gives it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Scalar<'a> {
    Bool(bool),
    Text(&'a str),
    /// A number that is an integer for certain.
    Integer(i64),
    Float(f64),
    /// The digits of a number.
    Digits(&'a str),
}

/// What became of a leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fit {
    Held,
    /// Held, but not a known member of its enum.
    NewMember,
    /// Null by convention: empty text, the year 1.
    Null,
    Misfit,
}

impl Buffers {
    pub(crate) fn new(plan: &Plan) -> Self {
        let tables = plan.tables.iter().map(|table| TableRows {
            rows: 0,
            columns: std::iter::zip(&table.types, &table.buffered)
                .map(|(&data_type, &is)| if is { Buffered::new(data_type) } else { Buffered::None })
                .collect(),
            ancestors: vec![Vec::new(); table.ancestors.len()],
            positions: Vec::new(),
            numbers: Vec::new(),
        });
        Self { tables: tables.collect() }
    }

    pub(crate) fn mark(&self) -> Vec<usize> {
        self.tables.iter().map(|table| table.rows).collect()
    }

    pub(crate) fn roll_back(&mut self, mark: &[usize]) {
        for (table, &rows) in std::iter::zip(&mut self.tables, mark) {
            table.rows = rows;
            table.columns.iter_mut().for_each(|column| column.truncate(rows));
            table.ancestors.iter_mut().for_each(|numbers| numbers.truncate(rows));
            table.positions.truncate(rows);
            table.numbers.truncate(rows);
        }
    }

    /// Begins a row at `position` of a list; it is the table's current row.
    pub(crate) fn open(&mut self, plan: &Plan, table: usize, number: usize, position: usize) -> usize {
        let description = &plan.tables[table];
        for (at, &ancestor) in description.ancestors.iter().enumerate() {
            let row = if description.above[number][at] {
                u32::try_from(self.tables[ancestor].rows - 1).unwrap_or(NONE)
            } else {
                NONE
            };
            self.tables[table].ancestors[at].push(row);
        }
        let rows = &mut self.tables[table];
        rows.positions.push(u32::try_from(position).unwrap_or(NONE));
        rows.numbers.push(u8::try_from(number).unwrap_or(u8::MAX));
        rows.rows += 1;
        rows.rows - 1
    }

    pub(crate) fn row(&self, table: usize) -> usize {
        self.tables[table].rows - 1
    }

    pub(crate) fn text(&self, table: usize, column: usize) -> Option<&str> {
        self.tables[table].columns[column].text(self.row(table))
    }

    pub(crate) fn is_written(&self, table: usize, column: usize) -> bool {
        self.tables[table].columns[column].is_written(self.row(table))
    }

    pub(crate) fn put_text(&mut self, table: usize, column: usize, text: &str) {
        let row = self.row(table);
        self.tables[table].columns[column].put_text(row, text);
    }

    /// Writes a leaf into the current row of `table`. A cell that is written
    /// already is a misfit: one path feeds it once.
    pub(crate) fn put(&mut self, plan: &Plan, table: usize, target: &Target, leaf: Scalar) -> Fit {
        let row = self.row(table);
        let column = &mut self.tables[table].columns[target.column];
        if matches!(leaf, Scalar::Text("")) {
            return Fit::Null;
        }
        if column.is_written(row) {
            return Fit::Misfit;
        }
        let held = match (target.data_type, leaf) {
            (Type::String, Scalar::Text(text)) => {
                column.put_text(row, text);
                return match target.enumeration {
                    Some(known) if !plan.is_member(known, text) => Fit::NewMember,
                    _ => Fit::Held,
                };
            }
            (Type::Boolean, Scalar::Bool(value)) => {
                column.put_bool(row, value);
                true
            }
            (Type::Int32 | Type::Int64, Scalar::Integer(value)) => column.put_integer(row, value),
            (Type::Int32 | Type::Int64, Scalar::Digits(raw)) => {
                values::integer(raw).is_some_and(|value| column.put_integer(row, value))
            }
            (Type::Float64, Scalar::Float(value)) => {
                let fits = value.is_finite() && value.abs() < values::EXACT;
                if fits {
                    column.put_float(row, value);
                }
                fits
            }
            (Type::Float64, Scalar::Integer(value)) => {
                let fits = value.unsigned_abs() <= 1 << 53;
                if fits {
                    column.put_float(row, value as f64);
                }
                fits
            }
            (Type::Float64, Scalar::Digits(raw)) => {
                let value = values::float(raw);
                value.inspect(|&value| column.put_float(row, value)).is_some()
            }
            (Type::Timestamp, Scalar::Text(text)) => match values::instant(text) {
                Some(values::YEAR_ONE) => return Fit::Null,
                Some(micros) => column.put_integer(row, micros),
                None => false,
            },
            (Type::DurationMs, Scalar::Text(text)) => {
                values::duration_ms(text).inspect(|&ms| column.put_float(row, ms)).is_some()
            }
            _ => false,
        };
        if held { Fit::Held } else { Fit::Misfit }
    }

    pub(crate) fn bytes(&self) -> usize {
        let table = |table: &TableRows| {
            let cells: usize = table.columns.iter().map(Buffered::bytes).sum();
            cells + table.rows * (5 + 4 * table.ancestors.len())
        };
        self.tables.iter().map(table).sum()
    }
}
