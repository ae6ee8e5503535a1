//! `simulate`.

use super::print;
use crate::cli;
use crate::clock::Clock;
use crate::error::{Class, Error, Result};
use crate::shutdown::Shutdown;
use crate::simulator::{self, Settings, Tls};

pub(super) fn simulate(flags: cli::Simulate) -> Result<u8> {
    let defaults = Settings::default();
    let settings = Settings {
        generate: flags.generate.or(if flags.records.is_none() { Some(100) } else { None }),
        records: flags.records,
        seed: flags.seed,
        now: flags.now,
        begins: flags.begins,
        latency_ms: flags.latency_ms,
        faults: flags.faults,
        lasting_faults: flags.lasting_faults,
        port: flags.port,
        throttle: !flags.no_limits,
        keep_answers: flags.keep_answers,
        later_percent: flags.later_percent,
        withhold_percent: flags.withhold_percent,
        repeat_percent: flags.repeat_percent,
        tls: flags.tls_cert.zip(flags.tls_key).map(|(certificate, key)| Tls { certificate, key }),
        certificate: flags.certificate,
        federated_issuer: flags.federated_issuer,
        max_sessions: flags.max_sessions.unwrap_or(defaults.max_sessions),
        ..defaults
    };
    let clock = settings.now.map_or_else(Clock::system, Clock::pinned);
    if let Some(path) = &flags.write {
        let written = simulator::write_records(&settings, path, clock)?;
        return print(&format!("wrote {written} records to {}", path.display()));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Error::new(Class::Io, "Cannot start the runtime").because(e))?;
    runtime.block_on(async {
        let mut shutdown = Shutdown::listen();
        let simulator = simulator::start(settings.clone(), clock).await?;
        let ids = simulator.ids();
        if let Some(path) = &flags.log {
            let ids = ids.iter().map(String::as_str);
            let written = simulator::write_notification_log(&settings, ids, path)?;
            tracing::info!(notifications = written, file = %path.display(), "wrote the notification log");
        }
        print(&format!(
            "# {} records; stop with Ctrl-C. A config for them:\n[source]\nnotifications = [\"{}\"]\nclient_state = \"{}\"\n\n[graph]\nendpoint = \"{}\"\n\n[graph.auth]\nauthority = \"{}\"\ntenant_id = \"{}\"\nclient_id = \"{}\"\n{}\n\n[output]\nroot = \"out\"",
            ids.len(),
            flags.log.as_deref().unwrap_or(std::path::Path::new("events.jsonl")).display(),
            settings.client_state,
            simulator.endpoint().as_str().trim_end_matches('/'),
            simulator.authority().as_str().trim_end_matches('/'),
            settings.tenant_id,
            settings.client_id,
            credential(&settings),
        ))?;
        shutdown.requested().await;
        let counts = simulator.counts();
        tracing::info!(
            requests = counts.requests,
            over_http2 = counts.over_http2,
            gzip = counts.gzip,
            throttled = counts.throttled,
            "the simulator ends"
        );
        Ok(shutdown.exit_code().unwrap_or(0))
    })
}

/// The lines of a config with what the simulator takes for a credential.
fn credential(settings: &Settings) -> String {
    if settings.certificate.is_some() {
        "# The certificate together with its private key:\ncertificate_file = \"app.pem\"".to_owned()
    } else if settings.federated_issuer.is_some() {
        format!(
            "# A JWT for api://AzureADTokenExchange with the subject {}:\nfederated_token_file = \"token\"",
            settings.federated_subject
        )
    } else {
        format!("client_secret = \"{}\"", settings.client_secret)
    }
}
