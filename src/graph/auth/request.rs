//! One token request: what is asked of whom, and what the answer means.

use super::answer::{Denied, DeniedIdentity, Granted};
use super::assertion;
use super::managed_identity::ManagedIdentity;
use crate::clock::Clock;
use crate::error::Error;
use crate::graph::body::{self, BodyError};
use crate::graph::retry;
use crate::graph::settings::{App, Proof, Settings};
use chrono::{DateTime, Utc};
use reqwest::header::{DATE, HeaderMap};
use reqwest::{RequestBuilder, StatusCode, Url};
use secrecy::{ExposeSecret as _, SecretString};
use std::path::Path;
use std::time::{Duration, SystemTime};
use tokio::time::{Instant, timeout_at};
use tracing::warn;

/// Most of a token answer that is read.
const LIMIT: usize = 1 << 20;
/// Most of a federated token's file that is read.
const LONGEST_TOKEN: u64 = 1 << 20;

/// How a token request is sent and tried again.
pub(in crate::graph) struct Way<'a> {
    pub(in crate::graph) http: &'a reqwest::Client,
    pub(in crate::graph) settings: &'a Settings,
    pub(in crate::graph) clock: &'a Clock,
    pub(in crate::graph) deadline: Option<Instant>,
}

/// Why a token request failed.
pub(super) enum Refusal {
    /// Asking again changes nothing.
    Final(Error),
    /// It may succeed later; perhaps after a wait that was asked for.
    Passing { code: String, status: Option<StatusCode>, wait: Option<Duration> },
}

/// Who gives tokens, and what it wants to see.
#[derive(Debug)]
pub(super) enum Service {
    /// Entra ID.
    App { url: Url, app: App },
    /// The platform.
    ManagedIdentity { http: reqwest::Client, identity: ManagedIdentity },
}

/// A token as it was issued.
pub(super) struct Issued {
    pub(super) token: SecretString,
    pub(super) life: Duration,
}

impl Service {
    pub(super) fn of_app(app: &App) -> Result<Self, Error> {
        let mut url = app.authority.clone();
        url.path_segments_mut()
            .map_err(|()| Error::config("[graph.auth] authority is no root of a token service"))?
            .pop_if_empty()
            .extend([app.tenant_id.as_str(), "oauth2", "v2.0", "token"]);
        Ok(Self::App { url, app: app.clone() })
    }

    pub(super) fn of_identity(identity: &ManagedIdentity, user_agent: &str) -> Result<Self, Error> {
        Ok(Self::ManagedIdentity { http: ManagedIdentity::http(user_agent)?, identity: identity.clone() })
    }

    /// How long to wait after the `failures`th failure; `None` when enough was tried.
    pub(super) fn wait(&self, status: Option<StatusCode>, failures: u32, settings: &Settings) -> Option<Duration> {
        match self {
            Self::App { .. } => {
                (failures < settings.tries).then(|| retry::back_off(settings.backoff_base, failures - 1))
            }
            Self::ManagedIdentity { .. } => ManagedIdentity::wait(status, failures, settings.backoff_base),
        }
    }

    /// What to say after the last attempt.
    pub(super) fn given_up(&self, status: Option<StatusCode>, code: &str) -> Error {
        match self {
            Self::App { .. } => Error::temporary(format!("the token service does not issue a token ({code})"))
                .hint("check [graph.auth] authority and the network, and run again"),
            Self::ManagedIdentity { identity, .. } => identity.given_up(status, code),
        }
    }

