//! The command line.

use crate::call_id::CallId;
use crate::progress;
use crate::simulator::Trouble;
use chrono::{DateTime, NaiveDate, Utc};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Each tenant of a run has its own memory: about what a run alone has.
const AT_ONCE: NonZeroUsize = NonZeroUsize::new(4).expect("not 0");

/// Exports Microsoft Teams call records to Hive-partitioned Parquet.
#[derive(Debug, Parser)]
#[command(name = "callrec", version, about, max_term_width = 100)]
pub struct Cli {
    /// The config file [default: callrec.toml in the working directory]
    #[arg(long, global = true, env = "CALLREC_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Only this tenant of the config. May be repeated
    #[arg(long = "tenant", global = true, value_name = "NAME")]
    pub tenants: Vec<String>,
    /// Only each N-th tenant of the config, from the I-th on: one of N jobs that share the work
    #[arg(long, global = true, value_name = "I/N")]
    pub shard: Option<Shard>,
    /// How log lines are written to stderr
    #[arg(long, global = true, env = "CALLREC_LOG_FORMAT", value_enum, default_value_t)]
    pub log_format: LogFormat,
    /// The least severe level that is logged: error, warn, info, debug or trace
    #[arg(long, global = true, env = "CALLREC_LOG_LEVEL", value_name = "LEVEL")]
    pub log_level: Option<tracing::level_filters::LevelFilter>,
    /// More log lines; twice for still more
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Only errors
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// How progress is shown on stderr
    #[arg(long, global = true, env = "CALLREC_PROGRESS", value_enum, default_value = "auto")]
    pub progress: progress::Mode,
    /// What to do
    #[command(subcommand)]
    pub verb: Verb,
}

/// The part of the tenants that one of several jobs takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Which job this is; the first is 1.
    pub index: u32,
    /// How many there are.
    pub of: u32,
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let whole = |text: &str| text.parse().ok();
        let parts = text.split_once('/').and_then(|(index, of)| whole(index).zip(whole(of)));
        parts
            .filter(|(index, of)| (1..=*of).contains(index))
            .map(|(index, of)| Self { index, of })
            .ok_or_else(|| "give which job it is, from 1 on, and how many there are, such as 1/4".to_owned())
    }
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// How an answer is written to stdout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON document.
    Json,
}

/// How the data dictionary is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum SchemaFormat {
    /// For people.
    #[default]
    Text,
    /// Markdown.
    Md,
    /// JSON.
    Json,
    /// Views for DuckDB.
    Sql,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// The scheduled job: collect ids, fetch records, flatten and publish them
    Run(Run),
    /// Fetch what Graph lists and no notification named; look again at settled calls
    Reconcile(Reconcile),
    /// Fetch all calls that Graph lists: a first run
    Backfill(Backfill),
    /// The subscription through which Graph announces call records
    #[command(subcommand)]
    Subscribe(Subscribe),
    /// Take the notifications that Graph posts, and write the log that `run` reads
    Listen,
    /// Collect the telephony logs of some days, for the first time or again
    Logs(Logs),
    /// Make tables from call-record files, without Graph
    Flatten(Flatten),
    /// Make the tables again from the raw archive
    Rebuild,
    /// Merge parts: one file per table and date
    Compact,
    /// Take calls out of tables and archive, for good
    Purge(Purge),
    /// Check keys, references, hashes and counts
    Verify(Answer),
    /// Pending, quarantined and expiring ids, and the last runs
    Status(Status),
    /// What was refused and why
    #[command(subcommand)]
    Quarantine(Quarantine),
    /// The data dictionary
    Schema(Schema),
    /// Write a commented config
    Init(Init),
    /// Test config, token, permission and storage, one step at a time
    Check,
    /// A local stand-in for Microsoft Graph
    Simulate(Simulate),
    /// Completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Flags of `run`.
#[derive(Debug, Args)]
pub struct Run {
    /// Fetch this call; no log is read. May be repeated
    #[arg(long = "id", value_name = "ID")]
    pub ids: Vec<CallId>,
    /// Fetch the calls in this file (text or CSV); no log is read
    #[arg(long, value_name = "FILE")]
    pub ids_file: Option<PathBuf>,
    /// What all fetching verbs take
    #[command(flatten)]
    pub fetching: Fetching,
}

/// Flags of the verbs that fetch records.
#[derive(Debug, Args)]
pub struct Fetching {
    /// Say how many requests the run would make and how long they would take
    #[arg(long)]
    pub dry_run: bool,
    /// Begin no request after this time, such as 45m
    #[arg(long, value_parser = humantime::parse_duration, value_name = "TIME")]
    pub max_runtime: Option<Duration>,
    /// So many tenants at a time
    #[arg(long, value_name = "N", default_value_t = AT_ONCE)]
    pub tenants_at_once: NonZeroUsize,
    /// An id for this run in summary and commits [default: a new UUID]
    #[arg(long, value_name = "ID")]
    pub run_id: Option<String>,
    /// Write the summary to this file too
    #[arg(long, value_name = "FILE")]
    pub summary_file: Option<PathBuf>,
    /// Write the figures of the summary to this file as Prometheus text
    #[arg(long, value_name = "FILE")]
    pub metrics_file: Option<PathBuf>,
    /// Ask for this URL after a run that ends with 0; after any, where it holds {exit_code}
    #[arg(long, value_name = "URL", env = "CALLREC_PING_URL", hide_env_values = true)]
    pub ping_url: Option<String>,
    /// Post emergency calls of the telephony logs to this URL as they are exported
    #[arg(long, value_name = "URL", env = "CALLREC_ALERT_URL", hide_env_values = true)]
    pub alert_url: Option<String>,
}

