//! Tokens: obtained once for all tasks, refreshed early, never in a message.
//!
//! Refuses to send a secret anywhere but to the configured token service; a
//! redirect is not followed.

use super::body::{self, BodyError};
use super::retry;
use super::settings::{Auth, Settings};
use super::throttle::check_deadline;
use crate::clock::Clock;
use crate::error::Error;
use crate::redact;
use reqwest::header::HeaderValue;
use reqwest::{StatusCode, Url};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::{info, warn};

/// How long before its end a token is replaced.
const EARLY: Duration = Duration::from_secs(300);

/// How long a failed early replacement rests while the old token is still good.
const REST: Duration = Duration::from_secs(30);

/// Most of a token answer that is read.
const LIMIT: usize = 1 << 20;

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
    /// Every token so far, to know it again.
    issued: Mutex<Vec<SecretString>>,
}

#[derive(Debug)]
enum Source {
    Bearer(Token),
    ClientSecret { url: Url, client_id: String, secret: SecretString, scope: String },
}

/// How a token request is sent and tried again.
pub(super) struct Way<'a> {
    pub(super) http: &'a reqwest::Client,
    pub(super) settings: &'a Settings,
    pub(super) clock: &'a Clock,
    pub(super) deadline: Option<Instant>,
}

/// Why a token request failed.
enum Refusal {
    /// Asking again changes nothing.
    Final(Error),
    /// It may succeed later; perhaps after a wait that was asked for.
    Passing { code: String, wait: Option<Duration> },
}

impl Tokens {
    /// Sends nothing yet.
    ///
    /// # Errors
    /// When the settings hold no usable token or URL.
    pub(super) fn new(auth: &Auth) -> Result<Self, Error> {
        let source = match auth {
            Auth::Bearer(token) => {
                Source::Bearer(Token { header: header(token.expose_secret())?, generation: 1, replaces_refused: false })
            }
            Auth::ClientSecret { authority, tenant_id, client_id, secret, scope } => {
                let mut url = authority.clone();
                url.path_segments_mut()
                    .map_err(|()| Error::config("[graph.auth] authority is no root of a token service"))?
                    .pop_if_empty()
                    .extend([tenant_id.as_str(), "oauth2", "v2.0", "token"]);
                Source::ClientSecret { url, client_id: client_id.clone(), secret: secret.clone(), scope: scope.clone() }
            }
        };
        Ok(Self {
            source,
            held: tokio::sync::Mutex::new(None),
            accepted: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            issued: Mutex::new(match auth {
                Auth::Bearer(token) => vec![token.expose_secret().trim().to_owned().into()],
                Auth::ClientSecret { .. } => Vec::new(),
            }),
        })
    }

    /// `bytes` without the client secret and all tokens so far, should an answer
    /// repeat them.
    pub(super) fn redacted(&self, bytes: &[u8]) -> Vec<u8> {
        let issued = self.issued.lock().unwrap_or_else(PoisonError::into_inner);
        let secret = match &self.source {
            Source::ClientSecret { secret, .. } => Some(secret),
            Source::Bearer(_) => None,
        };
        let forms: Vec<_> = issued.iter().chain(secret).flat_map(|s| redact::forms(s.expose_secret())).collect();
        redact::without(bytes, &forms, bytes.len())
    }

