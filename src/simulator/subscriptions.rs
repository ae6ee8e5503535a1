//! Subscriptions: made after the receiver was asked whether it is there, and told
//! of what appears as the simulator's time goes on.
//!
//! `POST /simulator/clock` with `{"now": "…"}` sets the time, which must not go
//! back, announces what appeared since, and answers with what it did: how many
//! notifications were delivered, and which versions were announced, withheld or not taken.

use super::answer;
use super::server::{Shared, lock};
use crate::clock::Clock;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Response, StatusCode, header};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use reqwest::Url;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

pub(super) const PATH: &str = "/v1.0/subscriptions";
pub(super) const CLOCK: &str = "/simulator/clock";

const RESOURCE: &str = "communications/callrecords";
const LONGEST_LIFE: TimeDelta = TimeDelta::minutes(4230);
const MOST: usize = 100;
const LONGEST_STATE: usize = 128;
/// Notifications in one POST.
const TOGETHER: usize = 10;
/// A receiver that does not take a notification is asked again so often.
const TRIES: u32 = 50;
const BETWEEN_TRIES: Duration = Duration::from_millis(100);

/// What receivers are sent to with, and who is subscribed.
pub(super) struct Subscriptions {
    http: reqwest::Client,
    held: std::sync::Mutex<BTreeMap<String, Held>>,
}

#[derive(Clone)]
struct Held {
    /// As Graph shows it: without the client state.
    shown: Map<String, Value>,
    client_state: Value,
    expires: DateTime<Utc>,
}

impl Held {
    fn url(&self) -> &str {
        self.shown.get("notificationUrl").and_then(Value::as_str).unwrap_or_default()
    }
}

impl Default for Subscriptions {
    fn default() -> Self {
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build();
        Self { http: http.unwrap_or_default(), held: std::sync::Mutex::default() }
    }
}

/// A notification that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) id: String,
    pub(super) version: i64,
}

impl Event {
    /// A number below 100 that depends on nothing else.
    fn dice(&self, seed: u64, what: &str) -> u64 {
        let mut hasher = DefaultHasher::new();
        (seed, what, &self.id, self.version).hash(&mut hasher);
        hasher.finish() % 100
    }
}

/// What came of it when the time went on.
#[derive(Default)]
struct Done {
    delivered: usize,
    announced: Vec<Event>,
    withheld: Vec<Event>,
    lost: Vec<Event>,
}

/// Lets the time of all tenants go on.
pub(super) async fn go_on(tenants: &[Arc<Shared>], headers: &HeaderMap, body: &[u8]) -> Response<Body> {
    let given: Map<String, Value> = serde_json::from_slice(body).unwrap_or_default();
    let wanted = given.get("now").and_then(Value::as_str).and_then(|now| now.parse::<DateTime<Utc>>().ok());
    let mut all = Done::default();
    for tenant in tenants {
        let done = match wanted {
            Some(now) => tenant.go_on(now).await,
            None => None,
        };
        let Some(done) = done else { return answer::error(400, "BadRequest", headers) };
        all.delivered += done.delivered;
        all.announced.extend(done.announced);
        all.withheld.extend(done.withheld);
        all.lost.extend(done.lost);
    }
    let names = |events: &[Event]| events.iter().map(|e| json!({"id": e.id, "version": e.version})).collect::<Vec<_>>();
    let answer = json!({
        "delivered": all.delivered,
        "announced": names(&all.announced),
        "withheld": names(&all.withheld),
        "lost": names(&all.lost),
    });
    reply(200, answer, headers)
}