/// Flags of `reconcile`.
#[derive(Debug, Args)]
pub struct Reconcile {
    /// Calls that began at or after this date or instant (UTC) [default: 31 days ago]
    #[arg(long, value_parser = instant, value_name = "TIME")]
    pub from: Option<DateTime<Utc>>,
    /// Calls that began before this [default: now]
    #[arg(long, value_parser = instant, value_name = "TIME")]
    pub to: Option<DateTime<Utc>>,
    /// Ask once more for calls that ended so long ago, and before Graph forgets them; 0s: do not
    #[arg(long, value_parser = humantime::parse_duration, value_name = "TIME", default_value = "3h")]
    pub settle: Duration,
    /// Name the calls of which no notification was read in this file, one JSON object a line
    #[arg(long, value_name = "FILE")]
    pub missed_file: Option<PathBuf>,
    /// What all fetching verbs take
    #[command(flatten)]
    pub fetching: Fetching,
}

/// Flags of `backfill`.
#[derive(Debug, Args)]
pub struct Backfill {
    /// Calls that began at or after this date or instant (UTC)
    #[arg(long, value_parser = instant, value_name = "TIME")]
    pub from: DateTime<Utc>,
    /// Calls that began before this [default: now]
    #[arg(long, value_parser = instant, value_name = "TIME")]
    pub to: Option<DateTime<Utc>>,
    /// What all fetching verbs take
    #[command(flatten)]
    pub fetching: Fetching,
}

/// An instant, or a date for its midnight.
fn instant(text: &str) -> Result<DateTime<Utc>, String> {
    let date = |text: &str| text.parse::<NaiveDate>().ok().map(|date| date.and_time(chrono::NaiveTime::MIN).and_utc());
    let instant = DateTime::parse_from_rfc3339(text).map(|at| at.to_utc()).ok();
    instant
        .or_else(|| date(text))
        .ok_or_else(|| "give a date such as 2026-11-01, or an instant such as 2026-11-01T12:00:00Z".to_owned())
}

/// Flags of `logs`.
#[derive(Debug, Args)]
pub struct Logs {
    /// The first day (UTC)
    #[arg(long, value_name = "DATE")]
    pub from: NaiveDate,
    /// The last day (UTC)
    #[arg(long, value_name = "DATE")]
    pub to: NaiveDate,
    /// This log. May be repeated [default: those of the config]
    #[arg(long = "table", value_name = "TABLE")]
    pub tables: Vec<String>,
    /// Begin no request after this time, such as 45m
    #[arg(long, value_parser = humantime::parse_duration, value_name = "TIME")]
    pub max_runtime: Option<Duration>,
    /// So many tenants at a time
    #[arg(long, value_name = "N", default_value_t = AT_ONCE)]
    pub tenants_at_once: NonZeroUsize,
    /// Post emergency calls to this URL as they are exported
    #[arg(long, value_name = "URL", env = "CALLREC_ALERT_URL", hide_env_values = true)]
    pub alert_url: Option<String>,
}

/// Flags of `flatten`.
#[derive(Debug, Args)]
pub struct Flatten {
    /// Call records: .json, .ndjson, .jsonl, each also as .gz or .zst
    #[arg(required = true, value_name = "FILE")]
    pub inputs: Vec<PathBuf>,
    /// A directory that is absent or empty
    #[arg(long, short, value_name = "DIR")]
    pub output: PathBuf,
    /// Threads that flatten [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads: Option<u16>,
}

/// Flags of `purge`.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Purge {
    /// Calls that started before this date (UTC)
    #[arg(long, value_name = "DATE")]
    pub before: Option<NaiveDate>,
    /// This call. May be repeated
    #[arg(long = "call", value_name = "ID")]
    pub calls: Vec<CallId>,
}

/// Flags of `status`.
#[derive(Debug, Args)]
pub struct Status {
    /// How the answer is written
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// Name the pending ids that Graph forgets within this time, such as 48h, and end with 3 if there are any
    #[arg(long, value_parser = humantime::parse_duration, value_name = "TIME")]
    pub expiring: Option<Duration>,
    /// Say instead where this call stands, and end with 3 if it is not known. May be repeated
    #[arg(long = "id", value_name = "ID", conflicts_with = "expiring")]
    pub ids: Vec<CallId>,
}

