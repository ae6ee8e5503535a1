//! `logs`.

use super::{Global, run_id, runs};
use crate::cli;
use crate::config::{self, Config};
use crate::error::{Error, Result};
use crate::run::{self, Options};

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
    let options = Options {
        run_id: run_id(None),
        max_runtime: flags.max_runtime,
        alerts: runs::receiver(&config, flags.alert_url.as_deref())?,
        ..Options::default()
    };
    let ended = run::logs(&config, (flags.from, flags.to), &options);
    runs::tell(&ended, None)
}
