//! `run`.

use super::{Global, print, run_id};
use crate::cli;
use crate::config::{self, Config};
use crate::error::{Error, Result};
use crate::files::{self, PRIVATE};
use crate::notifications;
use crate::printable;
use crate::run::{self, Ended, Options};
use crate::worklist::Origin;
use std::path::Path;

pub(super) fn run(global: &Global, flags: cli::Run) -> Result<u8> {
    let config = Config::load(config::find(global.config.as_deref())?)?;
    let mut named: Vec<_> = flags.ids.iter().map(|id| (*id, Origin::Named)).collect();
    if let Some(file) = &flags.ids_file {
        named.extend(notifications::ids_from_file(file)?.into_iter().map(|id| (id, Origin::Named)));
        if named.is_empty() {
            return Err(Error::usage(format!("{} names no call", file.display()))
                .hint("give one id a line, or a CSV with a column call_id"));
        }
    }
    if named.is_empty() && config.source.patterns.is_empty() && config.logs.tables.is_empty() {
        return Err(Error::config("The configuration lacks [source] notifications")
            .hint("name the files of the notification log there, or calls with --id or --ids-file"));
    }
    let options = Options {
        named,
        given: Vec::new(),
        dry_run: flags.dry_run,
        max_runtime: flags.max_runtime,
        run_id: run_id(flags.run_id),
        progress: global.progress,
    };
    tell(&run::run(&config, &options), flags.summary_file.as_deref())
}

/// Says what ended the run, and prints its summary or plan.
pub(super) fn tell(ended: &Ended, summary_file: Option<&Path>) -> Result<u8> {
    if let Some(error) = &ended.error {
        tracing::error!("{error}");
    }
    if let (Some(plan), None) = (&ended.plan, &ended.error) {
        return print(&serde_json::to_string(plan).unwrap_or_default());
    }
    let line = ended.summary.line();
    let line = printable::lines(&line);
    print(&line)?;
    if let Some(path) = summary_file {
        files::write_named(path, format!("{line}\n").as_bytes(), PRIVATE)?;
    }
    Ok(ended.summary.exit_code)
}
