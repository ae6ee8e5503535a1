//! Log lines: to stderr, as text or JSON, never with user data.

use crate::cli::{Cli, LogFormat};
use crate::printable;
use std::io::{self, IsTerminal, Write};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Starts logging as the command line says.
pub fn start(cli: &Cli) {
    let level = cli.log_level.unwrap_or(match (cli.quiet, cli.verbose) {
        (true, _) => LevelFilter::ERROR,
        (false, 0) => LevelFilter::INFO,
        (false, 1) => LevelFilter::DEBUG,
        (false, _) => LevelFilter::TRACE,
    });
    // Libraries below may log headers or URLs: only our own lines are written.
    let own = Targets::new().with_target("callrec", level);
    let colour = std::io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none()
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
    let lines =
        tracing_subscriber::fmt::layer().with_writer(move || Lines { colour }).with_ansi(colour).with_target(false);
    let lines = match cli.log_format {
        LogFormat::Text => lines.compact().boxed(),
        LogFormat::Json => lines.json().with_ansi(false).boxed(),
    };
    tracing_subscriber::registry().with(lines.with_filter(own)).init();
    std::panic::set_hook(Box::new(panicked));
}

/// stderr, one whole line at a time, in which nothing acts on a terminal and no
/// field makes a second line.
struct Lines {
    colour: bool,
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        let (text, end) = text.strip_suffix('\n').map_or((&*text, ""), |text| (text, "\n"));
        let shown = if self.colour { printable::coloured(text) } else { printable::field(text) };
        io::stderr().write_all(format!("{shown}{end}").as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Says where the defect is. The message is shown only where it is a fixed
/// text: a composed one may quote a record.
fn panicked(panic: &std::panic::PanicHookInfo<'_>) {
    let place = panic.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    let fixed = panic.payload().downcast_ref::<&'static str>().map_or_else(String::new, |text| format!(": {text}"));
    let thread = std::thread::current();
    let _ = writeln!(
        io::stderr(),
        "callrec panicked in thread {} at {place}{fixed}; this is a defect: please report it",
        thread.name().unwrap_or("without a name")
    );
    let trace = std::backtrace::Backtrace::capture();
    if trace.status() == std::backtrace::BacktraceStatus::Captured {
        let _ = writeln!(io::stderr(), "{trace}");
    }
}
