//! Telephony logs: all rows of a window, page by page, within the limits of their
//! family.
//!
//! Links are followed as they come, and only to the same function. Where one fails
//! or leads elsewhere, the pages are counted out with `$skip`.

use super::Outcome;
use super::client::{Bounds, Client, Stop};
use super::link;
use super::page::{self, Members};
use super::throttle::RecordPace;
use crate::error::Error;
use chrono::{DateTime, SecondsFormat, Utc};
use reqwest::Url;
use serde_json::value::RawValue;
use std::collections::HashSet;
use std::time::Duration;

/// Requests for one log that Graph takes in [`SPAN`]. It takes 200 for all of them,
/// which are four.
const PER_LOG: usize = 50;
const SPAN: Duration = Duration::from_secs(60);
/// Pages of one window; Graph's hold 1,000 rows.
const MAX_PAGES: usize = 100_000;

/// A window of a log.
#[derive(Clone, Copy, Debug)]
pub struct LogWindow<'a> {
    /// The function that serves it.
    pub function: &'a str,
    /// The version of Graph that has it.
    pub version: &'a str,
    /// The first instant.
    pub from: DateTime<Utc>,
    /// The last instant: whether it belongs to the window differs by log.
    pub to: DateTime<Utc>,
}

/// What became of a window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogOutcome {
    /// All of its rows, as one line of JSON each.
    Rows(Vec<Vec<u8>>),
    /// Graph answers no window of this length (406).
    TooLong,
    /// Graph refuses this log (403).
    Forbidden,
    /// Not now, or not in a form that can be used. The reason is a stable code.
    Unavailable(String),
}

/// Reads the windows of one log, one after the other.
pub struct LogReader {
    client: Client,
    bounds: Bounds,
}

impl Client {
    /// A reader that keeps the limits of one log.
    #[must_use]
    pub fn log_reader(&self) -> LogReader {
        let bounds = Bounds { pace: RecordPace::limited(PER_LOG, SPAN), ..self.bounds() };
        LogReader { client: self.clone(), bounds }
    }
}

impl LogReader {
    /// All rows of `window`.
    ///
    /// # Errors
    /// What ends the run: access, or a token service that does not answer.
    pub async fn rows(&self, window: &LogWindow<'_>) -> Result<LogOutcome, Error> {
        let mut rows = Vec::new();
        match self.pages(window, &mut rows).await {
            Ok(()) => Ok(LogOutcome::Rows(rows)),
            Err(Stop::Fatal(error)) => Err(error),
            Err(Stop::Settled(outcome)) => Ok(match outcome {
                Outcome::Unusable { reason, .. } if reason == "http-406" => LogOutcome::TooLong,
                Outcome::Forbidden => LogOutcome::Forbidden,
                Outcome::Unavailable { reason } | Outcome::Unusable { reason, .. } => LogOutcome::Unavailable(reason),
                Outcome::NotFound | Outcome::Record { .. } => LogOutcome::Unavailable("http-404".to_owned()),
            }),
        }
    }

    async fn pages(&self, window: &LogWindow<'_>, rows: &mut Vec<Vec<u8>>) -> Result<(), Stop> {
        let first = self.url(window, 0);
        let mut followed: HashSet<Url> = HashSet::from([first.clone()]);
        let (mut url, mut is_link) = (first, false);
        let mut counted_first: Option<Vec<u8>> = None;
        for _ in 0..MAX_PAGES {
            let members = match self.client.get(&url, &self.bounds).await {
                Ok(members) => members,
                // The link is to blame, as far as can be told.
                Err(Stop::Settled(Outcome::Unusable { .. } | Outcome::NotFound | Outcome::Forbidden)) if is_link => {
                    (url, is_link) = (self.url(window, rows.len()), false);
                    continue;
                }
                Err(stop) => return Err(stop),
            };
            let page = lines(&members).ok_or_else(|| Stop::unavailable("page-without-list"))?;
            if counted_first.is_none() {
                counted_first = page.first().cloned();
            } else if !is_link && page.first() == counted_first.as_ref() {
                // The count was not heeded: these pages would not end.
                return Err(Stop::unavailable("page-loop"));
            }
            let is_empty = page.is_empty();
            rows.extend(page);
            let Some(next) = members.next_link("value") else { return Ok(()) };
            if is_empty && !is_link {
                return Ok(());
            }
            let place = format!("/{}(", window.function);
            let linked = link::pinned_in(&next, &self.client.settings().endpoint, window.version, &place);
            match linked {
                Ok(next) if followed.insert(next.clone()) => (url, is_link) = (next, true),
                _ => {
                    let next = self.url(window, rows.len());
                    if next == url || is_empty {
                        return Err(Stop::unavailable("page-loop"));
                    }
                    tracing::warn!(log = window.function, "a next link was refused; counting the pages out instead");
                    (url, is_link) = (next, false);
                }
            }
        }
        Err(Stop::unavailable("page-loop"))
    }

    fn url(&self, window: &LogWindow<'_>, skip: usize) -> Url {
        let mut url = self.client.settings().endpoint.clone();
        let instant = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Secs, true);
        let path = format!(
            "{}/{}/communications/callRecords/{}(fromDateTime={},toDateTime={})",
            url.path().trim_end_matches('/'),
            window.version,
            window.function,
            instant(window.from),
            instant(window.to)
        );
        url.set_path(&path);
        if skip > 0 {
            url.set_query(Some(&format!("$skip={skip}")));
        }
        url
    }
}

/// The rows of an answer, each as one line.
fn lines(members: &Members) -> Option<Vec<Vec<u8>>> {
    let list: &RawValue = members.get("value")?;
    let line = |row: &RawValue| {
        let mut line = Vec::with_capacity(row.get().len());
        members.append(row, &mut line);
        line
    };
    Some(page::elements(list)?.into_iter().map(line).collect())
}
