//! What the catalogue means for files: their formats, and the flatten plan.

use super::format::Format;
use crate::error::Result;
use crate::flatten::Plan;
use crate::schema::Catalogue;
use std::sync::Arc;

/// The tables, ready for writing.
#[derive(Clone)]
pub struct Tables {
    /// The catalogue.
    pub catalogue: &'static Catalogue,
    /// The formats of the record tables, in catalogue order.
    pub formats: Vec<Arc<Format>>,
    /// The formats of the tables of logs, in catalogue order.
    pub logs: Vec<Arc<Format>>,
    /// The format of the ledger.
    pub ledger: Arc<Format>,
    /// The format of the table of runs.
    pub runs: Arc<Format>,
    /// How records become rows.
    pub plan: Arc<Plan>,
}

impl Tables {
    /// From the catalogue that is built in.
    ///
    /// # Errors
    /// When the catalogue contradicts itself, which tests rule out.
    pub fn new(catalogue: &'static Catalogue) -> Result<Self> {
        let format = |table| Format::new(table, &catalogue.hash).map(Arc::new);
        Ok(Self {
            catalogue,
            formats: catalogue.tables.iter().map(format).collect::<Result<_>>()?,
            logs: catalogue
                .logs
                .iter()
                .map(|table| Format::new(table, &catalogue.logs_hash).map(Arc::new))
                .collect::<Result<_>>()?,
            ledger: format(&catalogue.ledger)?,
            runs: Format::new(&catalogue.runs, &catalogue.runs_hash).map(Arc::new)?,
            plan: Arc::new(Plan::compile(catalogue)?),
        })
    }

    /// The names of the record tables with their formats, children before
    /// `calls`: the order in which they are published.
    pub fn children_first(&self) -> impl Iterator<Item = (usize, &str, &Arc<Format>)> {
        let tables = self.catalogue.tables.iter().zip(&self.formats).enumerate();
        tables.rev().map(|(number, (table, format))| (number, table.name.as_str(), format))
    }
}
