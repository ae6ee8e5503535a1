//! The token service.

use super::answer;
use super::faults::{Elsewhere, TokenFault};
use super::hostile;
use super::server::{Shared, lock};
use super::wire::Raw;
use crate::clock::Clock;
use axum::body::Body;
use axum::http::{HeaderMap, Response, header};
use chrono::{DateTime, Utc};
use reqwest::Url;
use serde_json::json;
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

const TOKEN_SECONDS: u64 = 3599;

impl Shared {
    pub(super) fn token(&self, path: &str, body: &[u8]) -> Response<Body> {
        self.counters.tokens.fetch_add(1, Ordering::Relaxed);
        match self.settings.token_fault {
            Some(TokenFault::Down) => return answer::error(503, "ServiceUnavailable", &HeaderMap::new()),
            Some(TokenFault::Html) => return answer::html(),
            Some(TokenFault::Silent) => return hostile::hold(Duration::from_secs(3600)),
            Some(TokenFault::Reset) => return hostile::raw(Raw::reset(Vec::new())),
            Some(TokenFault::InvalidClient) => return refuse(401, "invalid_client", 7_000_215),
            Some(TokenFault::Bomb) => return hostile::bomb(200),
            Some(TokenFault::Deep) => return hostile::json_text(hostile::deep()),
            Some(TokenFault::Redirect) => return self.redirect(307, Elsewhere::Host, path, &HeaderMap::new()),
            Some(TokenFault::Useless | TokenFault::NoRole) | None => {}
        }
        let form: HashMap<String, String> = Url::parse(&format!("http://x/?{}", String::from_utf8_lossy(body)))
            .map(|url| url.query_pairs().into_owned().collect())
            .unwrap_or_default();
        let is = |name: &str, value: &str| form.get(name).is_some_and(|given| given == value);
        if !path.starts_with(&format!("/{}/", self.settings.tenant_id)) {
            return refuse(400, "invalid_request", 90002);
        }
        if !is("grant_type", "client_credentials") || !form.get("scope").is_some_and(|s| s.ends_with("/.default")) {
            return refuse(400, "invalid_scope", 70011);
        }
        if !is("client_id", &self.settings.client_id.to_string()) {
            return refuse(400, "unauthorized_client", 700_016);
        }
        if let Some(assertion) = form.get("client_assertion") {
            if !is("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer") {
                return refuse(400, "invalid_request", 50_027);
            }
            let (audience, client) = (format!("{}{path}", self.base), self.settings.client_id.to_string());
            let now = self.wall_clock().timestamp();
            if let Err((status, error, code)) = self.proofs.check(assertion, &audience, &client, now) {
                return refuse(status, error, code);
            }
        } else if !form.contains_key("client_secret") {
            return refuse(401, "invalid_client", 7_000_218);
        } else if !is("client_secret", &self.settings.client_secret) {
            return refuse(401, "invalid_client", 7_000_215);
        }
        let token = format!("simulated-{}", uuid::Uuid::new_v4());
        if self.settings.token_fault != Some(TokenFault::Useless) {
            lock(&self.tokens).insert(token.clone(), 0);
        }
        let body = json!({"token_type": "Bearer", "expires_in": TOKEN_SECONDS, "access_token": token});
        let builder = Response::builder().header(header::CONTENT_TYPE, "application/json");
        builder.body(Body::from(body.to_string())).unwrap_or_default()
    }

    /// The time of day by which tokens and assertions end. They are of the world
    /// outside, also where the records stand still.
    pub(super) fn wall_clock(&self) -> DateTime<Utc> {
        Clock::system().now()
    }

    /// Whether the token is good. Its uses are counted.
    pub(super) fn is_authorised(&self, headers: &HeaderMap) -> bool {
        let Some(token) = bearer(headers) else { return false };
        lock(&self.tokens).get_mut(token).map(|uses| *uses += 1).is_some()
    }

    /// Ends the token, if it was used often enough.
    pub(super) fn revoke(&self, headers: &HeaderMap, often_enough: u64) -> bool {
        let Some(token) = bearer(headers) else { return false };
        let mut tokens = lock(&self.tokens);
        let used = tokens.get(token).is_some_and(|uses| *uses >= often_enough);
        if used {
            tokens.remove(token);
        }
        used
    }
}

pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

fn refuse(status: u16, error: &str, code: u32) -> Response<Body> {
    let (trace, correlation) = (uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
    let body = json!({
        "error": error,
        "error_description": format!("AADSTS{code}: The simulator says so. Trace ID: {trace} Correlation ID: {correlation}"),
        "error_codes": [code],
        "timestamp": Clock::system().now().format("%Y-%m-%d %H:%M:%SZ").to_string(),
        "trace_id": trace,
        "correlation_id": correlation,
    });
    let builder = Response::builder().status(status).header(header::CONTENT_TYPE, "application/json");
    builder.body(Body::from(body.to_string())).unwrap_or_default()
}
