//! The flatten core against two independent readings of what it owes: a builder
//! that makes the record again from its rows, and a second, simple flattener.
//!
//! Random records come from the catalogue, by seed: a failure prints the seed
//! and the record's number.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    unreachable_pub,
    reason = "tests fail by panics and read files as they like"
)]

mod cells;
mod generated;
mod join_link;
mod json;
mod leaves;
mod random;
mod rebuild;
mod simple;
mod transactions;
mod values;

use callrec::flatten::{Flattener, Mode, Plan};
use callrec::schema::Catalogue;
use std::sync::{Arc, LazyLock};

static PLAN: LazyLock<Arc<Plan>> =
    LazyLock::new(|| Arc::new(Plan::compile(Catalogue::embedded()).expect("the catalogue compiles")));

fn flattener(mode: Mode) -> Flattener {
    Flattener::with_mode(Arc::clone(&PLAN), mode)
}
