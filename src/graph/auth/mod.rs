//! Tokens: obtained once for all tasks, refreshed early, never in a message.
//!
//! Refuses to send a secret anywhere but to the configured token service; a
//! redirect is not followed.

mod answer;
mod assertion;
mod certificate;
mod managed_identity;
mod request;

pub use certificate::{Certificate, CertificateFiles};
pub use managed_identity::{IdentityService, ManagedIdentity};
pub(super) use request::Way;

use super::settings::{Auth, Proof, Settings};
use super::throttle::check_deadline;
use crate::clock::Clock;
use crate::error::Error;
use crate::redact;
use request::{Issued, Refusal, Service};
use reqwest::header::{HeaderMap, HeaderValue};
use secrecy::{ExposeSecret as _, SecretString};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

/// How long before its end a token is replaced.
const EARLY: Duration = Duration::from_secs(300);

/// How long a failed early replacement rests while the old token is still good.
const REST: Duration = Duration::from_secs(30);

/// No answer had a date yet.
const UNKNOWN: i64 = i64::MIN;

/// A token as a header, and which one it is.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) header: HeaderValue,
    generation: u64,
    /// It was obtained because Graph had refused the one before.
    replaces_refused: bool,
}

#[derive(Debug)]
struct Held {
    token: Token,
    refresh_at: Instant,
    expires_at: Instant,
}

/// Hands out the token in force.
#[derive(Debug)]
pub(super) struct Tokens {
    source: Source,
    held: tokio::sync::Mutex<Option<Held>>,
    /// Highest generation that Graph has accepted.
    accepted: AtomicU64,
    requests: AtomicU64,
    /// Seconds by which this machine's clock is behind that of the last answer.
    behind: AtomicI64,
    /// All that was proven with and every token so far, to know it again.
    secrets: Mutex<Vec<SecretString>>,
}

#[derive(Debug)]
enum Source {
    Bearer(Token),
    Service(Box<Service>),
}

impl Tokens {
    /// Sends nothing yet.
    ///
    /// # Errors
    /// When the settings hold no usable token or URL.
    pub(super) fn new(settings: &Settings) -> Result<Self, Error> {
        let mut secrets = Vec::new();
        let source = match &settings.auth {
            Auth::Bearer(token) => {
                secrets.push(token.expose_secret().trim().to_owned().into());
                Source::Bearer(Token { header: header(token.expose_secret())?, generation: 1, replaces_refused: false })
            }
            Auth::App(app) => {
                if let Proof::Secret(secret) = &app.proof {
                    secrets.push(secret.clone());
                }
                Source::Service(Box::new(Service::of_app(app)?))
            }
            Auth::ManagedIdentity(identity) => {
                if let IdentityService::AppService { header, .. } = &identity.service {
                    secrets.push(header.clone());
                }
                Source::Service(Box::new(Service::of_identity(identity, &settings.user_agent)?))
            }
        };
        Ok(Self {
            source,
            held: tokio::sync::Mutex::new(None),
            accepted: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            behind: AtomicI64::new(UNKNOWN),
            secrets: Mutex::new(secrets),
        })
    }

    /// `bytes` without secrets, assertions and all tokens so far, should an answer
    /// repeat them.
    pub(super) fn redacted(&self, bytes: &[u8]) -> Vec<u8> {
        let secrets = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        let forms: Vec<_> = secrets.iter().flat_map(|s| redact::forms(s.expose_secret())).collect();
        redact::without(bytes, &forms, bytes.len())
    }

    fn remember(&self, secret: SecretString) {
        let mut secrets = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        if !secrets.iter().any(|known| known.expose_secret() == secret.expose_secret()) {
            secrets.push(secret);
        }
    }

    /// How many token requests were sent.
    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Takes the time of day from an answer.
    pub(super) fn dated(&self, headers: &HeaderMap, clock: &Clock) {
        if let Some(behind) = request::behind(headers, clock.now()) {
            self.behind.store(behind, Ordering::Relaxed);
        }
    }

    /// Seconds by which this machine's clock is behind that of the last answer
    /// with a date; below 0 it is ahead.
    pub(super) fn behind(&self) -> Option<i64> {
        Some(self.behind.load(Ordering::Relaxed)).filter(|behind| *behind != UNKNOWN)
    }

    /// Graph took `token`.
    pub(super) fn accepted(&self, token: &Token) {
        self.accepted.fetch_max(token.generation, Ordering::Relaxed);
    }

