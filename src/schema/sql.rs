//! Views for DuckDB over the tables of a dataset.

use super::types::Catalogue;
use std::fmt::Write;

const VIEWS: &str = include_str!("../../schemas/views.sql");

/// SQL that makes a view of every table below `root`, and the views that most
/// questions start from.
#[must_use]
pub fn views(catalogue: &Catalogue, root: &str) -> String {
    let root = root.replace('\'', "''");
    let mut sql = String::from(
        "-- Made by `callrec schema --format sql`. A table that has no file yet has no view:\n\
         -- leave out its statement until it has one.\n",
    );
    for table in &catalogue.tables {
        let name = &table.name;
        let _ = writeln!(
            sql,
            "CREATE OR REPLACE VIEW {name} AS SELECT * FROM read_parquet('{root}/{name}/call_date=*/*.parquet', hive_partitioning = true);"
        );
    }
    for (name, key) in [("ledger", "seen_date"), ("runs", "run_month")] {
        let _ = writeln!(
            sql,
            "CREATE OR REPLACE VIEW {name} AS SELECT * FROM read_parquet('{root}/{name}/{key}=*/*.parquet', hive_partitioning = true);"
        );
    }
    sql.push('\n');
    sql.push_str(VIEWS);
    sql
}
