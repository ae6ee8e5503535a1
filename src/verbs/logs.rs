//! `logs`.

use super::{Global, run_id, runs};
use crate::cli;
use crate::config::{self, Config};
use crate::error::{Error, Result};
use crate::run;

pub(super) fn logs(global: &Global, flags: cli::Logs) -> Result<u8> {
    let mut config = Config::load(config::find(global.config.as_deref())?)?;
    if !flags.tables.is_empty() {
        config.logs.tables = flags.tables;
        config.logs.validate()?;
    }
    if config.logs.tables.is_empty() {
        return Err(Error::config("The configuration lacks [logs] tables")
            .hint("name the logs there or with --table; `callrec schema` lists them"));
    }
    if flags.from > flags.to {
        return Err(Error::usage("--from is after --to").hint("both dates are included"));
    }
    let ended = run::logs(&config, (flags.from, flags.to), run_id(None), flags.max_runtime);
    runs::tell(&ended, None)
}