/// How a verb answers.
#[derive(Debug, Args)]
pub struct Answer {
    /// How the answer is written
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// What to do with the quarantine.
#[derive(Debug, Subcommand)]
pub enum Quarantine {
    /// What was refused and why
    List(Answer),
    /// Try items again: by their names, or all
    Retry {
        /// Items, such as 000042-1
        #[arg(value_name = "ITEM")]
        items: Vec<String>,
    },
}

/// What to do with subscriptions.
#[derive(Debug, Subcommand)]
pub enum Subscribe {
    /// Make the configured subscription, or renew it
    Ensure {
        /// End the app's other subscriptions to call records first
        #[arg(long)]
        replace: bool,
    },
    /// The app's subscriptions to call records
    List(Answer),
    /// End a subscription
    Delete {
        /// Its id
        #[arg(value_name = "ID")]
        id: String,
    },
}

/// Flags of `schema`.
#[derive(Debug, Args)]
pub struct Schema {
    /// How it is written
    #[arg(long, value_enum, default_value_t)]
    pub format: SchemaFormat,
}

/// Flags of `init`.
#[derive(Debug, Args)]
pub struct Init {
    /// The file to be written
    #[arg(default_value = "callrec.toml", value_name = "FILE")]
    pub file: PathBuf,
}

/// The number of a tenant and what is wrong with it.
fn trouble(text: &str) -> Result<(u32, Trouble), String> {
    let (number, trouble) =
        text.split_once('=').ok_or("give the number of a tenant and its trouble, such as 2=down")?;
    Ok((number.parse().map_err(|_| "the number of a tenant is from 1 on".to_owned())?, trouble.parse()?))
}

/// Flags of `simulate`.
#[derive(Debug, Args)]
pub struct Simulate {
    /// Serve the records in this directory
    #[arg(long, value_name = "DIR", conflicts_with = "generate")]
    pub records: Option<PathBuf>,
    /// Generate so many records
    #[arg(long, value_name = "N")]
    pub generate: Option<u64>,
    /// The seed of the generator
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Milliseconds before every answer
    #[arg(long, default_value_t = 0, value_name = "MS")]
    pub latency_ms: u64,
    /// Strike one record in three with a fault that passes after one or two attempts
    #[arg(long)]
    pub faults: bool,
    /// The same, but half of the struck records never come right
    #[arg(long)]
    pub lasting_faults: bool,
    /// The port on loopback [default: a free one]
    #[arg(long, default_value_t = 0)]
    pub port: u16,
    /// Serve https, and HTTP/2, with this certificate for 127.0.0.1 (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Its private key (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// The certificate of the app registration (PEM), against which client assertions are checked
    #[arg(long, value_name = "FILE")]
    pub certificate: Option<PathBuf>,
    /// The certificate whose key signs federated tokens (PEM)
    #[arg(long, value_name = "FILE")]
    pub federated_issuer: Option<PathBuf>,
    /// Have so many tenants, each with such records of its own
    #[arg(long = "tenants", value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub tenants_of_app: u32,
    /// Let the N-th tenant be throttled, forbidden or down. May be repeated
    #[arg(long, value_name = "N=TROUBLE", value_parser = trouble)]
    pub tenant_trouble: Vec<(u32, Trouble)>,
    /// Requests in 20 seconds in all tenants together [default: 15000]
    #[arg(long, value_name = "N")]
    pub app_limit: Option<usize>,
    /// Have so many rows in the log of PSTN calls, over --log-days
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub pstn_calls: u64,
    /// The same of direct routing
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub direct_routing_calls: u64,
    /// The same of text messages
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub sms: u64,
    /// Add up so many calls in the dial-out report
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub dialout_calls: u64,
    /// The days up to now that the rows of these logs are spread over
    #[arg(long, value_name = "DAYS", default_value_t = 30)]
    pub log_days: u32,
    /// Do not keep Graph's limits
    #[arg(long)]
    pub no_limits: bool,
    /// Make each answer once and keep it, so that a client is measured
    #[arg(long, requires = "no_limits")]
    pub keep_answers: bool,
    /// Give so many of a hundred generated records a later version
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=100))]
    pub later_percent: u64,
    /// Never send so many of a hundred notifications to subscribers
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=100))]
    pub withhold_percent: u64,
    /// Send so many of a hundred notifications twice
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=100))]
    pub repeat_percent: u64,
    /// The largest generated meeting
    #[arg(long, value_name = "N")]
    pub max_sessions: Option<usize>,
    /// Serve as of this instant
    #[arg(long, value_name = "INSTANT")]
    pub now: Option<chrono::DateTime<chrono::Utc>>,
    /// Serve as of this instant at first; POST {"now": "INSTANT"} to /simulator/clock goes on
    #[arg(long, value_name = "INSTANT")]
    pub begins: Option<chrono::DateTime<chrono::Utc>>,
    /// Write a notification log that matches the records
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// Write the records as NDJSON to this file instead of serving them
    #[arg(long, value_name = "FILE")]
    pub write: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }
}