    /// The token in force; obtained first if there is none, or the one there is
    /// ends soon. However many ask, one request is sent.
    ///
    /// # Errors
    /// Access: the token service refuses. Temporary: it does not answer.
    pub(super) async fn get(&self, way: &Way<'_>) -> Result<Token, Error> {
        self.get_other_than(None, way).await
    }

    /// A token in place of `refused`, to which Graph answered 401.
    ///
    /// # Errors
    /// As [`Tokens::get`]; access, when there can be no better token.
    pub(super) async fn replace(&self, refused: &Token, way: &Way<'_>) -> Result<Token, Error> {
        let never_accepted = self.accepted.load(Ordering::Relaxed) < refused.generation;
        if refused.replaces_refused && never_accepted {
            return Err(self.unwelcome());
        }
        self.get_other_than(Some(refused.generation), way).await
    }

    /// Graph answers 401 to tokens that are as good as they can be.
    pub(super) fn unwelcome(&self) -> Error {
        match self.source {
            Source::Bearer(_) => Error::access("Graph does not accept the bearer token (401)")
                .hint("it may have ended, or be for another audience than this Graph endpoint: supply a new one"),
            Source::Service(_) => Error::access("Graph does not accept a token that was issued just now (401)").hint(
                "check that tenant, [graph] cloud and endpoint belong together, and that no policy blocks the app",
            ),
        }
    }

    async fn get_other_than(&self, refused: Option<u64>, way: &Way<'_>) -> Result<Token, Error> {
        let service = match &self.source {
            Source::Bearer(_) if refused.is_some() => return Err(self.unwelcome()),
            Source::Bearer(token) => return Ok(token.clone()),
            Source::Service(service) => service,
        };
        let mut held = self.held.lock().await;
        let now = Instant::now();
        let usable = held.as_mut().filter(|h| Some(h.token.generation) != refused && now < h.expires_at);
        if let Some(usable) = usable {
            if now < usable.refresh_at {
                return Ok(usable.token.clone());
            }
            // The old one is good for a while: one attempt, and no waiting.
            match self.request(service, way).await {
                Ok(issued) => {
                    let next = Held::new(&issued, usable.token.generation + 1, false)?;
                    *usable = next;
                }
                Err(_) => {
                    warn!("the token ends soon and could not be replaced yet");
                    usable.refresh_at = now + REST;
                }
            }
            return Ok(usable.token.clone());
        }
        let generation = held.as_ref().map_or(1, |h| h.token.generation + 1);
        let issued = self.request_until_answered(service, way).await?;
        let token = held.insert(Held::new(&issued, generation, refused.is_some())?).token.clone();
        info!("obtained a token");
        Ok(token)
    }

    async fn request_until_answered(&self, service: &Service, way: &Way<'_>) -> Result<Issued, Error> {
        let mut failures = 0;
        loop {
            let (code, status, asked) = match self.request(service, way).await {
                Ok(issued) => return Ok(issued),
                Err(Refusal::Final(error)) => return Err(error),
                Err(Refusal::Passing { code, status, wait }) => (code, status, wait),
            };
            failures += 1;
            let wait = service.wait(status, failures, way.settings).map(|wait| asked.unwrap_or(wait));
            let until = wait.map(|wait| Instant::now() + wait);
            let Some(until) = until.filter(|until| check_deadline(*until, way.deadline).is_ok()) else {
                return Err(service.given_up(status, &code));
            };
            warn!(code, "no token yet; asking again");
            sleep_until(until).await;
        }
    }

    async fn request(&self, service: &Service, way: &Way<'_>) -> Result<Issued, Refusal> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let sent = |proof| self.remember(proof);
        let issued = service.request(way, sent, |headers| self.dated(headers, way.clock)).await?;
        self.remember(issued.token.clone());
        Ok(issued)
    }
}

impl Held {
    fn new(issued: &Issued, generation: u64, replaces_refused: bool) -> Result<Self, Error> {
        let (life, now) = (issued.life, Instant::now());
        let token = Token { header: header(issued.token.expose_secret())?, generation, replaces_refused };
        Ok(Self { token, refresh_at: now + life.saturating_sub(EARLY).max(life / 2), expires_at: now + life })
    }
}

fn header(token: &str) -> Result<HeaderValue, Error> {
    let mut header = HeaderValue::from_str(&format!("Bearer {}", token.trim())).map_err(|_| {
        Error::access("the token holds characters that no token has").hint("supply the token alone, on one line")
    })?;
    header.set_sensitive(true);
    Ok(header)
}

#[cfg(test)]
mod tests;
