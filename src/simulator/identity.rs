//! The platform's token services: a virtual machine's metadata service (IMDS) and
//! the one beside an App Service.

use super::server::{Shared, lock};
use axum::body::Body;
use axum::http::{HeaderMap, Response, Uri, header};
use reqwest::Url;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::atomic::Ordering;

pub(super) const IMDS: &str = "/metadata/identity/oauth2/token";
pub(super) const APP_SERVICE: &str = "/msi/token";

const GRAPHS: [&str; 3] =
    ["https://graph.microsoft.com", "https://graph.microsoft.us", "https://dod-graph.microsoft.us"];
const SECONDS: i64 = 3599;

impl Shared {
    pub(super) fn identity(&self, uri: &Uri, headers: &HeaderMap) -> Response<Body> {
        self.counters.tokens.fetch_add(1, Ordering::Relaxed);
        let query: HashMap<String, String> = Url::parse(&format!("http://x/?{}", uri.query().unwrap_or_default()))
            .map(|url| url.query_pairs().into_owned().collect())
            .unwrap_or_default();
        let is = |name: &str, value: &str| query.get(name).is_some_and(|given| given == value);
        let of_machine = uri.path() == IMDS;
        if of_machine {
            if headers.get("metadata").is_none_or(|value| value != "true") {
                return refuse(400, "invalid_request", "Required metadata header not specified");
            }
            if headers.contains_key("x-forwarded-for") {
                return refuse(400, "invalid_request", "The request came through a proxy");
            }
            if !is("api-version", "2018-02-01") {
                return refuse(400, "invalid_request", "The api-version is not supported");
            }
        } else {
            if headers.get("x-identity-header").is_none_or(|value| value != self.settings.identity_header.as_str()) {
                return answered(401, &json!({"statusCode": 401, "message": "Unauthorized"}));
            }
            if !is("api-version", "2019-08-01") {
                return answered(400, &json!({"statusCode": 400, "message": "The api-version is not supported"}));
            }
        }
        let resource = query.get("resource").map_or("", |resource| resource.trim_end_matches('/'));
        if !GRAPHS.contains(&resource) {
            return refuse(400, "invalid_resource", "AADSTS500011: The simulator says so.");
        }
        let own = self.settings.client_id.to_string();
        if query.get("client_id").is_some_and(|asked| *asked != own) {
            return if of_machine {
                refuse(400, "invalid_request", "Identity not found")
            } else {
                answered(
                    400,
                    &json!({"statusCode": 400, "message": "No User Assigned or Delegated Managed Identity found"}),
                )
            };
        }
        let token = format!("simulated-{}", uuid::Uuid::new_v4());
        lock(&self.tokens).insert(token.clone(), 0);
        let ends = (self.wall_clock().timestamp() + SECONDS).to_string();
        let mut body = json!({
            "access_token": token,
            "client_id": own,
            "expires_on": ends,
            "resource": resource,
            "token_type": "Bearer",
        });
        if of_machine {
            body["expires_in"] = Value::from(SECONDS.to_string());
            body["ext_expires_in"] = Value::from(SECONDS.to_string());
        }
        answered(200, &body)
    }
}

fn refuse(status: u16, error: &str, description: &str) -> Response<Body> {
    answered(status, &json!({"error": error, "error_description": description}))
}

fn answered(status: u16, body: &Value) -> Response<Body> {
    let builder = Response::builder().status(status).header(header::CONTENT_TYPE, "application/json");
    builder.body(Body::from(body.to_string())).unwrap_or_default()
}