    /// How many token requests were sent.
    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
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
            Source::ClientSecret { .. } => Error::access(
                "Graph does not accept a token that was issued just now (401)",
            )
            .hint("check that tenant, [graph] cloud and endpoint belong together, and that no policy blocks the app"),
        }
    }

    async fn get_other_than(&self, refused: Option<u64>, way: &Way<'_>) -> Result<Token, Error> {
        let (url, form) = match &self.source {
            Source::Bearer(_) if refused.is_some() => return Err(self.unwelcome()),
            Source::Bearer(token) => return Ok(token.clone()),
            Source::ClientSecret { url, client_id, secret, scope } => (
                url,
                [
                    ("grant_type", "client_credentials"),
                    ("client_id", client_id.as_str()),
                    ("client_secret", secret.expose_secret()),
                    ("scope", scope.as_str()),
                ],
            ),
        };
        let mut held = self.held.lock().await;
        let now = Instant::now();
        let usable = held.as_mut().filter(|h| Some(h.token.generation) != refused && now < h.expires_at);
        if let Some(usable) = usable {
            if now < usable.refresh_at {
                return Ok(usable.token.clone());
            }
            // The old one is good for a while: one attempt, and no waiting.
            match self.request(url, &form, way).await {
                Ok(answer) => {
                    let next = Held::new(answer, usable.token.generation + 1, false)?;
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
        let answer = self.request_until_answered(url, &form, way).await?;
        let token = held.insert(Held::new(answer, generation, refused.is_some())?).token.clone();
        info!("obtained a token");
        Ok(token)
    }

    async fn request_until_answered(&self, url: &Url, form: &[(&str, &str)], way: &Way<'_>) -> Result<Granted, Error> {
        let mut failures = 0;
        loop {
            let (code, wait) = match self.request(url, form, way).await {
                Ok(granted) => return Ok(granted),
                Err(Refusal::Final(error)) => return Err(error),
                Err(Refusal::Passing { code, wait }) => (code, wait),
            };
            failures += 1;
            let until =
                Instant::now() + wait.unwrap_or_else(|| retry::back_off(way.settings.backoff_base, failures - 1));
            if failures >= way.settings.tries || check_deadline(until, way.deadline).is_err() {
                return Err(Error::temporary(format!("the token service does not issue a token ({code})"))
                    .hint("check [graph.auth] authority and the network, and run again"));
            }
            warn!(code, "no token yet; asking again");
            sleep_until(until).await;
        }
    }

    async fn request(&self, url: &Url, form: &[(&str, &str)], way: &Way<'_>) -> Result<Granted, Refusal> {
        let passing = |code: &str, wait| Refusal::Passing { code: code.to_owned(), wait };
        self.requests.fetch_add(1, Ordering::Relaxed);
        let limit = Instant::now() + way.settings.request_timeout;
        let limit = way.deadline.map_or(limit, |deadline| deadline.min(limit));
        let exchange = async {
            let response = way.http.post(url.clone()).form(form).send().await?;
            let (status, headers) = (response.status(), response.headers().clone());
            match body::read(response, LIMIT).await {
                Ok(body) => Ok((status, headers, body)),
                Err(BodyError::TooLarge(_)) => Ok((status, headers, Vec::new())),
                Err(BodyError::Broken(error)) => Err(error),
            }
        };
        let (status, headers, body) = match timeout_at(limit, exchange).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                warn!(cause = body::failure_cause(&error), "the token request failed");
                return Err(passing(body::failure_code(&error), None));
            }
            Err(_) => return Err(passing("timeout", None)),
        };
        if status == StatusCode::OK {
            let granted: Granted = serde_json::from_slice(&body).map_err(|_| passing("not-json", None))?;
            let token = granted.access_token.expose_secret().trim().to_owned();
            self.issued.lock().unwrap_or_else(PoisonError::into_inner).push(token.into());
            return Ok(granted);
        }
        let wait = retry::retry_after(&headers, way.clock);
        match serde_json::from_slice::<Denied>(&body) {
            Ok(denied) if status.is_client_error() && !body::is_passing(status) && !denied.is_passing() => {
                Err(Refusal::Final(denied.into_error()))
            }
            _ => Err(passing(&format!("http-{}", status.as_u16()), wait)),
        }
    }
}

impl Held {
    fn new(granted: Granted, generation: u64, replaces_refused: bool) -> Result<Self, Error> {
        let life = Duration::from_secs(granted.expires_in.seconds());
        let now = Instant::now();
        let token = Token { header: header(granted.access_token.expose_secret())?, generation, replaces_refused };
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

#[derive(Deserialize)]
struct Granted {
    access_token: SecretText,
    expires_in: Seconds,
}

/// Text that goes from the answer straight into a secret.
struct SecretText(SecretString);

impl SecretText {
    fn expose_secret(&self) -> &str {
        self.0.expose_secret()
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(SecretString::from(text)))
    }
}

/// Token services write a number, some of them as text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Seconds {
    Number(u64),
    Text(String),
}

impl Seconds {
    fn seconds(&self) -> u64 {
        let seconds = match self {
            Self::Number(seconds) => *seconds,
            Self::Text(text) => text.trim().parse().unwrap_or(0),
        };
        seconds.min(48 * 3600)
    }
}

/// The error of a token service. Its description names apps and times, and is not shown.
#[derive(Deserialize)]
struct Denied {
    error: String,
    #[serde(default)]
    error_codes: Vec<u64>,
}