    /// Sends one request. What it proves itself with goes to `sent` first, and the
    /// service's time of day to `dated`.
    pub(super) async fn request(
        &self,
        way: &Way<'_>,
        sent: impl FnOnce(SecretString),
        dated: impl FnOnce(&HeaderMap),
    ) -> Result<Issued, Refusal> {
        let passing = |code: &str| Refusal::Passing { code: code.to_owned(), status: None, wait: None };
        let request = self.prepared(way, sent).map_err(Refusal::Final)?;
        let limit = Instant::now() + way.settings.request_timeout;
        let limit = way.deadline.map_or(limit, |deadline| deadline.min(limit));
        let exchange = async {
            let response = request.send().await?;
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
                return Err(passing(body::failure_code(&error)));
            }
            Err(_) => return Err(passing("timeout")),
        };
        dated(&headers);
        if status == StatusCode::OK {
            let granted = serde_json::from_slice::<Granted>(&body).ok();
            let issued = granted.and_then(|granted| {
                let life = granted.life(way.clock.now())?;
                Some(Issued { token: granted.token().trim().to_owned().into(), life })
            });
            return issued.ok_or_else(|| Refusal::Passing {
                code: "not-json".to_owned(),
                status: Some(status),
                wait: None,
            });
        }
        match self.denial(status, &body) {
            Some(error) => Err(Refusal::Final(error)),
            None => Err(Refusal::Passing {
                code: format!("http-{}", status.as_u16()),
                status: Some(status),
                wait: retry::retry_after(&headers, way.clock),
            }),
        }
    }

    fn prepared(&self, way: &Way<'_>, sent: impl FnOnce(SecretString)) -> Result<RequestBuilder, Error> {
        let (url, app) = match self {
            Self::ManagedIdentity { http, identity } => return Ok(identity.request(http)),
            Self::App { url, app } => (url, app),
        };
        let (name, value) = match &app.proof {
            Proof::Secret(secret) => ("client_secret", secret.clone()),
            Proof::Certificate { certificate, send_chain } => (
                "client_assertion",
                assertion::signed(certificate, *send_chain, url.as_str(), &app.client_id, way.clock.now())?,
            ),
            Proof::FederatedToken(file) => ("client_assertion", federated_token(file)?),
        };
        let mut form = vec![
            ("grant_type", "client_credentials"),
            ("client_id", app.client_id.as_str()),
            (name, value.expose_secret()),
            ("scope", app.scope.as_str()),
        ];
        if name == "client_assertion" {
            form.push(("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"));
        }
        let request = way.http.post(url.clone()).form(&form);
        drop(form);
        sent(value);
        Ok(request)
    }

    /// What a refusal says, if asking again changes nothing.
    fn denial(&self, status: StatusCode, body: &[u8]) -> Option<Error> {
        match self {
            Self::App { .. } => {
                let denied = serde_json::from_slice::<Denied>(body).ok()?;
                (status.is_client_error() && !body::is_passing(status) && !denied.is_passing())
                    .then(|| denied.into_error())
            }
            Self::ManagedIdentity { identity, .. } => (!ManagedIdentity::is_passing(status)).then(|| {
                let denied = serde_json::from_slice::<DeniedIdentity>(body).ok();
                identity.refused(status, denied.as_ref())
            }),
        }
    }
}

/// What the file holds now: the platform renews it.
fn federated_token(file: &Path) -> Result<SecretString, Error> {
    use std::io::Read as _;
    let shown = file.display();
    let mut text = String::new();
    let read = std::fs::File::open(file).and_then(|file| file.take(LONGEST_TOKEN).read_to_string(&mut text));
    let text = SecretString::from(text);
    read.map_err(|e| {
        Error::access(format!("cannot read the federated token in {shown}"))
            .hint("check [graph.auth] federated_token_file, and that the platform puts the token there")
            .because(e)
    })?;
    let token = text.expose_secret().trim();
    let is_jwt = token.split('.').count() == 3
        && token.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'='));
    if !is_jwt {
        return Err(Error::access(format!("{shown} holds no federated token"))
            .hint("it must hold one JWT and nothing else, as Kubernetes projects it"));
    }
    Ok(SecretString::from(token.to_owned()))
}

/// How far this machine's clock is behind the one that wrote the answer, in seconds.
pub(super) fn behind(headers: &HeaderMap, now: DateTime<Utc>) -> Option<i64> {
    let date: SystemTime = httpdate::parse_http_date(headers.get(DATE)?.to_str().ok()?).ok()?;
    Some((DateTime::<Utc>::from(date) - now).num_seconds())
}
