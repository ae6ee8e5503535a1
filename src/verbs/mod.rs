//! The verbs of the command line: each reads the config, does its work and
//! writes its answer to stdout.

mod check;
mod datasets;
mod init;
mod listen;
mod quarantine;
mod runs;
mod simulate;
mod subscribe;
mod tenants;

use crate::cli::{Cli, Format, SchemaFormat, Shard, Verb};
use crate::error::{Class, Error, Result};
use crate::printable;
use crate::schema::{Catalogue, documentation, sql};
use clap::CommandFactory;
use std::io::Write;
use std::path::PathBuf;

/// What every verb may need of the command line.
struct Global {
    config: Option<PathBuf>,
    tenants: Vec<String>,
    shard: Option<Shard>,
    progress: crate::progress::Mode,
}

/// Does what the command line says; the exit code.
///
/// # Errors
/// What ended it.
pub fn execute(cli: Cli) -> Result<u8> {
    let global = Global { config: cli.config, tenants: cli.tenants, shard: cli.shard, progress: cli.progress };
    match cli.verb {
        Verb::Run(run) => runs::run(&global, run),
        Verb::Reconcile(reconcile) => runs::reconcile(&global, reconcile),
        Verb::Backfill(backfill) => runs::backfill(&global, backfill),
        Verb::Subscribe(what) => subscribe::execute(&global, &what),
        Verb::Logs(flags) => runs::logs(&global, flags),
        Verb::Flatten(flatten) => datasets::flatten(&global, flatten),
        // Their answers are JSON and name the tenant.
        Verb::Rebuild => tenants::each(&global, Format::Json, datasets::rebuild),
        Verb::Compact => tenants::each(&global, Format::Json, datasets::compact),
        Verb::Purge(purge) => datasets::purge(&global, &purge),
        Verb::Verify(answer) => tenants::each(&global, answer.format, |place| datasets::verify(place, answer.format)),
        Verb::Status(flags) => datasets::status(&global, &flags),
        Verb::Quarantine(what) => quarantine::execute(&global, what),
        Verb::Schema(schema) => {
            let catalogue = Catalogue::embedded();
            print(&match schema.format {
                SchemaFormat::Text => documentation::text(catalogue),
                SchemaFormat::Md => documentation::markdown(catalogue),
                SchemaFormat::Json => documentation::json(catalogue),
                SchemaFormat::Sql => sql::views(catalogue, &schema_root(&global)),
            })
        }
        Verb::Init(init) => init::init(&init.file),
        Verb::Check => tenants::each(&global, Format::Text, check::check),
        Verb::Listen => listen::listen(&global),
        Verb::Simulate(simulate) => simulate::simulate(simulate),
        Verb::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "callrec", &mut script);
            print(&String::from_utf8_lossy(&script))
        }
    }
}

/// The root that the SQL views read: the config's, if there is one and it is one.
fn schema_root(global: &Global) -> String {
    global
        .one("A view")
        .ok()
        .and_then(|place| crate::config::Storage::load(&place).ok())
        .map_or_else(|| "out".to_owned(), |storage| storage.root.display().to_string())
}

/// Writes to stdout, nothing of which acts on a terminal. A reader that has gone
/// is no error.
fn print(text: &str) -> Result<u8> {
    let text = printable::lines(text);
    let mut stdout = std::io::stdout().lock();
    let end: &[u8] = if text.ends_with('\n') { b"" } else { b"\n" };
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.write_all(end)).and_then(|()| stdout.flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::new(Class::Io, "Cannot write to stdout").because(e))
        }
        _ => Ok(0),
    }
}

fn run_id(given: Option<String>) -> String {
    given.unwrap_or_else(|| uuid::Uuid::now_v7().to_string())
}
