//! Answers: JSON with the preferences of the request, gzip, errors.

use super::kept::Served;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use serde_json::{Map, Value, json};
use std::io::Write;

/// From this size on bodies are compressed for those who take it.
const COMPRESSED_FROM: usize = 1024;

/// The bytes of an answer with `body`.
pub(super) fn made(mut body: Value, headers: &HeaderMap) -> Served {
    let preferences = headers.get_all("prefer").iter().filter_map(|v| v.to_str().ok()).collect::<Vec<_>>().join(",");
    if !preferences.contains("include-unknown-enum-members") {
        hide_late_members(&mut body);
    }
    if preferences.contains("omit-values=nulls") {
        drop_nulls(&mut body);
    }
    let bytes = serde_json::to_vec(&body).unwrap_or_default();
    let gzip = headers.get(header::ACCEPT_ENCODING).and_then(|v| v.to_str().ok()).is_some_and(|v| v.contains("gzip"));
    if !gzip || bytes.len() < COMPRESSED_FROM {
        return Served { body: bytes.into(), is_gzip: false };
    }
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let compressed = encoder.write_all(&bytes).and_then(|()| encoder.finish());
    Served { body: compressed.unwrap_or_default().into(), is_gzip: true }
}

pub(super) fn ok(served: Served, headers: &HeaderMap) -> Response<Body> {
    let mut builder = Response::builder().header(header::CONTENT_TYPE, "application/json;odata.metadata=minimal");
    if served.is_gzip {
        builder = builder.header(header::CONTENT_ENCODING, "gzip");
    }
    identified(builder.body(Body::from(served.body)).unwrap_or_default(), headers)
}

pub(super) fn error(status: u16, code: &str, headers: &HeaderMap) -> Response<Body> {
    let body = json!({"error": {"code": code, "message": "The simulator says so.", "innerError": {"request-id": uuid::Uuid::new_v4()}}});
    let response = Response::builder()
        .status(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR))
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(body.to_string()));
    identified(response.unwrap_or_default(), headers)
}

pub(super) fn html() -> Response<Body> {
    let page = Body::from("<html><body>Please sign in to the network.</body></html>");
    Response::builder().header(header::CONTENT_TYPE, "text/html").body(page).unwrap_or_default()
}

fn identified(mut response: Response<Body>, headers: &HeaderMap) -> Response<Body> {
    if let Ok(id) = HeaderValue::from_str(&uuid::Uuid::new_v4().to_string()) {
        response.headers_mut().insert("request-id", id);
    }
    if let Some(id) = headers.get("client-request-id") {
        response.headers_mut().insert("client-request-id", id.clone());
    }
    response
}

/// Members that Graph added after the sentinel are not shown unless asked for.
fn hide_late_members(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, value) in members.iter_mut() {
                if name == "productFamily" && value == "azureCommunicationServices" {
                    *value = json!("unknownFutureValue");
                }
                hide_late_members(value);
            }
        }
        Value::Array(list) => list.iter_mut().for_each(hide_late_members),
        _ => {}
    }
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, value| !value.is_null());
            members.values_mut().for_each(drop_nulls);
        }
        Value::Array(list) => list.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// The members named by `$select`, and annotations.
pub(super) fn select(members: &mut Map<String, Value>, names: &str) {
    let names: Vec<&str> = names.split(',').map(str::trim).collect();
    members.retain(|name, _| name.starts_with('@') || names.contains(&name.as_str()));
}
