//! One polite request: paced, pinned to the endpoint, limited, and tried again
//! where that can help.

use super::Outcome;
use super::auth::{Tokens, Way};
use super::body::{self, BodyError};
use super::page::Members;
use super::retry;
use super::room::{Room, Rooms};
use super::settings::{Settings, is_loopback};
use super::throttle::{RecordPace, Throttle, check_deadline};
use crate::clock::Clock;
use crate::error::Error;
use crate::json::{self, Unsafe};
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{StatusCode, Url};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::{debug, warn};
use uuid::Uuid;

/// Throttled answers with a wait per request, for each try of the settings.
/// Waiting as asked is no failure, but it has to end even without a deadline.
const WAITS_PER_TRY: u32 = 10;

/// How often an HTTP/2 connection with requests under way is asked for a sign of
/// life, and how long it may take. All requests share one: if it died without a
/// word, each of them would sit out its time limit.
const PING: Duration = Duration::from_secs(20);

const PREFER: HeaderName = HeaderName::from_static("prefer");
const CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("client-request-id");
const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");

/// What was sent and how Graph took it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// HTTP requests to Graph, repeated ones included, token requests not.
    pub requests: u64,
    /// Answers with 429 or 503.
    pub throttled: u64,
    /// HTTP requests to the token service.
    pub token_requests: u64,
}

/// A client of one Graph endpoint. Clones share connections, token and limits.
#[derive(Clone, Debug)]
pub struct Client {
    pub(super) shared: Arc<Shared>,
    pub(super) deadline: Option<Instant>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) clock: Clock,
    pub(super) http: reqwest::Client,
    /// Keeps no connection: each request opens one.
    fresh: reqwest::Client,
    pub(super) tokens: Tokens,
    pub(super) throttle: Throttle,
    rooms: Rooms,
    pub(super) requests: AtomicU64,
    pub(super) throttled: AtomicU64,
}

/// What ends the work on a record early.
#[derive(Debug)]
pub(super) enum Stop {
    /// It ends the run.
    Fatal(Error),
    /// It is what becomes of this record.
    Settled(Outcome),
}

impl Stop {
    pub(super) fn unavailable(reason: impl ToString) -> Self {
        Self::Settled(Outcome::Unavailable { reason: reason.to_string() })
    }

    pub(super) fn unusable(reason: impl ToString, bytes: Vec<u8>) -> Self {
        Self::Settled(Outcome::Unusable { reason: reason.to_string(), bytes: body::kept(bytes) })
    }
}

/// What the requests for one record keep to.
pub(super) struct Bounds {
    pub(super) pace: RecordPace,
    pub(super) room: Room,
}

/// How one attempt went.
enum Attempt {
    Served(Members),
    Settled(Outcome),
    Unauthorized,
    /// Worth another attempt.
    Passing(Passing),
    /// The answer has more bytes than the record has room for.
    Crowded(usize),
}

/// A failure that may pass.
struct Passing {
    reason: String,
    /// The wait that Graph asked for, which the throttle knows already.
    wait: Option<Duration>,
    new_connection: bool,
    /// Graph's id of the request, for its support.
    request_id: Option<Uuid>,
}

impl Attempt {
    fn passing(reason: impl Into<String>) -> Self {
        Self::Passing(Passing { reason: reason.into(), wait: None, new_connection: false, request_id: None })
    }

    /// There was no whole answer, and the connection is not to be trusted.
    fn broken(reason: impl Into<String>) -> Self {
        Self::Passing(Passing { reason: reason.into(), wait: None, new_connection: true, request_id: None })
    }

    fn unusable(reason: impl Into<String>, bytes: Vec<u8>) -> Self {
        Self::Settled(Outcome::Unusable { reason: reason.into(), bytes: body::kept(bytes) })
    }
}

impl Client {
    /// Sends nothing yet.
    ///
    /// # Errors
    /// Config: the settings would send a token in clear text, or are not usable.
    pub fn new(settings: Settings, clock: Clock) -> Result<Self, Error> {
        settings.validate()?;
        let build = |idle: usize| {
            let mut builder = reqwest::Client::builder()
                .redirect(Policy::none())
                .user_agent(&settings.user_agent)
                .connect_timeout(settings.request_timeout.min(Duration::from_secs(20)))
                .pool_max_idle_per_host(idle)
                .referer(false)
                .http2_keep_alive_interval(PING)
                .http2_keep_alive_timeout(PING)
                // Reading the system's certificates takes long, and a loopback server needs none.
                .tls_built_in_root_certs(settings.needs_tls());
            if is_loopback(&settings.endpoint) {
                builder = builder.no_proxy();
            }
            builder.build().map_err(|error| {
                Error::config("cannot set up the HTTP client")
                    .because(error)
                    .hint("install the system's CA certificates, or name their file in SSL_CERT_FILE")
            })
        };
        Ok(Self {
            shared: Arc::new(Shared {
                http: build(settings.max_concurrency.saturating_mul(2))?,
                fresh: build(0)?,
                tokens: Tokens::new(&settings)?,
                throttle: Throttle::new(&settings),
                rooms: Rooms::new(),
                requests: AtomicU64::new(0),
                throttled: AtomicU64::new(0),
                clock,
                settings,
            }),
            deadline: None,
        })
    }

