//! The Arrow schema of a table, and the names of types and classes.

use super::types::{Column, Identity, IdentitySource, Pii, Source, Table, Type};
use crate::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use std::collections::HashMap;
use std::sync::Arc;

impl Type {
    /// The type of that name in the table files.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    const ALL: [Self; 10] = [
        Self::String,
        Self::Boolean,
        Self::Int32,
        Self::Int64,
        Self::Float64,
        Self::Decimal,
        Self::Timestamp,
        Self::DurationMs,
        Self::StringList,
        Self::Int64List,
    ];

    /// Its name in table files and documentation.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Boolean => "boolean",
            Self::Int32 => "int32",
            Self::Int64 => "int64",
            Self::Float64 => "float64",
            Self::Decimal => "decimal(18,6)",
            Self::Timestamp => "timestamp",
            Self::DurationMs => "duration_ms",
            Self::StringList => "list<string>",
            Self::Int64List => "list<int64>",
        }
    }

    /// Its type in Arrow and, by the usual mapping, in Parquet.
    #[must_use]
    pub fn arrow(self) -> DataType {
        match self {
            Self::String => DataType::Utf8,
            Self::Boolean => DataType::Boolean,
            Self::Int32 => DataType::Int32,
            Self::Int64 => DataType::Int64,
            Self::Float64 | Self::DurationMs => DataType::Float64,
            Self::Decimal => DataType::Decimal128(18, 6),
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::StringList => DataType::List(Arc::new(Field::new("element", DataType::Utf8, true))),
            Self::Int64List => DataType::List(Arc::new(Field::new("element", DataType::Int64, true))),
        }
    }
}

impl Pii {
    /// The class of that name in the table files.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::Name, Self::Id, Self::Address, Self::Text, Self::Link, Self::Unknown]
            .into_iter()
            .find(|c| c.name() == name)
    }

    /// Its name in table files and documentation.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Id => "id",
            Self::Address => "address",
            Self::Text => "text",
            Self::Link => "link",
            Self::Unknown => "unknown",
        }
    }
}

impl Table {
    /// The schema of the table's files: all columns, in order, with
    /// `description`, `unit`, `pii` and `rule` where they are known. The paths in
    /// Graph's records, several times as long, are in the documentation alone.
    #[must_use]
    pub fn arrow_schema(&self) -> SchemaRef {
        let fields: Vec<Field> = self
            .columns
            .iter()
            .map(|column| {
                let field = Field::new(&column.name, column.data_type.arrow(), self.is_nullable(column));
                field.with_metadata(metadata(column))
            })
            .collect();
        Arc::new(Schema::new(fields))
    }

    /// Only the call, its start and the row's own position are always there; of a
    /// row of a log, nothing is.
    fn is_nullable(&self, column: &Column) -> bool {
        if self.log.is_some() {
            return true;
        }
        let always = match column.name.as_str() {
            "call_id" => true,
            "call_start_date_time" => !self.rows.is_empty(),
            _ => column.source == Source::Position,
        };
        !always
    }

    /// Where the values of a column stand, from the root of the record. A path of
    /// an identity belongs to the rows path of its source alone.
    #[must_use]
    pub fn graph_paths(&self, column: &Column) -> Vec<String> {
        let Source::Value(paths) = &column.source else { return Vec::new() };
        let mut all = Vec::new();
        for path in paths {
            for (number, rows) in self.rows.iter().enumerate() {
                if self.identities.iter().any(|identity| identity.is_elsewhere(column, path, number)) {
                    continue;
                }
                let dot = if rows.path.is_empty() || path.is_empty() { "" } else { "." };
                all.push(format!("{}{dot}{path}", rows.path));
            }
        }
        all
    }
}

fn metadata(column: &Column) -> HashMap<String, String> {
    [
        ("description", Some(column.description.clone())),
        ("unit", column.unit.clone()),
        ("pii", column.pii.map(|class| class.name().to_owned())),
        ("rule", column.rule.clone()),
    ]
    .into_iter()
    .filter_map(|(key, value)| Some((key.to_owned(), value?)))
    .collect()
}

impl Identity {
    /// Whether `path` feeds `column` from the rows of another path than `rows`.
    fn is_elsewhere(&self, column: &Column, path: &str, rows: usize) -> bool {
        if !column.name.starts_with(&format!("{}_", self.prefix)) {
            return false;
        }
        let feeds = |source: &&IdentitySource| {
            let below = |root: &Option<String>| {
                root.as_ref().is_some_and(|r| r.is_empty() || path.starts_with(&format!("{r}.")))
            };
            below(&source.object) || below(&source.set) || source.outer_id.as_deref() == Some(path)
        };
        self.sources.iter().find(feeds).is_some_and(|source| source.rows.is_some_and(|of| of != rows))
    }
}
