//! The command `callrec`.

use callrec::verbs;
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    #[cfg(feature = "failpoints")]
    let _scenario = fail::FailScenario::setup();
    let cli = callrec::cli::Cli::parse();
    callrec::logging::start(&cli);
    match verbs::execute(cli) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::from(error.class().exit_code())
        }
    }
}
