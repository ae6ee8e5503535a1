//! Answers that are made once and kept, so that a client is measured and not
//! the simulator.

use super::server::lock;
use axum::body::Bytes;
use axum::http::{HeaderMap, header};
use std::collections::HashMap;
use std::sync::Mutex;

/// The bytes of an answer as they are sent.
#[derive(Clone, Debug)]
pub(super) struct Served {
    pub(super) body: Bytes,
    pub(super) is_gzip: bool,
}

#[derive(Debug, Default)]
pub(super) struct Kept(Mutex<HashMap<String, Served>>);

impl Kept {
    pub(super) fn get(&self, url: &str, headers: &HeaderMap) -> Option<Served> {
        lock(&self.0).get(&key(url, headers)).cloned()
    }

    pub(super) fn put(&self, url: &str, headers: &HeaderMap, served: Served) {
        lock(&self.0).insert(key(url, headers), served);
    }

    pub(super) fn forget(&self) {
        lock(&self.0).clear();
    }
}

/// An answer depends on the URL and on these headers.
fn key(url: &str, headers: &HeaderMap) -> String {
    let mut key = url.to_owned();
    for value in headers.get_all("prefer").iter().chain(headers.get_all(header::ACCEPT_ENCODING).iter()) {
        key.push('\n');
        key.push_str(&String::from_utf8_lossy(value.as_bytes()));
    }
    key
}
