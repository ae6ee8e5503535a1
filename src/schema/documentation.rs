//! The data dictionary, as text, Markdown and JSON.

use super::types::{Catalogue, Column, Source, Table, When};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;

/// For people, on a terminal.
#[must_use]
pub fn text(catalogue: &Catalogue) -> String {
    let mut text = String::new();
    for table in tables(catalogue) {
        let _ = writeln!(text, "{}\n  {}\n", table.name, table.description);
        for column in &table.columns {
            let unit = column.unit.as_ref().map(|unit| format!(" [{unit}]")).unwrap_or_default();
            let _ =
                writeln!(text, "  {:<58} {:<13} {}{unit}", column.name, column.data_type.name(), column.description);
        }
        text.push('\n');
    }
    text
}

/// For the project's own documentation.
#[must_use]
pub fn markdown(catalogue: &Catalogue) -> String {
    let mut text = String::from(
        "# Tables\n\nMade by `callrec schema --format md` from the files in `schemas/`; do not edit.\n\n\
         Every table is a directory of Parquet files by date: `call_date`, the UTC date of the call's start \
         (`seen_date` for the ledger; `run_month` for the runs, in the form 2026-11), is the partition key and no column of the files.\n",
    );
    for table in tables(catalogue) {
        let _ = write!(text, "\n## {}\n\n{}\n", table.name, table.description);
        let paths: Vec<_> = table
            .rows
            .iter()
            .map(|rows| if rows.path.is_empty() { "the record".to_owned() } else { format!("`{}`", rows.path) })
            .collect();
        if !paths.is_empty() {
            let _ = writeln!(text, "\nRows come from {}.", paths.join(", "));
        }
        text.push_str("\n| column | type | unit | from | personal data | description |\n|---|---|---|---|---|---|\n");
        for column in &table.columns {
            let _ = writeln!(
                text,
                "| `{}` | {} | {} | {} | {} | {} |",
                column.name,
                column.data_type.name(),
                column.unit.as_deref().unwrap_or_default(),
                origin(column),
                column.pii.map(super::types::Pii::name).unwrap_or_default(),
                column.description.replace('|', "\\|"),
            );
        }
    }
    text
}

/// The tables with their rows and columns, as JSON.
#[must_use]
pub fn json(catalogue: &Catalogue) -> String {
    let tables: Vec<TableJson<'_>> = tables(catalogue).map(TableJson::of).collect();
    serde_json::to_string_pretty(&tables).unwrap_or_default() + "\n"
}

fn tables(catalogue: &Catalogue) -> impl Iterator<Item = &Table> {
    catalogue.tables.iter().chain([&catalogue.ledger, &catalogue.runs]).chain(&catalogue.logs)
}

fn origin(column: &Column) -> String {
    match &column.source {
        Source::Value(paths) => match paths.as_slice() {
            [one] => format!("`{one}`"),
            many => format!("`{}` and {} more", many[0], many.len() - 1),
        },
        Source::Inherited { table, column } => format!("{table}.{column}"),
        Source::Position => "position".to_owned(),
        Source::Constant => "path".to_owned(),
        Source::ExtraJson => "all else".to_owned(),
        Source::Derived(derive) => format!("{}({})", derive.function, derive.arguments.join(", ")),
        Source::Program => "callrec".to_owned(),
    }
}

#[derive(Serialize)]
struct TableJson<'a> {
    table: &'a str,
    description: &'a str,
    rows: Vec<RowsJson<'a>>,
    columns: Vec<ColumnJson<'a>>,
}

#[derive(Serialize)]
struct RowsJson<'a> {
    path: &'a str,
    constants: &'a BTreeMap<String, String>,
    when: &'static str,
}

#[derive(Serialize)]
struct ColumnJson<'a> {
    name: &'a str,
    path: Option<PathJson<'a>>,
    #[serde(rename = "type")]
    data_type: &'static str,
    unit: Option<&'a str>,
    description: &'a str,
    pii: Option<&'static str>,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none", rename = "enum")]
    enumeration: Option<&'a str>,
    since: &'a str,
}

#[derive(Serialize)]
#[serde(untagged)]
enum PathJson<'a> {
    One(&'a str),
    Many(&'a [String]),
}

impl<'a> TableJson<'a> {
    fn of(table: &'a Table) -> Self {
        let rows = |rows: &'a super::types::Rows| RowsJson {
            path: &rows.path,
            constants: &rows.constants,
            when: match rows.when {
                When::Always => "always",
                When::IfPreviousEmpty => "if_previous_empty",
            },
        };
        Self {
            table: &table.name,
            description: &table.description,
            rows: table.rows.iter().map(rows).collect(),
            columns: table.columns.iter().map(ColumnJson::of).collect(),
        }
    }
}

impl<'a> ColumnJson<'a> {
    fn of(column: &'a Column) -> Self {
        let (path, kind) = match &column.source {
            Source::Value(paths) => match paths.as_slice() {
                [one] => (Some(PathJson::One(one)), "value"),
                many => (Some(PathJson::Many(many)), "value"),
            },
            Source::Inherited { .. } | Source::Position | Source::Constant => (None, "key"),
            Source::Derived(_) | Source::ExtraJson => (None, "derived"),
            Source::Program => (None, "value"),
        };
        Self {
            name: &column.name,
            path,
            data_type: column.data_type.name(),
            unit: column.unit.as_deref(),
            description: &column.description,
            pii: column.pii.map(super::types::Pii::name),
            kind,
            rule: column.rule.as_deref(),
            enumeration: column.enumeration.as_deref(),
            since: &column.since,
        }
    }
}
