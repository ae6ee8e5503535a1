//! Tells a receiver of emergency calls once their rows are in the tables.
//!
//! Each alert is told at least once: it goes from the disk when the receiver has
//! taken it.

use crate::crash_point::crash_point;
use crate::dataset::call_logs::{self, Pending};
use crate::dataset::layout::Layout;
use crate::error::{Class, Error, Result};
use crate::files;
use crate::graph::{Url, is_sheltered};
use crate::shutdown::Shutdown;
use std::time::Duration;

/// For one post, from its first byte to the answer.
const LIMIT: Duration = Duration::from_secs(10);
/// Before each try to post an alert.
const PAUSES: [Duration; 3] = [Duration::ZERO, Duration::from_millis(500), Duration::from_millis(1500)];

/// Who is told.
#[derive(Clone)]
pub struct Receiver {
    url: Url,
}

impl std::fmt::Debug for Receiver {
    /// The URL may hold a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Receiver")
    }
}

/// What came of it, in calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Calls of alerts that the receiver took.
    pub sent: u64,
    /// Calls of alerts that are left to a later run.
    pub pending: u64,
}

/// How a post ended.
enum Answer {
    Taken,
    /// A status that is no 2xx.
    Refused(u16),
    /// None came.
    Silent(String),
}

impl Receiver {
    /// The receiver at an address that a user gave.
    ///
    /// # Errors
    /// By class usage, if it is no URL of https, or of http on this machine. It may
    /// hold a secret and is not shown.
    pub fn at(given: &str) -> Result<Self> {
        let url = Url::parse(given).ok().filter(is_sheltered);
        url.map(|url| Self { url }).ok_or_else(|| {
            Error::usage("--alert-url is neither an https URL nor http on loopback")
                .hint("give an address such as https://HOST/PATH: alerts name users")
        })
    }

    /// Posts the alerts that are published and not delivered, until a signal comes, and
    /// adds to `told` what came of it. After one that is not answered no further one is
    /// tried.
    ///
    /// # Errors
    /// Any failure of the file system, by class I/O; by class configuration when an
    /// alert is damaged, after the others.
    pub async fn tell(&self, layout: &Layout, shutdown: &mut Shutdown, told: &mut Told) -> Result<()> {
        let (mut damaged, mut reached) = (None, !shutdown.is_requested());
        let pending = call_logs::pending(layout)?;
        if pending.is_empty() {
            return Ok(());
        }
        let client = reqwest::Client::builder()
            .timeout(LIMIT)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("callrec/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| Error::new(Class::Io, "Cannot make a client for --alert-url").because(e.without_url()))?;
        for one in pending {
            let Pending { path, bytes, alert } = match one {
                Ok(pending) => pending,
                Err(error) => {
                    told.pending += 1;
                    damaged.get_or_insert(error);
                    continue;
                }
            };
            let calls = alert.calls.len() as u64;
            told.pending += calls;
            if !reached {
                continue;
            }
            crash_point("alerts::posting")?;
            let answer = tokio::select! {
                answer = self.post(&client, &bytes) => answer,
                () = shutdown.requested() => Answer::Silent("interrupted".to_owned()),
            };
            match answer {
                Answer::Taken => {
                    crash_point("alerts::posted")?;
                    files::remove_if_there(&path)?;
                    told.pending -= calls;
                    told.sent += calls;
                    tracing::info!(alert = alert.id, calls, "told the receiver of --alert-url of emergency calls");
                }
                Answer::Refused(status) => {
                    tracing::warn!(alert = alert.id, status, "the receiver of --alert-url does not take an alert");
                }
                Answer::Silent(cause) => {
                    tracing::warn!(alert = alert.id, cause, "the receiver of --alert-url does not answer");
                    reached = false;
                }
            }
        }
        if told.sent > 0 {
            files::sync_directory(&layout.alerts())?;
        }
        damaged.map_or(Ok(()), Err)
    }

    async fn post(&self, client: &reqwest::Client, bytes: &[u8]) -> Answer {
        let mut answer = Answer::Silent(String::new());
        for pause in PAUSES {
            tokio::time::sleep(pause).await;
            let request = client.post(self.url.clone()).header(reqwest::header::CONTENT_TYPE, "application/json");
            answer = match request.body(bytes.to_vec()).send().await {
                Ok(response) if response.status().is_success() => return Answer::Taken,
                Ok(response) => Answer::Refused(response.status().as_u16()),
                Err(error) => Answer::Silent(error.without_url().to_string()),
            };
        }
        answer
    }
}

/// What a run that tells nobody leaves as it is.
///
/// # Errors
/// Any failure of the file system, by class I/O.
pub fn untold(layout: &Layout) -> Result<Told> {
    let calls = |one: &Result<Pending>| one.as_ref().map_or(1, |pending| pending.alert.calls.len() as u64);
    Ok(Told { sent: 0, pending: call_logs::pending(layout)?.iter().map(calls).sum() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_others_could_listen_to_is_refused_and_none_is_shown() {
        for good in
            ["https://alerts.example/a?key=s3cret", "http://127.0.0.1:9/a", "http://[::1]/", "http://localhost/"]
        {
            let receiver = Receiver::at(good).unwrap();
            assert_eq!(format!("{receiver:?}"), "Receiver");
        }
        for bad in ["http://alerts.example/s3cret", "alerts.example/s3cret", "ftp://127.0.0.1/s3cret", ""] {
            let error = Receiver::at(bad).unwrap_err();
            assert_eq!(error.class(), Class::Usage, "{bad}");
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
    }
}
