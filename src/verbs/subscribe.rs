//! `subscribe`: the subscription through which Graph announces call records.

use super::tenants::{each, print_json};
use super::{Global, print};
use crate::cli;
use crate::config::{self, Config, Place};
use crate::error::{Class, Error, Result};
use crate::files::{self, PRIVATE};
use crate::graph::Subscription;
use crate::pipeline;
use crate::printable;
use crate::subscribe::{self, How, Made};
use uuid::Uuid;

pub(super) fn execute(global: &Global, what: &cli::Subscribe) -> Result<u8> {
    let format = match what {
        cli::Subscribe::List(answer) => answer.format,
        _ => cli::Format::Text,
    };
    if matches!(what, cli::Subscribe::Delete { .. }) {
        global.one("A subscription that is named")?;
    }
    each(global, format, |place| of_one(place, what))
}

fn of_one(place: &Place, what: &cli::Subscribe) -> Result<u8> {
    if matches!(what, cli::Subscribe::Ensure { .. }) {
        make_client_state(place)?;
    }
    let config = Config::load(place)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Error::new(Class::Io, "Cannot start the runtime").because(e))?;
    runtime.block_on(async {
        let (simulator, client) = pipeline::connect(&config, config.clock(), None).await?;
        if simulator.is_some() {
            return Err(Error::config("The simulator in this process ends with it, and its subscriptions too")
                .hint("start `callrec simulate` and give its address as [graph] endpoint"));
        }
        match what {
            cli::Subscribe::Ensure { replace } => {
                let Some(state) = &config.source.client_state else {
                    return Err(Error::config("The configuration lacks [source] client_state_file")
                        .hint("name a file there: it is made, with a random state, if there is none"));
                };
                let how = if *replace { How::Replace } else { How::Renew };
                files::create_directory(&config.root, config.modes)?;
                let made = Made::at(&config.root);
                let (deed, subscription) =
                    subscribe::ensure(&client, &config.subscription, state, &made, how, config.clock().now()).await?;
                print(&format!("{:<9} {}", deed.name(), line(&subscription)))
            }
            cli::Subscribe::List(answer) => {
                let found = client.subscriptions().await?;
                match answer.format {
                    cli::Format::Json => print_json(place, &found),
                    cli::Format::Text if found.is_empty() => print("the app has no subscription to call records"),
                    cli::Format::Text => print(&found.iter().map(line).collect::<Vec<_>>().join("\n")),
                }
            }
            cli::Subscribe::Delete { id } => {
                if client.unsubscribe(id).await? {
                    return print(&format!("deleted   {}", printable::field(id)));
                }
                Err(Error::usage("There is no such subscription")
                    .hint("`callrec subscribe list` shows those there are"))
            }
        }
    })
}

/// Makes the configured file of the client state, with a random one, if it is not there.
///
/// # Errors
/// By class configuration or I/O.
pub(super) fn make_client_state(place: &Place) -> Result<()> {
    let Some(path) = config::missing_client_state(place)? else { return Ok(()) };
    // Two random GUIDs: 244 bits.
    let state = format!("{}{}\n", Uuid::new_v4().simple(), Uuid::new_v4().simple());
    files::write_named(&path, state.as_bytes(), PRIVATE)?;
    tracing::info!(file = %path.display(), "made a random client state");
    Ok(())
}

fn line(subscription: &Subscription) -> String {
    let field = |text: &Option<String>| {
        text.as_deref().map_or_else(|| "-".to_owned(), |text| printable::field(text).to_string())
    };
    format!(
        "{}  until {}  {}  {}",
        printable::field(&subscription.id),
        subscription.expiration_date_time.format("%Y-%m-%d %H:%M:%SZ"),
        printable::field(&subscription.change_type),
        field(&subscription.notification_url),
    )
}
