//! How far a run is, on stderr.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;

/// Whether and how progress is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// A bar on a terminal, nothing elsewhere.
    #[default]
    Auto,
    /// A log line for every tenth of the work.
    Plain,
    /// Nothing.
    None,
}

/// The progress of the requests of a run.
pub struct Progress {
    bar: ProgressBar,
    plain_step: Option<u64>,
}

impl Progress {
    /// For so many ids.
    #[must_use]
    pub fn new(mode: Mode, ids: u64) -> Self {
        let terminal = std::io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|t| t != "dumb");
        let target =
            if mode == Mode::Auto && terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(ids), target);
        if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} calls, {per_sec}, {eta} left") {
            bar.set_style(style);
        }
        Self { bar, plain_step: (mode == Mode::Plain).then_some(ids.div_ceil(10).max(1)) }
    }

    /// One more id was answered.
    pub fn answered(&self) {
        self.bar.inc(1);
        if let Some(step) = self.plain_step
            && self.bar.position().is_multiple_of(step)
        {
            tracing::info!(answered = self.bar.position(), of = self.bar.length(), "progress");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
