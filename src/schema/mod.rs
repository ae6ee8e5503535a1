//! The tables: loaded once from `schemas/*.toml`, the single source of truth.
//!
//! From the catalogue come the Arrow schema, the flatten plan, the data
//! dictionary, the SQL views and the personal-data marks.

mod arrow;
pub mod documentation;
mod load;
pub mod sql;
#[cfg(test)]
mod tests;
pub mod types;

pub use load::Files;
pub use types::{
    Catalogue, Column, Derive, Endpoint, Identity, IdentitySource, Log, Pii, Rows, Source, Table, Type, When,
};
