//! Bodies are taken in pieces up to a limit, counted after decompression, so
//! that a decompression bomb ends early.

use reqwest::{Response, StatusCode};

/// Most of what cannot be used that is kept for quarantine: all of it stays in
/// memory until the commit.
const KEPT_BYTES: usize = 16 << 10;

/// Most of the body of an error that is read.
const ERROR_BYTES: usize = 1 << 20;

/// Why there is no whole body.
#[derive(Debug)]
pub(super) enum BodyError {
    /// More bytes than the limit; holds the beginning.
    TooLarge(Vec<u8>),
    /// It broke off, or does not decompress.
    Broken(reqwest::Error),
}

/// Reads the body of `response`, at most `limit` bytes of it.
pub(super) async fn read(mut response: Response, limit: usize) -> Result<Vec<u8>, BodyError> {
    let announced = response.content_length().and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
    let mut body = Vec::with_capacity(announced.min(limit).min(ERROR_BYTES));
    while let Some(chunk) = response.chunk().await.map_err(BodyError::Broken)? {
        if body.len() + chunk.len() > limit {
            body.extend_from_slice(&chunk);
            return Err(BodyError::TooLarge(kept(body)));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The beginning of the body of an answer that is an error, which also leaves
/// the connection fit for use again.
pub(super) async fn read_error(response: Response) -> Vec<u8> {
    match read(response, ERROR_BYTES).await {
        Ok(body) | Err(BodyError::TooLarge(body)) => body,
        Err(BodyError::Broken(_)) => Vec::new(),
    }
}

/// The beginning of what cannot be used, for quarantine.
pub(super) fn kept(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(KEPT_BYTES);
    bytes.shrink_to_fit();
    bytes
}

/// A stable code for a request that got no whole answer.
pub(super) fn failure_code(error: &reqwest::Error) -> &'static str {
    if error.is_timeout() {
        "timeout"
    } else if error.is_connect() {
        "connect"
    } else if error.is_decode() || error.is_body() {
        "truncated"
    } else {
        "reset"
    }
}

/// What is underneath `error`, for a log: never the URL.
pub(super) fn failure_cause(error: &reqwest::Error) -> String {
    let mut cause = std::error::Error::source(error);
    let mut text = String::new();
    while let Some(error) = cause {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Whether the same request may well succeed a little later.
pub(super) fn is_passing(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status.as_u16(), 408 | 409 | 423 | 425 | 429)
}
