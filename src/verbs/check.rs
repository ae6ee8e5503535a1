//! `check`: config, storage, log, clock, token, permission and list, one step at a time.

use super::print;
use crate::config::{Config, Endpoint, Place};
use crate::dataset::Dataset;
use crate::dataset::layout::Layout;
use crate::error::{Class, Error, Result};
use crate::graph::{Client, Outcome};
use crate::notifications;
use crate::printable;
use crate::schema::Catalogue;
use crate::simulator;
use chrono::TimeDelta;

/// Seconds by which Entra ID lets clocks differ.
const MOST_OFF: u64 = 300;

pub(super) fn check(place: &Place) -> Result<u8> {
    let config = Config::load(place)?;
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
        let hint = settings.auth.permission_hint();
        let client = Client::new(settings, config.clock())?;
        let token = client.token().await;
        // First, for a wrong clock is why assertions are refused.
        let is_dated = clock(&config, &client)?;
        token?;
        step("token", &format!("granted ({})", config.auth_method))?;
        let outcome = client.probe().await?;
        if !is_dated && !clock(&config, &client)? {
            step("clock", "not compared: no answer says the time")?;
        }
        match outcome {
            Outcome::NotFound | Outcome::Record { .. } => step("permission", "call records can be read")?,
            Outcome::Forbidden => {
                return Err(Error::access("Graph refuses call records to this app (403)").hint(hint));
            }
            Outcome::Unavailable { reason } | Outcome::Unusable { reason, .. } => {
                return Err(Error::temporary(format!(
                    "Graph did not answer the question for a call record ({reason})"
                ))
                .hint("try again later"));
            }
        };
        match client.probe_list(config.clock().now() - TimeDelta::hours(1)).await? {
            None => step("list", "call records can be listed"),
            Some(Outcome::Forbidden) => {
                Err(Error::access("Graph refuses the list of call records to this app (403)").hint(hint))
            }
            Some(Outcome::Unavailable { reason } | Outcome::Unusable { reason, .. }) => Err(Error::temporary(format!(
                "Graph did not answer the question for the list of call records ({reason})"
            ))
            .hint("try again later")),
            Some(Outcome::NotFound | Outcome::Record { .. }) => {
                Err(Error::config("There is no list of call records at [graph] endpoint (404)")
                    .hint("check [graph] endpoint and cloud"))
            }
        }
    })?;
    Ok(0)
}

/// Compares this machine's clock with that of the last answer; whether there is one.
fn clock(config: &Config, client: &Client) -> Result<bool> {
    if matches!(&config.endpoint, Endpoint::Simulator(simulated) if simulated.simulator.now.is_some()) {
        step("clock", "stands still, as [simulator] now says")?;
        return Ok(true);
    }
    let Some(behind) = client.clock_behind() else { return Ok(false) };
    let off = behind.unsigned_abs();
    if off > MOST_OFF {
        let way = if behind > 0 { "behind" } else { "ahead of" };
        step(
            "clock",
            &format!(
                "warning: {off} seconds {way} the server's; set this machine's clock, or assertions and tokens are refused"
            ),
        )?;
    } else {
        step("clock", &format!("within {MOST_OFF} seconds of the server's"))?;
    }
    Ok(true)
}

fn step(name: &str, what: &str) -> Result<u8> {
    print(&format!("{name:<11} {}", printable::field(what)))
}