impl Shared {
    /// Answers what is asked about subscriptions.
    pub(super) async fn subscription(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Response<Body> {
        if !self.is_authorised(headers) {
            return answer::error(401, "InvalidAuthenticationToken", headers);
        }
        let id = path.strip_prefix(PATH).unwrap_or_default().trim_matches('/').to_owned();
        let given: Map<String, Value> = serde_json::from_slice(body).unwrap_or_default();
        self.forget_ended();
        match (method.as_str(), id.is_empty()) {
            ("POST", true) => self.subscribe(given, headers).await,
            ("GET", true) => {
                let all: Vec<Value> = lock(&self.subscriptions.held).values().map(|held| json!(held.shown)).collect();
                reply(200, json!({"value": all}), headers)
            }
            ("GET", false) => match lock(&self.subscriptions.held).get(&id) {
                Some(held) => reply(200, json!(held.shown), headers),
                None => answer::error(404, "ResourceNotFound", headers),
            },
            ("PATCH", false) => self.renew(&id, &given, headers),
            ("DELETE", false) => match lock(&self.subscriptions.held).remove(&id) {
                Some(_) => status(StatusCode::NO_CONTENT),
                None => answer::error(404, "ResourceNotFound", headers),
            },
            _ => answer::error(405, "MethodNotAllowed", headers),
        }
    }

    /// Subscriptions live by the clock of those who make them, whatever time is served.
    fn present(&self) -> DateTime<Utc> {
        self.settings.now.unwrap_or_else(|| Clock::system().now())
    }

    fn forget_ended(&self) {
        let now = self.present();
        lock(&self.subscriptions.held).retain(|_, held| held.expires > now);
    }

    /// The end that is asked for, if a subscription may live so long.
    fn end(&self, given: &Map<String, Value>) -> Option<DateTime<Utc>> {
        let end = given.get("expirationDateTime")?.as_str()?.parse::<DateTime<Utc>>().ok()?;
        let now = self.present();
        (end > now && end <= now + LONGEST_LIFE).then_some(end)
    }

    async fn subscribe(&self, given: Map<String, Value>, headers: &HeaderMap) -> Response<Body> {
        let text = |name: &str| given.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (change, resource, url) = (text("changeType"), text("resource"), text("notificationUrl"));
        let state = text("clientState");
        let changes = ["created", "updated"];
        let is_known = change.split(',').all(|change| changes.contains(&change.trim()));
        let Some(expires) = self.end(&given) else { return answer::error(400, "BadRequest", headers) };
        if !is_known || resource.trim_matches('/').to_ascii_lowercase() != RESOURCE || state.len() > LONGEST_STATE {
            return answer::error(400, "BadRequest", headers);
        }
        {
            let held = lock(&self.subscriptions.held);
            if held.values().any(|other| other.shown.get("changeType") == given.get("changeType")) {
                return answer::error(409, "Conflict", headers);
            }
            if held.len() >= MOST {
                return answer::error(403, "Forbidden", headers);
            }
        }
        for url in
            [Some(url), Some(text("lifecycleNotificationUrl")).filter(|url| !url.is_empty())].into_iter().flatten()
        {
            if !url.starts_with("EventHub:") && !self.is_there(&url).await {
                return answer::error(400, "ValidationError", headers);
            }
        }
        let id = uuid::Uuid::new_v4().to_string();
        let mut shown = given;
        let client_state = shown.remove("clientState").unwrap_or_default();
        shown.insert("id".to_owned(), json!(id));
        shown.insert("clientState".to_owned(), Value::Null);
        shown.insert("applicationId".to_owned(), json!(self.settings.client_id));
        let answer = reply(201, json!(shown), headers);
        lock(&self.subscriptions.held).insert(id, Held { shown, client_state, expires });
        answer
    }

    fn renew(&self, id: &str, given: &Map<String, Value>, headers: &HeaderMap) -> Response<Body> {
        let Some(expires) = self.end(given) else { return answer::error(400, "BadRequest", headers) };
        let mut held = lock(&self.subscriptions.held);
        let Some(held) = held.get_mut(id) else { return answer::error(404, "ResourceNotFound", headers) };
        held.expires = expires;
        held.shown
            .insert("expirationDateTime".to_owned(), given.get("expirationDateTime").cloned().unwrap_or_default());
        reply(200, json!(held.shown), headers)
    }

    /// Whether the receiver answers the handshake as Graph wants it.
    async fn is_there(&self, url: &str) -> bool {
        let token = format!("Validation: Testing client application reachability <{}>", uuid::Uuid::new_v4());
        let Ok(mut url) = Url::parse(url) else { return false };
        url.query_pairs_mut().append_pair("validationToken", &token);
        let request = self.subscriptions.http.post(url).header(header::CONTENT_TYPE, "text/plain; charset=utf-8");
        let Ok(response) = request.send().await else { return false };
        let is_text = response
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|v| v.to_str().ok())
            .is_some_and(|v| v.starts_with("text/plain"));
        response.status() == StatusCode::OK && is_text && response.text().await.is_ok_and(|body| body == token)
    }

    /// Sets the time and announces what appeared since.
    /// Lets the time go on; `None` if it would go back.
    async fn go_on(&self, now: DateTime<Utc>) -> Option<Done> {
        let before = self.now();
        if now < before {
            return None;
        }
        *lock(&self.clock) = Clock::pinned(now);
        self.kept.forget();
        let due = lock(&self.store).events(before, now);
        let (mut sent, mut done) = (Vec::new(), Done::default());
        for event in due {
            if event.dice(self.settings.seed, "withhold") < self.settings.withhold_percent {
                done.withheld.push(event);
                continue;
            }
            if event.dice(self.settings.seed, "repeat") < self.settings.repeat_percent {
                sent.push(event.clone());
            }
            sent.push(event.clone());
            done.announced.push(event);
        }
        self.forget_ended();
        let receivers: Vec<(String, Held)> =
            lock(&self.subscriptions.held).iter().map(|(id, held)| (id.clone(), held.clone())).collect();
        for (id, held) in receivers {
            for together in sent.chunks(TOGETHER) {
                let items: Vec<Value> = together.iter().map(|event| self.notification(&id, &held, event)).collect();
                if self.deliver(held.url(), &json!({"value": items})).await {
                    done.delivered += together.len();
                } else {
                    done.lost.extend_from_slice(together);
                }
            }
        }
        Some(done)
    }

    fn notification(&self, id: &str, held: &Held, event: &Event) -> Value {
        let resource = format!("communications/callRecords/{}", event.id);
        json!({
            "subscriptionId": id,
            "clientState": held.client_state,
            "changeType": "updated",
            "resource": resource,
            "subscriptionExpirationDateTime": held.expires.to_rfc3339_opts(SecondsFormat::Millis, false),
            "resourceData": {"@odata.type": "#Microsoft.Graph.callRecord", "@odata.id": resource, "id": event.id},
            "tenantId": self.settings.tenant_id,
        })
    }

    async fn deliver(&self, url: &str, body: &Value) -> bool {
        for _ in 0..TRIES {
            let request = self.subscriptions.http.post(url).header(header::CONTENT_TYPE, "application/json");
            if request.body(body.to_string()).send().await.is_ok_and(|response| response.status().is_success()) {
                return true;
            }
            tokio::time::sleep(BETWEEN_TRIES).await;
        }
        false
    }
}

fn reply(code: u16, body: Value, headers: &HeaderMap) -> Response<Body> {
    let mut response = answer::ok(answer::made(body, headers), headers);
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or_default();
    response
}

fn status(status: StatusCode) -> Response<Body> {
    Response::builder().status(status).body(Body::empty()).unwrap_or_default()
}
