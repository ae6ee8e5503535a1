//! Where the receiver listens, what it takes, and where its log goes.

use super::name::Name;
use crate::error::{Error, Result};
use crate::notifications;
use chrono::DateTime;
use secrecy::ExposeSecret;
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Graph calls an answer after 2.9 s slow, and holds slow answers against a host.
const LONGEST_ANSWER: f64 = 2.9;
/// No other time of the settings is longer.
const LONGEST: f64 = 3600.0;

/// The settings of a receiver; `[listen]` in a config.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where notifications are taken; port 0 is a free one. Without a
    /// certificate this must be a loopback address.
    pub address: SocketAddr,
    /// A loopback address for `/healthz` and `/metrics`, which are then served
    /// nowhere else.
    pub metrics_address: Option<SocketAddr>,
    /// A file with the certificate, and those that lead to its root, as PEM.
    pub tls_certificate: Option<PathBuf>,
    /// A file with its private key, as PEM.
    pub tls_key: Option<PathBuf>,
    /// Whether the subscription is renewed, where `[subscription]` and `[graph.auth]`
    /// say how.
    pub renew: bool,
    /// The directory of the log.
    pub directory: PathBuf,
    /// A new file is begun rather than that one grows over this.
    pub rotate_bytes: u64,
    /// The largest body that is taken.
    pub max_body_bytes: usize,
    /// Connections at once. Where there are more, the one that has kept us
    /// waiting longest is closed.
    pub max_connections: usize,
    /// Seconds for a TLS handshake, and for the head of a request.
    pub header_seconds: f64,
    /// Seconds for the body of a request.
    pub body_seconds: f64,
    /// Seconds after which a post whose line is not on the disk is refused.
    pub answer_seconds: f64,
    /// Seconds that posts under way have to end when the program is to stop.
    pub stop_seconds: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 8380)),
            metrics_address: None,
            tls_certificate: None,
            tls_key: None,
            renew: true,
            directory: PathBuf::from("notifications"),
            rotate_bytes: 64 << 20,
            max_body_bytes: 1 << 20,
            max_connections: 256,
            header_seconds: 5.0,
            body_seconds: 5.0,
            answer_seconds: 2.0,
            stop_seconds: 5.0,
        }
    }
}

impl Settings {
    /// The settings with their paths resolved against `base`.
    #[must_use]
    pub fn resolved(self, base: &Path) -> Self {
        Self {
            directory: base.join(&self.directory),
            tls_certificate: self.tls_certificate.map(|path| base.join(path)),
            tls_key: self.tls_key.map(|path| base.join(path)),
            ..self
        }
    }

    /// Refuses what cannot work, or would be open to others. `source` is what a
    /// run reads.
    ///
    /// # Errors
    /// By class configuration, naming the key and what to do.
    pub fn check(&self, source: &notifications::Settings) -> Result<()> {
        let max_line_bytes = source.max_line_bytes;
        let mut states = source.client_state.iter().chain(&source.other_client_states).peekable();
        if states.peek().is_none() || states.any(|state| state.expose_secret().is_empty()) {
            return Err(Error::config("The configuration lacks [source] client_state, which tells Graph from others")
                .hint("give client_state_file, or CALLREC_SOURCE__CLIENT_STATE: a long random text, the one of the subscription"));
        }
        let clear = self.tls_certificate.is_none() && self.tls_key.is_none();
        if self.tls_certificate.is_some() != self.tls_key.is_some() {
            return Err(Error::config("[listen] has only one of tls_certificate and tls_key")
                .hint("give both, or neither and a loopback address"));
        }
        if clear && !self.address.ip().is_loopback() {
            return Err(Error::config("[listen] address is not on loopback and has no certificate")
                .hint("give tls_certificate and tls_key, or listen on 127.0.0.1 behind a proxy that speaks https"));
        }
        if self.metrics_address.is_some_and(|address| !address.ip().is_loopback()) {
            return Err(Error::config("[listen] metrics_address is not on loopback")
                .hint("give 127.0.0.1 and a port; a proxy or an agent on this machine can read it there"));
        }
        if self.max_body_bytes == 0 || self.max_body_bytes > max_line_bytes {
            return Err(Error::config("[listen] max_body_bytes is 0, or over [source] max_line_bytes")
                .hint(format!("give 1 to {max_line_bytes}: a longer line would not be read")));
        }
        if self.max_connections == 0 || self.rotate_bytes == 0 {
            return Err(Error::config("[listen] max_connections or rotate_bytes is 0").hint("give a number above 0"));
        }
        for (key, seconds, most) in [
            ("header_seconds", self.header_seconds, LONGEST),
            ("body_seconds", self.body_seconds, LONGEST),
            ("answer_seconds", self.answer_seconds, LONGEST_ANSWER),
            ("stop_seconds", self.stop_seconds, LONGEST),
        ] {
            if !(seconds > 0.0 && seconds <= most) {
                return Err(Error::config(format!("[listen] {key} is no length of time that is taken"))
                    .hint(format!("give a number above 0, {most} at most")));
            }
        }
        if !source.names(&self.directory.join(Name::next(None, DateTime::UNIX_EPOCH).file_name())) {
            tracing::warn!(
                directory = %self.directory.display(),
                "[source] notifications names no file of [listen] directory: a run with this config will not read them"
            );
        }
        Ok(())
    }
}

/// Seconds that were checked.
pub(super) fn time(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::from_secs(1))
}
