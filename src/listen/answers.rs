//! What is asked, and what is answered.

use super::collection::{self, Taken};
use super::counts::{Counts, Labelled, add};
use super::slots::Slot;
use super::token;
use super::writer::Writer;
use crate::notifications;
use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::StreamExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::Notify;

/// Text that no browser takes for anything else.
const TEXT: [(HeaderName, &str); 2] =
    [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")];

/// What all requests share.
pub(super) struct Shared {
    pub(super) source: notifications::Settings,
    pub(super) max_body_bytes: usize,
    pub(super) body_time: Duration,
    pub(super) answer_time: Duration,
    pub(super) counts: Arc<Counts>,
    /// Whoever renews the subscription is to do so.
    pub(super) asked: Arc<Notify>,
    pub(super) writer: Writer,
}

/// The paths that Graph is given.
pub(super) fn posts(shared: &Arc<Shared>) -> Router {
    Router::new().route("/notifications", post(take)).route("/lifecycle", post(take)).with_state(shared.clone())
}

/// Whether the log can be written.
pub(super) fn health(counts: &Arc<Counts>) -> Router {
    Router::new().route("/healthz", get(healthy)).with_state(counts.clone())
}

/// The counters.
pub(super) fn metrics(counts: &Arc<Counts>) -> Router {
    Router::new().route("/metrics", get(counted)).with_state(counts.clone())
}

async fn healthy(State(counts): State<Arc<Counts>>) -> Response {
    match counts.failing.load(Ordering::Relaxed) {
        false => (TEXT, "ok\n").into_response(),
        true => (StatusCode::SERVICE_UNAVAILABLE, TEXT, "the log cannot be written\n").into_response(),
    }
}

async fn counted(State(counts): State<Arc<Counts>>) -> Response {
    let of_prometheus = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (of_prometheus, counts.text()).into_response()
}

async fn take(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let response = match token::token(request.uri().query()) {
        Some(Ok(token)) => {
            add(&shared.counts.validations, 1);
            (TEXT, token).into_response()
        }
        Some(Err(())) => shared.refused("token", StatusCode::BAD_REQUEST).into_response(),
        None => shared.notified(request).await.into_response(),
    };
    shared.counts.count(Labelled::Posts, response.status().as_str(), 1);
    response
}

impl Shared {
    async fn notified(&self, request: Request) -> StatusCode {
        let (parts, body) = request.into_parts();
        let body = match tokio::time::timeout(self.body_time, read(body, self.max_body_bytes)).await {
            Ok(Ok(body)) => body,
            Ok(Err(Broken::TooLarge)) => return self.refused("too-large", StatusCode::PAYLOAD_TOO_LARGE),
            Ok(Err(Broken::Cut)) => return self.refused("cut", StatusCode::BAD_REQUEST),
            Err(_) => return self.refused("slow", StatusCode::REQUEST_TIMEOUT),
        };
        let slot = parts.extensions.get::<Arc<Slot>>();
        if let Some(slot) = slot {
            slot.answers();
        }
        let status = self.keep(&body).await;
        if let Some(slot) = slot {
            slot.waits();
        }
        status
    }

    async fn keep(&self, body: &[u8]) -> StatusCode {
        let taken = match collection::take(body, self.max_body_bytes, &self.source) {
            Ok(taken) => taken,
            Err(reason) => return self.refused(reason, StatusCode::BAD_REQUEST),
        };
        let Taken { line, notifications, lifecycle, refused } = taken;
        for (reason, count) in refused {
            self.count_refused(reason, count);
        }
        if line.is_empty() {
            // As if it had been taken: who guesses at the state learns nothing.
            return StatusCode::ACCEPTED;
        }
        let Some(written) = self.writer.write(line, notifications) else {
            return self.refused("busy", StatusCode::SERVICE_UNAVAILABLE);
        };
        if !matches!(tokio::time::timeout(self.answer_time, written).await, Ok(Ok(()))) {
            return self.refused("not-written", StatusCode::SERVICE_UNAVAILABLE);
        }
        for (event, count) in lifecycle {
            self.counts.count(Labelled::Lifecycle, event, count);
            tracing::warn!(event, count, "Graph tells of the subscription; reauthorizationRequired asks to renew it");
            if matches!(event, "reauthorizationRequired" | "subscriptionRemoved") {
                self.asked.notify_one();
            }
        }
        StatusCode::ACCEPTED
    }

    fn refused(&self, reason: &'static str, status: StatusCode) -> StatusCode {
        self.count_refused(reason, 1);
        status
    }

    /// Logs ever more rarely: whoever can reach the address can cause this.
    fn count_refused(&self, reason: &'static str, count: u64) {
        let sum = self.counts.count(Labelled::Refused, reason, count);
        if sum.checked_ilog2() != (sum - count).checked_ilog2() {
            tracing::warn!(reason, refused = sum, "posts or items of posts are not kept");
        }
    }
}

enum Broken {
    TooLarge,
    Cut,
}

/// The whole body, if it is not too large.
async fn read(body: Body, limit: usize) -> Result<Vec<u8>, Broken> {
    if body.size_hint().lower() > limit as u64 {
        return Err(Broken::TooLarge);
    }
    let mut bytes = Vec::new();
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| Broken::Cut)?;
        if bytes.len() + chunk.len() > limit {
            return Err(Broken::TooLarge);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}
