//! `check`: config, token, permission and storage, one step at a time.

use super::{Global, print};
use crate::config::{self, Config, Endpoint};
use crate::dataset::Dataset;
use crate::dataset::layout::Layout;
use crate::error::{Class, Error, Result};
use crate::graph::{Client, Outcome};
use crate::notifications;
use crate::printable;
use crate::schema::Catalogue;
use crate::simulator;

/// An id that no record has: whether Graph says 404 or 403 tells the permission.
const NO_CALL: &str = "00000000-0000-4000-8000-000000000000";

pub(super) fn check(global: &Global) -> Result<u8> {
    let file = config::find(global.config.as_deref())?;
    let config = Config::load(file)?;
    step("config", &config.file.as_ref().map_or("environment".to_owned(), |f| f.display().to_string()))?;
    let layout = Layout::new(&config.root, config.modes);
    let dataset = Dataset::open(layout, Catalogue::embedded())?;
    dataset.check_tenant(config.tenant_id.map(|id| id.to_string()).as_deref())?;
    step("storage", &format!("{} can be written and locked", config.root.display()))?;
    let cursors = dataset.newest().map(|c| c.cursors.clone()).unwrap_or_default();
    let collected = notifications::collect(&config.source, &cursors)?;
    step("log", &format!("{} new items, {} of them refused", collected.read, collected.rejected.len()))?;
    if config.source.client_state.is_none() {
        step("log", "warning: no client_state is configured, so that anyone who can write the log can name calls")?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Error::new(Class::Io, "Cannot start the runtime").because(e))?;
    runtime.block_on(async {
        let (_simulator, settings) = match &config.endpoint {
            Endpoint::Graph(settings) => (None, (**settings).clone()),
            Endpoint::Simulator(simulated) => {
                let simulator = simulator::start(simulated.simulator.clone(), config.clock()).await?;
                let settings = simulated.client(simulator.endpoint(), simulator.authority());
                (Some(simulator), settings)
            }
        };
        let client = Client::new(settings, config.clock())?;
        client.token().await?;
        step("token", "granted")?;
        let id = NO_CALL.parse().map_err(|_| Error::config("The id of the probe is no GUID"))?;
        match client.call_record(id).await? {
            Outcome::NotFound | Outcome::Record { .. } => step("permission", "call records can be read"),
            Outcome::Forbidden => Err(Error::access("Graph refuses call records to this app").hint(
                "grant the application permission CallRecords.Read.All with admin consent, then wait some minutes",
            )),
            Outcome::Unavailable { reason } | Outcome::Unusable { reason, .. } => {
                Err(Error::temporary(format!("Graph did not answer the question for a call record ({reason})"))
                    .hint("try again later"))
            }
        }
    })?;
    Ok(0)
}

fn step(name: &str, what: &str) -> Result<u8> {
    print(&format!("{name:<11} {}", printable::field(what)))
}