impl Denied {
    fn is_passing(&self) -> bool {
        matches!(self.error.as_str(), "temporarily_unavailable" | "server_error" | "slow_down")
    }

    fn into_error(self) -> Error {
        let name = if !self.error.is_empty()
            && self.error.len() <= 40
            && self.error.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
        {
            self.error.as_str()
        } else {
            "no known error code"
        };
        let codes: String = self.error_codes.iter().take(4).map(|code| format!(", AADSTS{code}")).collect();
        let hint = match self.error_codes.first() {
            Some(7_000_215) => "the client secret is wrong: give its value, not its id",
            Some(7_000_222) => "the client secret has ended: make a new one for the app registration",
            Some(700_016) => "client_id is no app of this tenant: check client_id and tenant_id",
            Some(90_002 | 900_023) => "tenant_id is no tenant of this cloud: check tenant_id and [graph] cloud",
            Some(7_000_112) => "the app is disabled: enable it in the tenant",
            Some(53_003) => "a Conditional Access policy blocks the app: ask the tenant's administrator",
            _ => "check tenant_id, client_id and the secret of the app registration",
        };
        Error::access(format!("the token service refuses a token ({name}{codes})")).hint(hint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denial_shows_codes_and_nothing_else() {
        let text = r#"{"error":"invalid_client","error_description":"AADSTS7000215: Invalid secret for app 'Contoso'.","error_codes":[7000215]}"#;
        let error = serde_json::from_str::<Denied>(text).expect("a denial").into_error();
        assert_eq!(error.class(), crate::error::Class::Access);
        let shown = error.to_string();
        assert!(shown.contains("invalid_client, AADSTS7000215") && shown.contains("secret is wrong"), "{shown}");
        assert!(!shown.contains("Contoso"), "{shown}");
        let odd = Denied { error: "<script>".to_owned(), error_codes: vec![] };
        assert!(!odd.into_error().to_string().contains("script"));
    }

    #[tokio::test]
    async fn a_token_that_ends_soon_serves_on_while_there_is_no_other() {
        use crate::graph::tests::server::{Answer, Server};
        let server = Server::start();
        let granted = |token: &str| Answer::ok(format!(r#"{{"access_token":"{token}","expires_in":3600}}"#));
        server.on("/t/oauth2/v2.0/token", [granted("old"), Answer::status(500), granted("new")]);
        let auth = Auth::ClientSecret {
            authority: server.url.clone(),
            tenant_id: "t".to_owned(),
            client_id: "a".to_owned(),
            secret: "s".into(),
            scope: "x".to_owned(),
        };
        let (tokens, settings) =
            (Tokens::new(&auth).expect("settings are valid"), Settings::new(server.url.clone(), auth));
        let (http, clock) = (reqwest::Client::new(), Clock::system());
        let way = Way { http: &http, settings: &settings, clock: &clock, deadline: None };
        let ends_soon = async || tokens.held.lock().await.as_mut().expect("a token").refresh_at = Instant::now();
        // Obtained; not replaced, for the service is down; at rest; replaced.
        for (early, token, requests) in [(false, "old", 1), (true, "old", 2), (false, "old", 2), (true, "new", 3)] {
            if early {
                ends_soon().await;
            }
            assert_eq!(tokens.get(&way).await.expect("a token").header, format!("Bearer {token}"));
            assert_eq!(tokens.requests(), requests);
        }
    }

    #[test]
    fn tokens_do_not_show() {
        let tokens = Tokens::new(&Auth::Bearer("eyJ-secret".into())).expect("a token");
        assert!(!format!("{tokens:?}").contains("eyJ"));
        assert!(Tokens::new(&Auth::Bearer("two\nlines".into())).is_err());
        assert!(Tokens::new(&Auth::Bearer("line end\n".into())).is_ok());
    }

    #[test]
    fn a_token_is_replaced_five_minutes_early() {
        for (text, early) in
            [(r#"{"access_token":"t","expires_in":3600}"#, 300), (r#"{"access_token":"t","expires_in":"200"}"#, 100)]
        {
            let held = Held::new(serde_json::from_str(text).expect(text), 1, false).expect("a token");
            assert_eq!(held.expires_at - held.refresh_at, Duration::from_secs(early));
        }
    }
}
