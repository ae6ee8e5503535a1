//! The command `callrec`.

use callrec::{printable, verbs};
use clap::Parser;
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    #[cfg(feature = "failpoints")]
    let _scenario = fail::FailScenario::setup();
    let cli = match callrec::cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(answer) => return told(&answer),
    };
    callrec::logging::start(&cli);
    match verbs::execute(cli) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::from(error.class().exit_code())
        }
    }
}

/// Prints help, version, or what is wrong with the command line, which quotes
/// arguments that may come from elsewhere.
fn told(answer: &clap::Error) -> ExitCode {
    let mut text = answer.to_string();
    for argument in std::env::args_os() {
        let argument = argument.to_string_lossy();
        text = text.replace(&*argument, &printable::field(&argument));
    }
    let text = printable::lines(&text);
    let _ = if answer.use_stderr() {
        std::io::stderr().write_all(text.as_bytes())
    } else {
        std::io::stdout().write_all(text.as_bytes())
    };
    ExitCode::from(u8::try_from(answer.exit_code()).unwrap_or(2))
}
