//! What the catalogue means for files: Arrow schemas and the flatten plan.

use crate::arrow::datatypes::SchemaRef;
use crate::error::Result;
use crate::flatten::Plan;
use crate::schema::Catalogue;
use std::sync::Arc;

/// The tables, ready for writing.
#[derive(Clone)]
pub struct Tables {
    /// The catalogue.
    pub catalogue: &'static Catalogue,
    /// The Arrow schemas of the record tables, in catalogue order.
    pub schemas: Vec<SchemaRef>,
    /// The Arrow schema of the ledger.
    pub ledger: SchemaRef,
    /// How records become rows.
    pub plan: Arc<Plan>,
}

impl Tables {
    /// From the catalogue that is built in.
    ///
    /// # Errors
    /// When the catalogue contradicts itself, which tests rule out.
    pub fn new(catalogue: &'static Catalogue) -> Result<Self> {
        Ok(Self {
            catalogue,
            schemas: catalogue.tables.iter().map(crate::schema::Table::arrow_schema).collect(),
            ledger: catalogue.ledger.arrow_schema(),
            plan: Arc::new(Plan::compile(catalogue)?),
        })
    }

    /// The names of the record tables with their schemas, children before
    /// `calls`: the order in which they are published.
    pub fn children_first(&self) -> impl Iterator<Item = (usize, &str, &SchemaRef)> {
        let tables = self.catalogue.tables.iter().zip(&self.schemas).enumerate();
        tables.rev().map(|(number, (table, schema))| (number, table.name.as_str(), schema))
    }
}
