//! A stand-in for Microsoft Graph on loopback: tokens, call records with their
//! pages, the list, throttling, faults, and a notification log that matches.
//!
//! It imports nothing of the job, so that what it serves is an independent view
//! of the API.
#![expect(clippy::disallowed_types, reason = "the simulator changes records, which the job never does")]

mod answer;
mod call_logs;
mod faults;
pub mod generator;
mod hostile;
mod identity;
mod kept;
mod list;
mod log;
mod pages;
mod proof;
mod server;
mod settings;
mod store;
mod subscriptions;
mod tenants;
mod throttle;
mod tls;
mod token;
mod wire;

pub use faults::{Strike, TokenFault, fault_names};
pub use log::write_notification_log;
pub use server::{Counts, Simulator, start};
pub use settings::{Settings, Tls};
pub use store::write_records;
pub use tenants::Trouble;
