//! `callrec` exports Microsoft Teams call records from Microsoft Graph to
//! Hive-partitioned Parquet.
//!
//! Data flows in one direction, and a stage imports only what stands before it:
//!
//! | stage | module | takes | gives |
//! |---|---|---|---|
//! | collect | [`notifications`] | the notification log | call ids and a cursor |
//! | decide | [`worklist`] | ids, pending state | what is due now |
//! | fetch | [`graph`] | call ids | whole JSON records |
//! | keep | [`spool`] | records | checksummed frames on disk |
//! | flatten | [`flatten`] | JSON bytes | Arrow record batches |
//! | publish | [`dataset`] | batches, raw records | Parquet, raw archive, commit records |
//!
//! [`listen`] is the other end of the log: it takes what Graph sends and writes it.
//! [`schema`] is the single description of the tables that `flatten` and
//! `dataset` work from; [`run`] and [`pipeline`] know every stage.

pub mod alerts;
mod arrow;
pub mod call_id;
pub mod call_logs;
pub mod cli;
pub mod clock;
pub mod config;
pub mod crash_point;
pub mod dataset;
pub mod error;
pub mod fetch;
pub mod files;
pub mod flatten;
pub mod graph;
pub mod json;
pub mod listen;
pub mod log_run;
pub mod logging;
pub mod metrics;
pub mod notifications;
pub mod ping;
pub mod pipeline;
pub mod printable;
pub mod progress;
pub mod quarantine;
pub mod raw;
pub mod reconcile;
pub mod redact;
pub mod renewal;
pub mod run;
pub mod schema;
pub mod shutdown;
pub mod simulator;
pub mod spool;
pub mod status;
pub mod subscribe;
pub mod summary;
pub mod verbs;
pub mod verify;
pub mod worklist;

/// Many threads take and give back buffers of all sizes. The allocator of glibc keeps
/// more of them in `run`, and in `flatten` gives pages back only to ask for them
/// again. zstd takes its tables from here too.
#[cfg(all(unix, feature = "jemalloc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;