    /// The same client with a deadline: what would have to wait longer is
    /// [`Outcome::Unavailable`] at once.
    #[must_use]
    pub fn with_deadline(&self, deadline: Option<Instant>) -> Self {
        Self { shared: Arc::clone(&self.shared), deadline }
    }

    /// Obtains a token, if there is none yet.
    ///
    /// # Errors
    /// Access: the token service refuses. Temporary: it does not answer.
    pub async fn token(&self) -> Result<(), Error> {
        self.shared.tokens.get(&self.way()).await.map(drop)
    }

    /// Seconds by which this machine's clock is behind the one of the last answer
    /// that had a date.
    #[must_use]
    pub fn clock_behind(&self) -> Option<i64> {
        self.shared.tokens.behind()
    }

    /// What was sent so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            requests: self.shared.requests.load(Ordering::Relaxed),
            throttled: self.shared.throttled.load(Ordering::Relaxed),
            token_requests: self.shared.tokens.requests(),
        }
    }

    /// How many records are worth fetching side by side now; at least 1. It
    /// falls when Graph throttles and recovers slowly.
    #[must_use]
    pub fn concurrency(&self) -> usize {
        self.shared.throttle.concurrency()
    }

    /// The root of Graph.
    #[must_use]
    pub fn endpoint(&self) -> &Url {
        &self.shared.settings.endpoint
    }

    pub(super) fn bounds(&self) -> Bounds {
        Bounds { pace: RecordPace::new(&self.shared.settings), room: self.shared.rooms.small() }
    }

    /// Waits until the record has room for lists of `size` bytes.
    pub(super) async fn make_room(&self, size: usize, record: &Bounds) -> Result<(), Stop> {
        record.room.grow_beyond(size, self.deadline).await.map_err(Stop::unavailable)
    }

    /// `bytes` without the secrets that this client has sent.
    pub(super) fn redacted(&self, bytes: &[u8]) -> Vec<u8> {
        self.shared.tokens.redacted(bytes)
    }

    /// What the client was told.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    pub(super) fn way(&self) -> Way<'_> {
        let Shared { http, settings, clock, .. } = &*self.shared;
        Way { http, settings, clock, deadline: self.deadline }
    }

    /// Waits out a back-off, the `attempt`th.
    pub(super) async fn back_off(&self, attempt: u32) -> Result<(), Stop> {
        self.wait(retry::back_off(self.shared.settings.backoff_base, attempt)).await
    }

    async fn wait(&self, wait: Duration) -> Result<(), Stop> {
        let until = Instant::now() + wait;
        check_deadline(until, self.deadline).map_err(Stop::unavailable)?;
        sleep_until(until).await;
        Ok(())
    }

    /// Gets the JSON object at `url`, which is the endpoint's.
    pub(super) async fn get(&self, url: &Url, record: &Bounds) -> Result<Members, Stop> {
        let Shared { settings, tokens, throttle, .. } = &*self.shared;
        let mut token = tokens.get(&self.way()).await.map_err(Stop::Fatal)?;
        let (mut failures, mut waits, mut replaced, mut new_connection) = (0, 0, false, false);
        loop {
            throttle.enter(&record.pace, self.deadline).await.map_err(Stop::unavailable)?;
            let began = Instant::now();
            let attempt = self.attempt(url, &token.header, new_connection, began, record.room.limit()).await;
            if !matches!(attempt, Attempt::Passing(_) | Attempt::Unauthorized) {
                tokens.accepted(&token);
                throttle.served();
            }
            let failure = match attempt {
                Attempt::Served(members) => return Ok(members),
                Attempt::Settled(outcome) => return Err(Stop::Settled(outcome)),
                Attempt::Unauthorized if replaced => return Err(Stop::Fatal(tokens.unwelcome())),
                Attempt::Unauthorized => {
                    token = tokens.replace(&token, &self.way()).await.map_err(Stop::Fatal)?;
                    replaced = true;
                    continue;
                }
                // Asked for again once there is room: nobody waits with half an answer.
                Attempt::Crowded(size) => {
                    self.make_room(size, record).await?;
                    continue;
                }
                Attempt::Passing(failure) => failure,
            };
            if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Err(Stop::unavailable("deadline"));
            }
            new_connection = failure.new_connection;
            if failure.wait.is_some() {
                waits += 1;
            } else {
                failures += 1;
            }
            if failures >= settings.tries || waits >= settings.tries.saturating_mul(WAITS_PER_TRY) {
                return Err(Stop::unavailable(failure.reason));
            }
            // An asked-for wait is the shared window, which `enter` sits out.
            if failure.wait.is_none() {
                self.back_off(failures - 1).await?;
            }
            // The token may have been replaced during a long wait.
            token = tokens.get(&self.way()).await.map_err(Stop::Fatal)?;
        }
    }

    /// Sends one request and reads its answer whole, within the time limit.
    async fn attempt(
        &self,
        url: &Url,
        token: &HeaderValue,
        new_connection: bool,
        began: Instant,
        room: usize,
    ) -> Attempt {
        let Shared { settings, http, fresh, .. } = &*self.shared;
        let request_id = Uuid::new_v4();
        let http = if new_connection { fresh } else { http };
        let request = http.get(url.clone()).headers(headers(token, request_id));
        self.shared.requests.fetch_add(1, Ordering::Relaxed);
        let limit = began + settings.request_timeout;
        let limit = self.deadline.map_or(limit, |deadline| deadline.min(limit));
        let attempt = match timeout_at(limit, self.exchange(request, began, room)).await {
            Ok(attempt) => attempt,
            Err(_) => Attempt::broken("timeout"),
        };
        match &attempt {
            Attempt::Passing(failure) => warn!(
                path = url.path(),
                client_request_id = %request_id,
                request_id = failure.request_id.map(tracing::field::display),
                reason = failure.reason,
                "a request failed"
            ),
            Attempt::Unauthorized => {
                warn!(path = url.path(), client_request_id = %request_id, "Graph refused the token")
            }
            Attempt::Served(_) | Attempt::Settled(_) | Attempt::Crowded(_) => {}
        }
        attempt
    }

    async fn exchange(&self, request: reqwest::RequestBuilder, began: Instant, room: usize) -> Attempt {
        let failed = |error: &reqwest::Error| {
            warn!(cause = body::failure_cause(error), "no whole answer");
            Attempt::broken(body::failure_code(error))
        };
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => return failed(&error),
        };
        self.shared.tokens.dated(response.headers(), &self.shared.clock);
        let status = response.status();
        if status != StatusCode::OK {
            return self.refused(response, began).await;
        }
        let most = self.shared.settings.max_body_bytes;
        let body = match body::read(response, most.min(room)).await {
            Ok(body) => body,
            Err(BodyError::TooLarge(_)) if room < most => return Attempt::Crowded(room),
            Err(BodyError::TooLarge(start)) => return Attempt::unusable("too-large", start),
            Err(BodyError::Broken(error)) => return failed(&error),
        };
        match json::looked_at(&body, most) {
            Err(Unsafe::NotUtf8) => Attempt::passing("not-json"),
            Err(Unsafe::TooDeep) => Attempt::unusable("too-deep", body),
            Err(Unsafe::TooLarge { .. }) => Attempt::unusable("too-large", body),
            Ok(checked) => match Members::parse(checked) {
                None => Attempt::passing("not-json"),
                Some(members) if members.is_error() => Attempt::passing("error-in-200"),
                Some(members) => Attempt::Served(members),
            },
        }
    }

    /// What an answer other than 200 means.
    async fn refused(&self, response: reqwest::Response, began: Instant) -> Attempt {
        let status = response.status();
        let passing = body::is_passing(status);
        let wait = retry::retry_after(response.headers(), &self.shared.clock).filter(|_| passing);
        // Shown in logs, so nothing but an id is taken.
        let request_id = response.headers().get(REQUEST_ID).and_then(|id| Uuid::try_parse_ascii(id.as_bytes()).ok());
        let reason = format!("http-{}", status.as_u16());
        let throttled = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
        self.shared.throttled.fetch_add(u64::from(throttled), Ordering::Relaxed);
        // Before the body is read, for the window is for all tasks, and after
        // it, for the window counts from the end of the answer.
        if throttled || wait.is_some() {
            self.shared.throttle.refused(began, wait);
        }
        let body = body::read_error(response).await;
        if wait.is_some() {
            self.shared.throttle.refused(began, wait);
        }
        match status {
            StatusCode::UNAUTHORIZED => Attempt::Unauthorized,
            StatusCode::FORBIDDEN => Attempt::Settled(Outcome::Forbidden),
            StatusCode::NOT_FOUND | StatusCode::GONE => Attempt::Settled(Outcome::NotFound),
            _ if status.is_redirection() => {
                warn!(status = status.as_u16(), "Graph redirects; redirects are never followed");
                Attempt::Settled(Outcome::Unavailable { reason: "redirect".to_owned() })
            }
            _ if status.is_success() || passing => {
                let new_connection = status == StatusCode::SERVICE_UNAVAILABLE;
                Attempt::Passing(Passing { reason, wait, new_connection, request_id })
            }
            _ => {
                debug!(
                    status = status.as_u16(),
                    request_id = request_id.map(tracing::field::display),
                    "Graph refuses a request"
                );
                Attempt::unusable(reason, body)
            }
        }
    }
}

pub(super) fn headers(token: &HeaderValue, request_id: Uuid) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, token.clone());
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(PREFER, HeaderValue::from_static("include-unknown-enum-members"));
    if let Ok(id) = HeaderValue::from_str(&request_id.to_string()) {
        headers.insert(CLIENT_REQUEST_ID, id);
    }
    headers
}
