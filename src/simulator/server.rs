//! The HTTP server.

use super::answer;
use super::faults::{self, Fault};
use super::list;
use super::settings::Settings;
use super::store::{Store, Stored};
use super::throttle::{Scope, Throttle};
use crate::clock::Clock;
use crate::error::{Class, Error, Result};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, Response, Uri, header};
use reqwest::Url;
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

const ROOT: &str = "/v1.0/communications/callRecords";
const SESSIONS: usize = 60;
const PARTICIPANTS: usize = 130;
const TOKEN_SECONDS: u64 = 3599;

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
    /// Connections to the foreign host of broken links.
    pub foreign: u64,
}

#[derive(Debug, Default)]
struct Counters {
    requests: AtomicU64,
    records: AtomicU64,
    pages: AtomicU64,
    selects: AtomicU64,
    lists: AtomicU64,
    tokens: AtomicU64,
    throttled: AtomicU64,
    foreign: AtomicU64,
}

struct Shared {
    settings: Settings,
    clock: Clock,
    base: String,
    foreign: String,
    store: Mutex<Store>,
    throttle: Mutex<Throttle>,
    attempts: Mutex<HashMap<String, u32>>,
    tokens: Mutex<HashSet<String>>,
    counters: Counters,
}

/// A running simulator; it stops when it is dropped.
pub struct Simulator {
    shared: Arc<Shared>,
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
    let base = format!("http://{}", listener.local_addr().map_err(fail)?);
    let foreign = format!("http://{}", elsewhere.local_addr().map_err(fail)?);
    let store = Mutex::new(Store::open(&settings, clock)?);
    let shared = Arc::new(Shared {
        settings,
        clock,
        base,
        foreign,
        store,
        throttle: Mutex::default(),
        attempts: Mutex::default(),
        tokens: Mutex::default(),
        counters: Counters::default(),
    });
    let router = Router::new().fallback(answer_one).with_state(shared.clone());
    let server = tokio::spawn(async move {
        // It ends only with the task.
        let _ = axum::serve(listener, router).await;
    });
    let counted = shared.clone();
    let foreign = tokio::spawn(async move {
        while elsewhere.accept().await.is_ok() {
            counted.counters.foreign.fetch_add(1, Ordering::Relaxed);
        }
    });
    Ok(Simulator { shared, server, foreign })
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

    /// How often it was asked for what.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let c = &self.shared.counters;
        let get = |n: &AtomicU64| n.load(Ordering::Relaxed);
        Counts {
            requests: get(&c.requests),
            records: get(&c.records),
            pages: get(&c.pages),
            selects: get(&c.selects),
            lists: get(&c.lists),
            tokens: get(&c.tokens),
            throttled: get(&c.throttled),
            foreign: get(&c.foreign),
        }
    }

    /// A record appears, or a later version of one.
    ///
    /// # Errors
    /// By class usage when the bytes are not JSON.
    pub fn update(&self, record: &[u8]) -> Result<()> {
        let value = serde_json::from_slice(record).map_err(|e| Error::usage("The record is not JSON").because(e))?;
        lock(&self.shared.store).add(value);
        Ok(())
    }

    /// The ids of all records.
    #[must_use]
    pub fn ids(&self) -> Vec<String> {
        lock(&self.shared.store).ids()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn answer_one(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    if shared.settings.latency_ms > 0 {
        tokio::time::sleep(Duration::from_millis(shared.settings.latency_ms)).await;
    }
    if method == Method::POST && uri.path().ends_with("/oauth2/v2.0/token") {
        return shared.token(uri.path(), &body);
    }
    shared.counters.requests.fetch_add(1, Ordering::Relaxed);
    // Big records are made and compressed beside the threads that serve.
    let serve = move || shared.graph(&method, &uri, &headers);
    tokio::task::spawn_blocking(serve).await.unwrap_or_default()
}

/// A request for a record or one of its lists.
struct Asked<'a> {
    id: &'a str,
    query: HashMap<String, String>,
    headers: &'a HeaderMap,
    attempt: u32,
    url: String,
}

