//! Requests that change something at Graph: few, small, and tried again where
//! that can help.

use super::body::{self, BodyError};
use super::client::{Bounds, Client, headers};
use super::retry;
use crate::error::Error;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, StatusCode, Url};
use serde::de::DeserializeOwned;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::warn;
use uuid::Uuid;

/// Most of an answer that is read.
const LIMIT: usize = 1 << 20;

/// A whole answer that no further attempt would change.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    body: Vec<u8>,
}

impl Reply {
    /// The body as a `T`.
    ///
    /// # Errors
    /// Temporary, if it is none.
    pub(super) fn read<T: DeserializeOwned>(&self, what: &str) -> Result<T, Error> {
        serde_json::from_slice(&self.body)
            .map_err(|_| Error::temporary(format!("Graph answers {what} with something else")).hint("try again later"))
    }
}

impl Client {
    /// Sends `body`, which is JSON, and reads the answer. Waits are sat out, and
    /// what may pass is tried again.
    ///
    /// # Errors
    /// Access: no token, or Graph does not accept it. Temporary: no answer of use.
    pub(super) async fn send(&self, method: &Method, url: &Url, body: &[u8], bounds: &Bounds) -> Result<Reply, Error> {
        let shared = &*self.shared;
        let mut token = shared.tokens.get(&self.way()).await?;
        let (mut failures, mut replaced) = (0, false);
        let given_up = |reason: &str| {
            Error::temporary(format!("Graph does not answer {method} {} ({reason})", url.path()))
                .hint("try again later; `callrec check` tests the connection")
        };
        loop {
            shared.throttle.enter(&bounds.pace, self.deadline).await.map_err(|late| given_up(&late.to_string()))?;
            let began = Instant::now();
            let mut request = shared.http.request(method.clone(), url.clone());
            request = request.headers(headers(&token.header, Uuid::new_v4()));
            if !body.is_empty() {
                request = request.header(CONTENT_TYPE, "application/json").body(body.to_vec());
            }
            shared.requests.fetch_add(1, Ordering::Relaxed);
            let limit = began + shared.settings.request_timeout;
            let limit = self.deadline.map_or(limit, |deadline| deadline.min(limit));
            let (reason, wait) = match timeout_at(limit, self.exchange_small(request, began)).await {
                Ok(Ok(reply)) if reply.status == StatusCode::UNAUTHORIZED => {
                    if replaced {
                        return Err(shared.tokens.unwelcome());
                    }
                    token = shared.tokens.replace(&token, &self.way()).await?;
                    replaced = true;
                    continue;
                }
                Ok(Ok(reply)) => {
                    shared.tokens.accepted(&token);
                    shared.throttle.served();
                    return Ok(reply);
                }
                Ok(Err(passing)) => passing,
                Err(_) => ("timeout".to_owned(), None),
            };
            failures += 1;
            warn!(%method, path = url.path(), reason, "a request failed");
            let until = began + wait.unwrap_or_else(|| retry::back_off(shared.settings.backoff_base, failures - 1));
            if failures >= shared.settings.tries || self.deadline.is_some_and(|deadline| until >= deadline) {
                return Err(given_up(&reason));
            }
            sleep_until(until).await;
        }
    }

    /// The reply, or why there may be another one later and after which wait.
    async fn exchange_small(
        &self,
        request: reqwest::RequestBuilder,
        began: Instant,
    ) -> Result<Reply, (String, Option<Duration>)> {
        let broken = |error: &reqwest::Error| (body::failure_code(error).to_owned(), None);
        let response = request.send().await.map_err(|error| broken(&error))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = match body::read(response, LIMIT).await {
            Ok(body) => body,
            Err(BodyError::TooLarge(_)) => Vec::new(),
            Err(BodyError::Broken(error)) => return Err(broken(&error)),
        };
        // A conflict does not pass: what is in the way stays.
        if !body::is_passing(status) || status == StatusCode::CONFLICT {
            return Ok(Reply { status, body });
        }
        let wait = retry::retry_after(&headers, &self.shared.clock);
        if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            self.shared.throttled.fetch_add(1, Ordering::Relaxed);
            self.shared.throttle.refused(began, wait);
        }
        Err((format!("http-{}", status.as_u16()), wait))
    }
}
