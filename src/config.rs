//! The configuration: flag before environment before file before default.

mod auth;
mod cloud;
mod place;

use crate::call_logs;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::files::Modes;
use crate::graph::{self, App, AppLimit, Auth, Proof, Url};
use crate::listen;
use crate::notifications;
use crate::simulator;
use crate::subscribe;
use auth::{AuthSection, Environment};
use cloud::Cloud;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::path::{Path, PathBuf};
use std::time::Duration;
use uuid::Uuid;

pub use place::{PLACEHOLDER, Place, places, whole};

/// The end point that starts the simulator inside the process.
pub const SIMULATOR: &str = "simulator";
/// No time of a config is longer: the clock could not count that far.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    source: Source,
    graph: Graph,
    output: Output,
    simulator: simulator::Settings,
    subscription: subscribe::Settings,
    listen: listen::Settings,
    logs: call_logs::Settings,
    /// Each makes a config of its own.
    #[serde(rename = "tenant")]
    _tenants: IgnoredAny,
}

/// A secret in a config: no message shows it.
#[derive(Clone, Debug)]
struct Secret(SecretString);

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(SecretString::from(text)))
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Source {
    notifications: OneOrMany,
    client_state: Option<Secret>,
    client_state_file: Option<PathBuf>,
    max_line_bytes: Option<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl Default for OneOrMany {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Graph {
    cloud: Option<String>,
    endpoint: Option<String>,
    requests_per_20s: Option<u32>,
    /// As published for one app in all its tenants.
    app_requests_per_20s: Option<u32>,
    requests_per_record_per_20s: Option<u32>,
    max_concurrency: Option<usize>,
    request_timeout_seconds: Option<f64>,
    backoff_seconds: Option<f64>,
    tries: Option<u32>,
    auth: AuthSection,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Output {
    root: Option<PathBuf>,
    mode: Option<String>,
    batch_records: Option<usize>,
    batch_minutes: Option<f64>,
    merge_parts: Option<usize>,
    threads: Option<usize>,
}

/// Where records come from.
#[derive(Clone, Debug)]
pub enum Endpoint {
    /// Microsoft Graph, or what stands in for it at a URL.
    Graph(Box<graph::Settings>),
    /// The simulator inside the process.
    Simulator(Box<SimulatedGraph>),
}

/// How to fetch from the simulator inside the process.
#[derive(Clone, Debug)]
pub struct SimulatedGraph {
    /// Its settings.
    pub simulator: simulator::Settings,
    tenant_id: String,
    client_id: String,
    client_secret: SecretString,
    template: graph::Settings,
}

impl SimulatedGraph {
    /// The client's settings, once the simulator runs.
    #[must_use]
    pub fn client(&self, endpoint: Url, authority: Url) -> graph::Settings {
        let scope = graph::Settings::default_scope(&endpoint);
        let auth = Auth::App(App {
            authority,
            tenant_id: self.tenant_id.clone(),
            client_id: self.client_id.clone(),
            scope,
            proof: Proof::Secret(self.client_secret.clone()),
        });
        graph::Settings { endpoint, auth, ..self.template.clone() }
    }
}

/// A configuration that was checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file, if there is one.
    pub file: Option<PathBuf>,
    /// The tenant's name in the config, if that has several.
    pub tenant: Option<String>,
    /// The notification log.
    pub source: notifications::Settings,
    /// Where records come from.
    pub endpoint: Endpoint,
    /// Where Graph is to announce records.
    pub subscription: subscribe::Settings,
    /// In words: how tokens are obtained, and by which variables; no value of them.
    pub auth_method: String,
    /// The tenant, if it is named by its GUID.
    pub tenant_id: Option<Uuid>,
    /// The dataset.
    pub root: PathBuf,
    /// Modes of the tables.
    pub modes: Modes,
    /// Records per batch.
    pub batch_records: usize,
    /// Longest time that a batch stays open.
    pub batch_time: Duration,
    /// Parts of like size that are merged.
    pub merge_parts: usize,
    /// Threads that flatten.
    pub threads: usize,
    /// Which telephony logs are collected.
    pub logs: call_logs::Settings,
}

/// What only the dataset's verbs need.
#[derive(Clone, Debug)]
pub struct Storage {
    /// The dataset.
    pub root: PathBuf,
    /// Modes of the tables.
    pub modes: Modes,
    /// Threads that flatten.
    pub threads: usize,
    /// The clock: the system's, or the simulator's.
    pub clock: Clock,
}

/// The file that is to hold the client state and is not there yet.
///
/// # Errors
/// By class configuration, naming the key.
pub fn missing_client_state(place: &Place) -> Result<Option<PathBuf>> {
    let source = place.extract::<File>()?.source;
    let named = source.client_state_file.filter(|_| source.client_state.is_none()).map(|path| place.base().join(path));
    Ok(named.filter(|path| !path.exists()))
}

/// Says what is wrong with which key, and never the value.
fn explain(error: &figment::Error) -> Error {
    use figment::error::Kind;
    let key = error.path.join(".");
    let from = error.metadata.as_ref().map_or("the configuration".to_owned(), |metadata| match &metadata.source {
        Some(figment::Source::File(path)) => path.display().to_string(),
        _ => metadata.name.to_string(),
    });
    match &error.kind {
        Kind::UnknownField(name, known) => {
            let place = if error.path.len() > 1 {
                format!(" in [{}]", error.path[..error.path.len() - 1].join("."))
            } else {
                String::new()
            };
            Error::config(format!("{from} has the unknown key {name}{place}"))
                .hint(format!("known keys are {}", known.join(", ")))
        }
        Kind::MissingField(name) => Error::config(format!("{from} lacks the key {name}")),
        Kind::InvalidType(_, expected) | Kind::InvalidValue(_, expected) => {
            Error::config(format!("{from}: {key} must be {expected}"))
        }
        Kind::Message(text) if key.is_empty() => {
            Error::config(format!("{from} is not valid TOML: {}", text.lines().next().unwrap_or_default()))
        }
        _ => Error::config(format!("{from}: the value of {key} cannot be used")),
    }
}

impl Config {
    /// Loads and checks everything that a run needs.
    ///
    /// # Errors
    /// By class configuration, naming the key and what to do.
    pub fn load(place: &Place) -> Result<Self> {
        let raw: File = place.extract()?;
        let base = place.base().to_owned();
        let storage = storage(&raw, &base)?;
        let simulated = raw.graph.endpoint.as_deref() == Some(SIMULATOR);
        let auth = &raw.graph.auth;
        // What Azure's own tools read fills the gaps of a config, but never
        // turns a simulated run into a real one.
        let azure = |name: &str| if simulated { None } else { environment(name) };
        let tenant_id = auth
            .tenant(&Environment::new(&azure))
            .as_deref()
            .and_then(|t| Uuid::try_parse(t).ok())
            .or(simulated.then_some(raw.simulator.tenant_id));
        let source = source(&raw.source, tenant_id, &base)?;
        let azure = Environment::new(&azure);
        let cloud = Cloud::named(raw.graph.cloud.as_deref())?;
        let (endpoint, method) = if simulated {
            if auth.method.as_deref().is_some_and(|method| !matches!(method, "auto" | "client-secret")) {
                return Err(Error::config("[graph] endpoint simulator takes no other method than client-secret")
                    .hint("start `callrec simulate` and give its address to try another one"));
            }
            let mut simulator = raw.simulator.clone();
            simulator.resolve(&base);
            let template = client_settings(
                &raw.graph,
                url("[graph] endpoint", cloud.graph)?,
                Auth::Bearer(SecretString::from("")),
            )?;
            let secret = auth.client_secret(&base, &azure)?;
            let simulated = Endpoint::Simulator(Box::new(SimulatedGraph {
                tenant_id: auth.tenant(&azure).unwrap_or_else(|| simulator.tenant_id.to_string()),
                client_id: auth.client(&azure).unwrap_or_else(|| simulator.client_id.to_string()),
                client_secret: secret.unwrap_or_else(|| SecretString::from(simulator.client_secret.clone())),
                simulator,
                template,
            }));
            (simulated, "client-secret, of the simulator".to_owned())
        } else {
            let root = url("[graph] endpoint", raw.graph.endpoint.as_deref().unwrap_or(cloud.graph))?;
            cloud.check("[graph] endpoint", &root)?;
            let chosen = auth.chosen(&cloud, &base, &azure)?;
            let settings = client_settings(&raw.graph, root, chosen.auth)?;
            settings.validate()?;
            (Endpoint::Graph(Box::new(settings)), chosen.method)
        };
        raw.logs.validate()?;
        Ok(Self {
            file: place.file.clone(),
            tenant: place.tenant.clone(),
            source,
            endpoint,
            subscription: raw.subscription.clone(),
            auth_method: method,
            tenant_id,
            root: storage.root,
            modes: storage.modes,
            batch_records: raw.output.batch_records.unwrap_or(10_000).max(1),
            batch_time: seconds("[output] batch_minutes", raw.output.batch_minutes.map(|m| m * 60.0), 600.0)?,
            merge_parts: raw.output.merge_parts.unwrap_or(8).max(2),
            threads: storage.threads,
            logs: raw.logs,
        })
    }

    /// Lets requests count against a limit that other tenants share.
    pub fn share(&mut self, limit: AppLimit) {
        let settings = match &mut self.endpoint {
            Endpoint::Graph(settings) => &mut **settings,
            Endpoint::Simulator(simulated) => &mut simulated.template,
        };
        settings.app_limit = Some(limit);
    }

    /// The clock that the run goes by: the system's, or the simulator's.
    #[must_use]
    pub fn clock(&self) -> Clock {
        match &self.endpoint {
            Endpoint::Simulator(simulated) => simulated.simulator.now.map_or_else(Clock::system, Clock::pinned),
            Endpoint::Graph(_) => Clock::system(),
        }
    }
}

impl Storage {
    /// Loads what the dataset's verbs need.
    ///
    /// # Errors
    /// By class configuration, naming the key and what to do.
    pub fn load(place: &Place) -> Result<Self> {
        storage(&place.extract()?, place.base())
    }
}

/// Loads what the receiver needs: neither Graph nor a dataset. It takes what any of
/// the tenants would take.
///
/// # Errors
/// By class configuration, naming the key and what to do.
pub fn listen(whole: &Place, tenants: &[Place]) -> Result<(listen::Settings, notifications::Settings)> {
    let mut raw: File = whole.extract()?;
    let mut states: Vec<SecretString> = Vec::new();
    for place in tenants {
        let source = place.extract::<File>()?.source;
        let state = secret(source.client_state.as_ref(), source.client_state_file.as_deref(), place.base())?;
        let is_new = |state: &SecretString| !states.iter().any(|s| s.expose_secret() == state.expose_secret());
        states.extend(state.filter(is_new));
    }
    if !tenants.is_empty() {
        // Theirs where it is shared, and else no file at all.
        (raw.source.client_state, raw.source.client_state_file) = (None, None);
    }
    let mut source = source(&raw.source, None, whole.base())?;
    source.other_client_states = states;
    let settings = raw.listen.resolved(whole.base());
    settings.check(&source)?;
    Ok((settings, source))
}

/// Whether a listener is to renew the subscription: `[subscription]` says where Graph
/// sends to, `[graph.auth]` or a variable how to authenticate, and `[listen] renew`
/// does not forbid it.
///
/// # Errors
/// By class configuration, naming the key.
pub fn renews(place: &Place) -> Result<bool> {
    let raw: File = place.extract()?;
    let simulated = raw.graph.endpoint.as_deref() == Some(SIMULATOR);
    Ok(raw.listen.renew
        && raw.subscription.notification_url.is_some()
        && !simulated
        && raw.graph.auth.names_a_way(&Environment::new(&environment)))
}

/// A variable that is not empty.
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn source(raw: &Source, tenant_id: Option<Uuid>, base: &Path) -> Result<notifications::Settings> {
    let patterns = match &raw.notifications {
        OneOrMany::One(one) => std::slice::from_ref(one),
        OneOrMany::Many(many) => many,
    };
    Ok(notifications::Settings {
        patterns: patterns.iter().map(|pattern| base.join(pattern)).collect(),
        client_state: secret(raw.client_state.as_ref(), raw.client_state_file.as_deref(), base)?,
        other_client_states: Vec::new(),
        tenant_id,
        max_line_bytes: raw.max_line_bytes.unwrap_or(8 << 20),
    })
}

fn storage(raw: &File, base: &Path) -> Result<Storage> {
    let root = raw.output.root.as_ref().ok_or_else(|| {
        Error::config("The configuration lacks [output] root")
            .hint("name the directory of the dataset there or in CALLREC_OUTPUT__ROOT; `callrec init` writes a commented config")
    })?;
    let mode = raw.output.mode.as_deref().unwrap_or("0640");
    let mode = u32::from_str_radix(mode, 8).ok().filter(|m| m & !0o666 == 0 && m & 0o600 == 0o600);
    let mode = mode.ok_or_else(|| {
        Error::config("[output] mode is no mode of a file").hint("give octal digits in quotes, such as \"0640\"")
    })?;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let simulated = raw.graph.endpoint.as_deref() == Some(SIMULATOR);
    Ok(Storage {
        root: base.join(root),
        modes: Modes::shared(mode),
        threads: raw.output.threads.unwrap_or(cores).max(1),
        clock: raw.simulator.now.filter(|_| simulated).map_or_else(Clock::system, Clock::pinned),
    })
}

fn client_settings(raw: &Graph, endpoint: Url, auth: Auth) -> Result<graph::Settings> {
    let mut settings = graph::Settings::new(endpoint, auth);
    settings.requests_per_20s = raw.requests_per_20s.unwrap_or(settings.requests_per_20s);
    settings.requests_per_record_per_20s =
        raw.requests_per_record_per_20s.unwrap_or(settings.requests_per_record_per_20s);
    settings.max_concurrency = raw.max_concurrency.unwrap_or(settings.max_concurrency);
    settings.tries = raw.tries.unwrap_or(settings.tries);
    if raw.app_requests_per_20s == Some(0) {
        return Err(Error::config("[graph] app_requests_per_20s is 0").hint("give at least 1"));
    }
    let timeout = settings.request_timeout.as_secs_f64();
    settings.request_timeout = seconds("[graph] request_timeout_seconds", raw.request_timeout_seconds, timeout)?;
    settings.backoff_base =
        seconds("[graph] backoff_seconds", raw.backoff_seconds, settings.backoff_base.as_secs_f64())?;
    Ok(settings)
}

fn seconds(key: &str, value: Option<f64>, default: f64) -> Result<Duration> {
    Duration::try_from_secs_f64(value.unwrap_or(default)).ok().filter(|d| !d.is_zero() && *d <= LONGEST).ok_or_else(
        || Error::config(format!("{key} is no length of time")).hint("give a number above 0, a year at most"),
    )
}

fn required<T>(value: Option<T>, key: &str, variable: &str) -> Result<T> {
    value.ok_or_else(|| {
        Error::config(format!("The configuration lacks [graph.auth] {key}"))
            .hint(format!("set it in the config or in the environment variable {variable}"))
    })
}

fn secret(value: Option<&Secret>, file: Option<&Path>, base: &Path) -> Result<Option<SecretString>> {
    match (value, file) {
        (Some(value), _) => Ok(Some(value.0.clone())),
        (None, Some(file)) => {
            let path = base.join(file);
            let text = std::fs::read_to_string(&path).map_err(|e| {
                Error::config(format!("Cannot read the secret file {}", path.display()))
                    .hint("check the path and its permissions")
                    .because(e)
            })?;
            Ok(Some(SecretString::from(text.trim_end_matches(['\r', '\n']).to_owned())))
        }
        (None, None) => Ok(None),
    }
}

fn url(key: &str, text: &str) -> Result<Url> {
    Url::parse(text).map_err(|e| {
        Error::config(format!("{key} is no URL"))
            .hint("give scheme and host, such as https://graph.microsoft.com")
            .because(e)
    })
}