impl Asked<'_> {
    fn skip(&self) -> usize {
        self.query.get("$skiptoken").and_then(|s| s.parse().ok()).unwrap_or(0)
    }

    fn size(&self, most: usize) -> usize {
        let preferences = self.headers.get_all("prefer").iter().filter_map(|v| v.to_str().ok());
        preferences
            .flat_map(|p| p.split(','))
            .filter_map(|p| p.trim().strip_prefix("odata.maxpagesize=")?.parse().ok())
            .find(|size| (1..=most).contains(size))
            .unwrap_or(most)
    }
}

impl Shared {
    fn token(&self, path: &str, body: &[u8]) -> Response<Body> {
        self.counters.tokens.fetch_add(1, Ordering::Relaxed);
        let form: HashMap<String, String> = Url::parse(&format!("http://x/?{}", String::from_utf8_lossy(body)))
            .map(|url| url.query_pairs().into_owned().collect())
            .unwrap_or_default();
        let is = |name: &str, value: &str| form.get(name).is_some_and(|given| given == value);
        let refuse = |status: u16, error: &str, code: u32| {
            let body = json!({"error": error, "error_description": format!("AADSTS{code}: The simulator says so."), "error_codes": [code]});
            let builder = Response::builder().status(status).header(header::CONTENT_TYPE, "application/json");
            builder.body(Body::from(body.to_string())).unwrap_or_default()
        };
        if !path.starts_with(&format!("/{}/", self.settings.tenant_id)) {
            return refuse(400, "invalid_request", 90002);
        }
        if !is("grant_type", "client_credentials") || !form.get("scope").is_some_and(|s| s.ends_with("/.default")) {
            return refuse(400, "invalid_scope", 70011);
        }
        if !is("client_id", &self.settings.client_id.to_string()) {
            return refuse(400, "unauthorized_client", 700_016);
        }
        if !is("client_secret", &self.settings.client_secret) {
            return refuse(401, "invalid_client", 7_000_215);
        }
        let token = format!("simulated-{}", uuid::Uuid::new_v4());
        lock(&self.tokens).insert(token.clone());
        let body = json!({"token_type": "Bearer", "expires_in": TOKEN_SECONDS, "access_token": token});
        let builder = Response::builder().header(header::CONTENT_TYPE, "application/json");
        builder.body(Body::from(body.to_string())).unwrap_or_default()
    }

