//! `simulate`.

use super::print;
use crate::cli;
use crate::clock::Clock;
use crate::error::{Class, Error, Result};
use crate::shutdown::Shutdown;
use crate::simulator::{self, Settings, Simulator, Tls};

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
        tenants: flags.tenants_of_app,
        troubles: flags.tenant_trouble.into_iter().collect(),
        pstn_calls: flags.pstn_calls,
        direct_routing_calls: flags.direct_routing_calls,
        sms: flags.sms,
        dialout_calls: flags.dialout_calls,
        log_days: flags.log_days,
        app_limit: flags.app_limit.unwrap_or(defaults.app_limit),
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
        let tenants: Vec<Vec<String>> = (0..settings.tenants).map(|tenant| simulator.ids_of(tenant as usize)).collect();
        if let Some(path) = &flags.log {
            let mut written = 0;
            for (tenant, ids) in (0..).zip(&tenants) {
                let settings = Settings { tenant_id: settings.id_of_tenant(tenant), ..settings.clone() };
                written += simulator::write_notification_log(&settings, ids.iter().map(String::as_str), path)?;
            }
            tracing::info!(notifications = written, file = %path.display(), "wrote the notification log");
        }
        let records: usize = tenants.iter().map(Vec::len).sum();
        let log = flags.log.as_deref().unwrap_or(std::path::Path::new("events.jsonl"));
        print(&format!(
            "# {records} records; stop with Ctrl-C. A config for them:\n{}",
            config(&settings, &simulator, log)
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

/// A config with which the simulator's records are fetched.
fn config(settings: &Settings, simulator: &Simulator, log: &std::path::Path) -> String {
    let several = settings.tenants > 1;
    let mut lines = vec![
        "[source]".to_owned(),
        format!("notifications = [\"{}\"]", log.display()),
        format!("client_state = \"{}\"\n", settings.client_state),
        "[graph]".to_owned(),
        format!("endpoint = \"{}\"\n", simulator.endpoint().as_str().trim_end_matches('/')),
        "[graph.auth]".to_owned(),
        format!("authority = \"{}\"", simulator.authority().as_str().trim_end_matches('/')),
    ];
    let id = |tenant| format!("tenant_id = \"{}\"", settings.id_of_tenant(tenant));
    lines.extend((!several).then(|| id(0)));
    lines.push(format!("client_id = \"{}\"", settings.client_id));
    lines.push(format!("{}\n", credential(settings)));
    lines.push("[output]\nroot = \"out\"".to_owned());
    for tenant in (0..settings.tenants).filter(|_| several) {
        lines.push(format!("\n[[tenant]]\nname = \"tenant-{:03}\"\ngraph.auth.{}", tenant + 1, id(tenant)));
    }
    lines.join("\n")
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
