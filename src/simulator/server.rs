//! The HTTP server.

use super::answer;
use super::call_logs::{self, CallLogs};
use super::faults::{self, Strike, TokenFault};
use super::hostile::{self, AsksFor, Hold};
use super::identity;
use super::kept::Kept;
use super::pages::{Asked, boxed};
use super::proof::Proofs;
use super::settings::Settings;
use super::store::Store;
use super::subscriptions::{self, Subscriptions};
use super::tenants::Tenants;
use super::throttle::{Scope, Throttle};
use super::tls;
use super::wire::{Handle, Raw, Watch, Wires};
use crate::clock::Clock;
use crate::error::{Class, Error, Result};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, Method, Response, Uri, Version, header};
use chrono::{DateTime, Utc};
use reqwest::Url;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// The wait that a tenant is asked for to whom nothing is served.
const LONG: Duration = Duration::from_secs(3600);

pub(super) const ROOT: &str = "/v1.0/communications/callRecords";

/// How often the simulator was asked for what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All requests but those for tokens.
    pub requests: u64,
    /// First pages of a record.
    pub records: u64,
    /// Further pages.
    pub pages: u64,
    /// Records asked for with `$select`.
    pub selects: u64,
    /// Pages of the list.
    pub lists: u64,
    /// Tokens.
    pub tokens: u64,
    /// Answers with 429.
    pub throttled: u64,
    /// Requests over HTTP/2.
    pub over_http2: u64,
    /// Answers as gzip.
    pub gzip: u64,
    /// Connections to the foreign host of broken links.
    pub foreign: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    requests: AtomicU64,
    pub(super) records: AtomicU64,
    pub(super) pages: AtomicU64,
    pub(super) selects: AtomicU64,
    pub(super) lists: AtomicU64,
    pub(super) tokens: AtomicU64,
    throttled: AtomicU64,
    over_http2: AtomicU64,
    gzip: AtomicU64,
    foreign: AtomicU64,
}

/// What all requests share.
pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) clock: Mutex<Clock>,
    pub(super) subscriptions: Subscriptions,
    pub(super) base: String,
    pub(super) foreign_port: u16,
    pub(super) store: Mutex<Store>,
    pub(super) call_logs: Mutex<CallLogs>,
    throttle: Mutex<Throttle>,
    /// What all tenants of the app count in.
    app: Arc<Mutex<Throttle>>,
    attempts: Mutex<HashMap<String, u32>>,
    /// Good tokens, and how often each was used.
    pub(super) tokens: Mutex<HashMap<String, u64>>,
    pub(super) proofs: Proofs,
    pub(super) counters: Counters,
    pub(super) kept: Kept,
    watch: Arc<Watch>,
}

/// A running simulator; it stops when it is dropped.
pub struct Simulator {
    shared: Arc<Shared>,
    tenants: Arc<Tenants>,
    server: JoinHandle<()>,
    foreign: JoinHandle<()>,
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.server.abort();
        self.foreign.abort();
    }
}

/// Starts a simulator on loopback; to be called inside a runtime.
///
/// # Errors
/// By class configuration when the records cannot be read, by class I/O when
/// the port is taken.
pub async fn start(settings: Settings, clock: Clock) -> Result<Simulator> {
    let fail = |e| Error::new(Class::Io, "Cannot open a port on loopback").hint("name a free port, or 0").because(e);
    let listener = TcpListener::bind(("127.0.0.1", settings.port)).await.map_err(fail)?;
    let elsewhere = TcpListener::bind(("127.0.0.1", 0)).await.map_err(fail)?;
    let acceptor = settings.tls.as_ref().map(tls::acceptor).transpose()?;
    let scheme = if acceptor.is_some() { "https" } else { "http" };
    let base = format!("{scheme}://{}", listener.local_addr().map_err(fail)?);
    let foreign_port = elsewhere.local_addr().map_err(fail)?.port();
    let (app, watch) = (Arc::default(), Arc::default());
    let tenant = |settings: Settings| {
        Ok(Arc::new(Shared {
            store: Mutex::new(Store::open(&settings, clock)?),
            proofs: Proofs::open(&settings)?,
            call_logs: Mutex::new(CallLogs::new(&settings, clock.now())),
            clock: Mutex::new(settings.begins.map_or(clock, Clock::pinned)),
            settings,
            subscriptions: Subscriptions::default(),
            base: base.clone(),
            foreign_port,
            throttle: Mutex::default(),
            app: Arc::clone(&app),
            attempts: Mutex::default(),
            tokens: Mutex::default(),
            counters: Counters::default(),
            kept: Kept::default(),
            watch: Arc::clone(&watch),
        }))
    };
    let tenants = Arc::new(Tenants(settings.of_tenants().map(tenant).collect::<Result<_>>()?));
    let shared = tenants.0[0].clone();
    let router = Router::new().fallback(answer_one).with_state(tenants.clone());
    let router = router.into_make_service_with_connect_info::<Handle>();
    let wires = Wires::new(listener, acceptor, shared.watch.clone());
    let server = tokio::spawn(async move {
        // It ends only with the task.
        let _ = axum::serve(wires, router).await;
    });
    let counted = shared.clone();
    let foreign = tokio::spawn(async move {
        while elsewhere.accept().await.is_ok() {
            counted.counters.foreign.fetch_add(1, Ordering::Relaxed);
        }
    });
    Ok(Simulator { shared, tenants, server, foreign })
}

