//! `listen`.

use super::{Global, subscribe};
use crate::clock::Clock;
use crate::config;
use crate::error::{Class, Error, Result};
use crate::listen::Listener;
use crate::renewal::Renewal;
use crate::shutdown::Shutdown;

pub(super) fn listen(global: &Global) -> Result<u8> {
    let whole = config::whole(global.config.as_deref())?;
    let tenants: Vec<_> = global.places()?.into_iter().filter(|place| place.tenant.is_some()).collect();
    // Graph asks the receiver before it makes a subscription: this process may be the first.
    let places = if tenants.is_empty() { std::slice::from_ref(&whole) } else { &tenants[..] };
    for place in places {
        subscribe::make_client_state(place)?;
    }
    let (settings, source) = config::listen(&whole, &tenants)?;
    let renewal = Renewal::configured(places, Clock::system())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Error::new(Class::Io, "Cannot start the runtime").because(e))?;
    runtime.block_on(async {
        let mut shutdown = Shutdown::listen();
        let listener = Listener::start(&settings, source, Clock::system()).await?;
        if let Some(address) = listener.metrics_address()? {
            tracing::info!(%address, "serving /healthz and /metrics");
        }
        let (address, scheme) = (listener.address()?, if settings.tls_key.is_some() { "https" } else { "http" });
        tracing::info!(%address, scheme, directory = %settings.directory.display(), "taking notifications");
        // Now, for Graph may ask this receiver before it makes a subscription anew.
        let renewing = renewal.map(|renewal| tokio::spawn(renewal.run(listener.subscription())));
        let served = listener.serve(async { shutdown.requested().await }).await;
        if let Some(renewing) = renewing {
            renewing.abort();
        }
        served?;
        tracing::info!("all that was answered with 202 is in the log");
        Ok(shutdown.exit_code().unwrap_or(0))
    })
}