    fn is_authorised(&self, headers: &HeaderMap) -> bool {
        let token =
            headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()).and_then(|v| v.strip_prefix("Bearer "));
        token.is_some_and(|token| lock(&self.tokens).contains(token))
    }

    fn graph(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Response<Body> {
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
        let Some(path) = uri.path().strip_prefix(ROOT) else {
            return answer::error(404, "ResourceNotFound", headers);
        };
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let mut scopes = vec![Scope::Tenant];
        scopes.push(parts.first().map_or(Scope::List, |id| Scope::Record((*id).to_owned())));
        if let Some(wait) =
            self.settings.throttle.then(|| lock(&self.throttle).count(&scopes, Instant::now())).flatten()
        {
            self.counters.throttled.fetch_add(1, Ordering::Relaxed);
            return retry_after(429, &format!("{:.3}", wait.as_secs_f64() + 0.001), headers);
        }
        let fault = self.settings.faults.then(|| faults::transient(self.settings.seed, &url, attempt)).flatten();
        if let Some(answer) = fault.and_then(|fault| self.faulty(fault, headers)) {
            return answer;
        }
        if !self.is_authorised(headers) {
            return answer::error(401, "InvalidAuthenticationToken", headers);
        }
        let asked = |id| Asked { id, query: query.clone(), headers, attempt, url: url.clone() };
        let answer = match parts.as_slice() {
            [] => self.list(&query, headers),
            [id] => self.record(&asked(id)),
            [id, "sessions"] => self.sub_collection(&asked(id), "sessions", SESSIONS),
            [id, "participants_v2"] => self.sub_collection(&asked(id), "participants_v2", PARTICIPANTS),
            _ => Err(boxed(404, "ResourceNotFound", headers)),
        };
        match answer {
            Ok(value) if fault == Some(Fault::Cut) => answer::cut(value),
            Ok(value) => answer::ok(value, headers),
            Err(response) => *response,
        }
    }

    /// The whole answer of a fault that hides the record.
    fn faulty(&self, fault: Fault, headers: &HeaderMap) -> Option<Response<Body>> {
        Some(match fault {
            Fault::RetrySeconds => retry_after(429, "1", headers),
            Fault::RetryFraction => retry_after(429, "0.128", headers),
            Fault::RetryDate => {
                let at = self.clock.now() + chrono::TimeDelta::seconds(1);
                let mut response = retry_after(503, &httpdate::fmt_http_date(at.into()), headers);
                if let Ok(date) = HeaderValue::from_str(&httpdate::fmt_http_date(self.clock.now().into())) {
                    response.headers_mut().insert(header::DATE, date);
                }
                response
            }
            Fault::Status(status) => answer::error(status, "ServiceUnavailable", headers),
            Fault::Html => answer::html(),
            Fault::ErrorIn200 => {
                let mut response = answer::error(500, "InternalServerError", headers);
                *response.status_mut() = axum::http::StatusCode::OK;
                response
            }
            // Only the first token ends early: a token that was issued just now and
            // is refused is another matter, which ends a run.
            Fault::Expired if self.counters.tokens.load(Ordering::Relaxed) <= 1 => {
                lock(&self.tokens).clear();
                answer::error(401, "InvalidAuthenticationToken", headers)
            }
            Fault::Redirect => {
                let mut response = answer::error(302, "Found", headers);
                if let Ok(to) = HeaderValue::from_str(&self.foreign) {
                    response.headers_mut().insert(header::LOCATION, to);
                }
                response
            }
            _ => return None,
        })
    }

    fn stored(&self, asked: &Asked<'_>) -> Result<Stored, Refusal> {
        let stored = lock(&self.store).get(asked.id);
        let stored = stored.filter(|stored| stored.is_there(self.clock.now()));
        let stored = stored.ok_or_else(|| Box::new(answer::error(404, "NotFound", asked.headers)))?;
        match stored.status {
            Some(status) => Err(boxed(status, "Refused", asked.headers)),
            None => Ok(stored),
        }
    }

    fn record(&self, asked: &Asked<'_>) -> Result<Value, Refusal> {
        let stored = self.stored(asked)?;
        let mut members = (*stored.members).clone();
        let sessions = members.shift_remove("sessions");
        let participants = members.shift_remove("participants_v2");
        let context = format!("{}/v1.0/$metadata#communications/callRecords/$entity", self.base);
        members.shift_insert(0, "@odata.context".to_owned(), json!(context));
        if let Some(names) = asked.query.get("$select") {
            self.counters.selects.fetch_add(1, Ordering::Relaxed);
            answer::select(&mut members, names);
            return Ok(Value::Object(members));
        }
        self.counters.records.fetch_add(1, Ordering::Relaxed);
        let (name, list, size) = match asked.query.get("$expand").map(String::as_str) {
            None => return Ok(Value::Object(members)),
            Some("sessions($expand=segments)") => ("sessions", sessions, SESSIONS),
            Some("sessions") => ("sessions", sessions.map(without_segments), SESSIONS),
            Some("participants_v2") => ("participants_v2", participants, PARTICIPANTS),
            Some(_) => return Err(boxed(400, "BadRequest", asked.headers)),
        };
        let fault =
            self.settings.faults.then(|| faults::of_list(self.settings.seed, &asked.url, asked.attempt)).flatten();
        if fault == Some(Fault::OtherVersion) {
            members.insert("version".to_owned(), json!(stored.version - 1));
        }
        let Some(Value::Array(list)) = list else {
            if let Some(other) = list {
                members.insert(name.to_owned(), other);
            }
            return Ok(Value::Object(members));
        };
        let size = asked.size(size);
        if list.len() > size {
            let link = self.link(asked, name, size, fault);
            members.insert(format!("{name}@odata.nextLink"), json!(link));
        }
        members.insert(format!("{name}@odata.context"), json!(format!("{}/v1.0/$metadata#{name}", self.base)));
        members.insert(name.to_owned(), list.into_iter().take(size).collect());
        Ok(Value::Object(members))
    }

    fn link(&self, asked: &Asked<'_>, name: &str, skip: usize, fault: Option<Fault>) -> String {
        let expand = if name == "sessions" { "$expand=segments&" } else { "" };
        let path = format!("{ROOT}/{}/{name}", asked.id);
        match fault {
            Some(Fault::BrokenLink) => {
                format!("{}/v1.0/$metadata#communications/callRecords('{}')/{name}?$skiptoken=abc", self.base, asked.id)
            }
            Some(Fault::Loop) => format!("{}{}", self.base, asked.url),
            Some(Fault::ForeignLink) => format!("{}{path}?{expand}$skiptoken={skip}", self.foreign),
            Some(Fault::Overlap) => format!("{}{path}?{expand}$skiptoken={}", self.base, skip - 1),
            Some(Fault::EmptyPage) => format!("{}{path}?{expand}empty=1&$skiptoken={skip}", self.base),
            _ => format!("{}{path}?{expand}$skiptoken={skip}", self.base),
        }
    }

    fn sub_collection(&self, asked: &Asked<'_>, name: &str, size: usize) -> Result<Value, Refusal> {
        self.counters.pages.fetch_add(1, Ordering::Relaxed);
        let stored = self.stored(asked)?;
        let mut page = json!({"@odata.context": format!("{}/v1.0/$metadata#communications/callRecords('{}')/{name}", self.base, asked.id)});
        let (skip, size) = (asked.skip(), asked.size(size));
        if asked.query.contains_key("empty") {
            page["value"] = json!([]);
            page["@odata.nextLink"] = json!(self.link(asked, name, skip, None));
            return Ok(page);
        }
        let list = stored.members.get(name).cloned().unwrap_or_else(|| json!([]));
        let list =
            if name == "sessions" && !asked.query.contains_key("$expand") { without_segments(list) } else { list };
        let list = list.as_array().cloned().unwrap_or_default();
        if list.len() > skip + size {
            page["@odata.nextLink"] = json!(self.link(asked, name, skip + size, None));
        }
        page["value"] = list.into_iter().skip(skip).take(size).collect();
        Ok(page)
    }

    fn list(&self, query: &HashMap<String, String>, headers: &HeaderMap) -> Result<Value, Refusal> {
        self.counters.lists.fetch_add(1, Ordering::Relaxed);
        let filter = query.get("$filter").map(String::as_str).unwrap_or_default();
        let skip = query.get("$skiptoken").and_then(|s| s.parse().ok()).unwrap_or(0);
        let page = list::page(&lock(&self.store), self.clock.now(), filter, skip, list::PAGE);
        let Some((mut rows, more)) = page else { return Err(boxed(400, "BadRequest", headers)) };
        if let Some(names) = query.get("$select") {
            rows.iter_mut().filter_map(Value::as_object_mut).for_each(|row| answer::select(row, names));
        }
        let mut body = json!({"@odata.context": format!("{}/v1.0/$metadata#communications/callRecords", self.base), "value": rows});
        if more {
            let mut link = Url::parse(&format!("{}{ROOT}", self.base)).map_err(|_| boxed(500, "Link", headers))?;
            link.query_pairs_mut()
                .append_pair("$filter", filter)
                .append_pair("$skiptoken", &(skip + list::PAGE).to_string());
            body["@odata.nextLink"] = json!(link.as_str());
        }
        Ok(body)
    }
}

/// An answer that is not the record.
type Refusal = Box<Response<Body>>;

fn boxed(status: u16, code: &str, headers: &HeaderMap) -> Refusal {
    Box::new(answer::error(status, code, headers))
}

fn retry_after(status: u16, value: &str, headers: &HeaderMap) -> Response<Body> {
    let mut response = answer::error(status, "TooManyRequests", headers);
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(header::RETRY_AFTER, value);
    }
    response
}

fn without_segments(mut sessions: Value) -> Value {
    for session in sessions.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        session.retain(|name, _| !name.starts_with("segments"));
    }
    sessions
}