impl Simulator {
    /// The root of Graph.
    ///
    /// # Panics
    /// Never: the address was bound.
    #[must_use]
    pub fn endpoint(&self) -> Url {
        Url::parse(&self.shared.base).expect("a bound address makes a URL")
    }

    /// The root of the token service: the same.
    #[must_use]
    pub fn authority(&self) -> Url {
        self.endpoint()
    }

    /// How often it was asked for what; of several tenants for what of the first.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts_of(0)
    }

    /// The ids of all records of a tenant; the first has the number 0.
    ///
    /// # Panics
    /// When there is no such tenant.
    #[must_use]
    pub fn ids_of(&self, tenant: usize) -> Vec<String> {
        lock(&self.tenants.0[tenant].store).ids()
    }

    /// How often a tenant was asked for what.
    ///
    /// # Panics
    /// When there is no such tenant.
    #[must_use]
    pub fn counts_of(&self, tenant: usize) -> Counts {
        let c = &self.tenants.0[tenant].counters;
        let get = |n: &AtomicU64| n.load(Ordering::Relaxed);
        Counts {
            requests: get(&c.requests),
            records: get(&c.records),
            pages: get(&c.pages),
            selects: get(&c.selects),
            lists: get(&c.lists),
            tokens: get(&c.tokens),
            throttled: get(&c.throttled),
            over_http2: get(&c.over_http2),
            gzip: get(&c.gzip),
            foreign: get(&c.foreign),
        }
    }

    /// A record appears, or a later version of one.
    ///
    /// # Errors
    /// By class usage when the bytes are not JSON, or name an unknown fault.
    pub fn update(&self, record: &[u8]) -> Result<()> {
        let value = serde_json::from_slice(record).map_err(|e| Error::usage("The record is not JSON").because(e))?;
        let added = lock(&self.shared.store).add(value);
        self.shared.kept.forget();
        added
    }

    /// The rows of the log that `function` serves; of the dial-out report the calls
    /// that it adds up.
    #[must_use]
    pub fn log_rows(&self, function: &str) -> Vec<serde_json::Value> {
        lock(&self.shared.call_logs).rows(function)
    }

    /// A row of a log appears, or another form of the one with its id. Whether
    /// there is such a log.
    pub fn put_log_row(&self, function: &str, row: serde_json::Value) -> bool {
        lock(&self.shared.call_logs).put(function, row)
    }

    /// Strikes each URL of a log with a fault, so many times. Whether there is such
    /// a log and such a fault.
    pub fn strike_log(&self, function: &str, fault: &str, times: Option<u32>) -> bool {
        Strike::named(fault, times).is_some_and(|strike| lock(&self.shared.call_logs).strike(function, strike))
    }

    /// The ids of all records.
    #[must_use]
    pub fn ids(&self) -> Vec<String> {
        self.ids_of(0)
    }

    /// What strikes the record `id`.
    #[must_use]
    pub fn strike(&self, id: &str) -> Option<Strike> {
        self.shared.strike(id)
    }

    /// When requests for records came; of many, the last million.
    #[must_use]
    pub fn arrivals(&self) -> Vec<Instant> {
        self.shared.watch.arrivals()
    }

    /// When answers that asked for a wait were written whole, and for how long a
    /// wait they asked.
    #[must_use]
    pub fn windows(&self) -> Vec<(Instant, Duration)> {
        self.shared.watch.windows()
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn answer_one(
    State(tenants): State<Arc<Tenants>>,
    ConnectInfo(connection): ConnectInfo<Handle>,
    method: Method,
    uri: Uri,
    version: Version,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let shared = tenants.of(&uri, &headers);
    let of_token = method == Method::POST && uri.path().ends_with("/oauth2/v2.0/token");
    let of_identity = method == Method::GET && matches!(uri.path(), identity::IMDS | identity::APP_SERVICE);
    if !of_token && !of_identity {
        shared.watch.arrived();
        shared.counters.over_http2.fetch_add(u64::from(version == Version::HTTP_2), Ordering::Relaxed);
    }
    if shared.settings.latency_ms > 0 {
        tokio::time::sleep(Duration::from_millis(shared.settings.latency_ms)).await;
    }
    let mut response = if of_token {
        shared.token(uri.path(), &body)
    } else if uri.path().starts_with(subscriptions::PATH) {
        shared.subscription(&method, uri.path(), &headers, &body).await
    } else if method == Method::POST && uri.path() == subscriptions::CLOCK {
        subscriptions::go_on(&tenants.0, &headers, &body).await
    } else if of_identity {
        shared.identity(&uri, &headers)
    } else if let Some(response) = shared.kept(&method, &uri, &headers) {
        response
    } else {
        shared.counters.requests.fetch_add(1, Ordering::Relaxed);
        // Big records are made and compressed beside the threads that serve.
        let server = Arc::clone(shared);
        let serve = move || server.graph(&method, &uri, version, &headers);
        tokio::task::spawn_blocking(serve).await.unwrap_or_default()
    };
    if let Some(Hold(time)) = response.extensions_mut().remove() {
        tokio::time::sleep(time).await;
        if version == Version::HTTP_2 {
            return hostile::broken_off(Vec::new());
        }
    }
    if let Some(raw) = response.extensions_mut().remove::<Raw>() {
        connection.send(raw);
    }
    if let Some(AsksFor(wait)) = response.extensions_mut().remove() {
        connection.asks_for(wait);
    }
    let is_gzip = response.headers().contains_key(header::CONTENT_ENCODING);
    shared.counters.gzip.fetch_add(u64::from(is_gzip), Ordering::Relaxed);
    response
}

impl Shared {
    /// The time that is served.
    pub(super) fn now(&self) -> DateTime<Utc> {
        lock(&self.clock).now()
    }

    pub(super) fn strike(&self, id: &str) -> Option<Strike> {
        let hinted = lock(&self.store).get(id, self.now()).and_then(|stored| stored.strike);
        hinted.or_else(|| faults::of_record(&self.settings, id))
    }

    /// An answer that was made before, if it is kept.
    fn kept(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Option<Response<Body>> {
        if !self.settings.keep_answers || method != Method::GET {
            return None;
        }
        let served = self.kept.get(uri.path_and_query()?.as_str(), headers)?;
        if !self.is_authorised(headers) {
            return None;
        }
        self.counters.requests.fetch_add(1, Ordering::Relaxed);
        Some(answer::ok(served, headers))
    }

    /// How long a request is to wait, by the limits that it counts against.
    fn wait(&self, scopes: &[Scope]) -> Option<Duration> {
        if self.settings.refuses_all {
            return Some(LONG);
        }
        let now = Instant::now();
        let counted = self.settings.throttle.then(|| {
            let app = lock(&self.app).count(&[Scope::App(self.settings.app_limit)], now);
            app.max(lock(&self.throttle).count(scopes, now))
        });
        counted.flatten()
    }

    fn graph(&self, method: &Method, uri: &Uri, version: Version, headers: &HeaderMap) -> Response<Body> {
        if method != Method::GET {
            return answer::error(405, "MethodNotAllowed", headers);
        }
        let url = uri.path_and_query().map(ToString::to_string).unwrap_or_default();
        let attempt = {
            let mut attempts = lock(&self.attempts);
            let attempt = attempts.entry(url.clone()).or_insert(0);
            *attempt += 1;
            *attempt - 1
        };
        let query: HashMap<String, String> = Url::parse(&format!("http://x/?{}", uri.query().unwrap_or_default()))
            .map(|url| url.query_pairs().into_owned().collect())
            .unwrap_or_default();
        let log = call_logs::Asked::of(uri.path());
        let Some(path) = uri.path().strip_prefix(ROOT).or(log.as_ref().map(|_| "")) else {
            return answer::error(404, "ResourceNotFound", headers);
        };
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let scopes = log.as_ref().map_or_else(
            || vec![Scope::Tenant, parts.first().map_or(Scope::List, |id| Scope::Record((*id).to_owned()))],
            call_logs::Asked::scopes,
        );
        if let Some(wait) = self.wait(&scopes) {
            self.counters.throttled.fetch_add(1, Ordering::Relaxed);
            let wait = wait + Duration::from_millis(1);
            return hostile::asks_for(429, &format!("{:.3}", wait.as_secs_f64()), Some(wait), headers);
        }
        let strike = match &log {
            Some(log) => self.strike_of_log(log.function()),
            None => parts.first().and_then(|id| self.strike(id)),
        };
        let struck = strike.filter(|strike| strike.strikes(attempt));
        if let Some(answer) = struck.and_then(|strike| self.instead(&strike, uri.path(), headers)) {
            return answer;
        }
        if !self.is_authorised(headers) {
            return answer::error(401, "InvalidAuthenticationToken", headers);
        }
        if self.settings.token_fault == Some(TokenFault::NoRole) {
            return answer::error(403, "Forbidden", headers);
        }
        let asked = |id| Asked { id, query: &query, headers, strike, is_struck: struck.is_some(), url: &url };
        let answer = match (parts.as_slice(), &log) {
            (_, Some(log)) => self.call_log(log, &query, struck, headers),
            ([], _) => self.list(&query, headers),
            ([id], _) => self.record(&asked(id)),
            ([id, name @ ("sessions" | "participants_v2")], _) => self.sub_collection(&asked(id), name),
            _ => Err(boxed(404, "ResourceNotFound", headers)),
        };
        match answer {
            Ok(value) => {
                if let Some(spoilt) = struck.and_then(|strike| hostile::spoilt(&strike, version, &value)) {
                    return spoilt;
                }
                let served = answer::made(value, headers);
                if self.settings.keep_answers && strike.is_none() && !self.settings.throttle {
                    self.kept.put(&url, headers, served.clone());
                }
                answer::ok(served, headers)
            }
            Err(response) => *response,
        }
    }
}
