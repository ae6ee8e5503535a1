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
    /// It has more rows than were wanted at once.
    TooMuch,
    /// Graph refuses this log (403).
    Forbidden,
    /// Not now, or not in a form that can be used. The reason is a stable code.
    Unavailable(String),
}

/// The code of a window of which more came than was wanted.
const TOO_MUCH: &str = "too-much";

/// How following the links ended.
enum Linked {
    /// At the last page.
    Whole,
    /// At a link that is not to be followed, or leads nowhere.
    Broken(&'static str),
}

/// Reads the windows of one log, one after the other.
pub struct LogReader {
    client: Client,
    bounds: Bounds,
}

/// The rows that came, and how many bytes may come.
struct Rows {
    lines: Vec<Vec<u8>>,
    bytes: usize,
    most: usize,
}

impl Rows {
    fn add(&mut self, page: Vec<Vec<u8>>) -> Result<(), Stop> {
        self.bytes += page.iter().map(Vec::len).sum::<usize>();
        self.lines.extend(page);
        if self.bytes > self.most { Err(Stop::unavailable(TOO_MUCH)) } else { Ok(()) }
    }
}

impl Client {
    /// A reader of one log that begins so many requests within a minute.
    #[must_use]
    pub fn log_reader(&self, requests_per_minute: usize) -> LogReader {
        let bounds = Bounds { pace: RecordPace::limited(requests_per_minute.max(1), SPAN), ..self.bounds() };
        LogReader { client: self.clone(), bounds }
    }
}

impl LogReader {
    /// All rows of `window`, unless they are more than `most` bytes.
    ///
    /// # Errors
    /// What ends the run: access, or a token service that does not answer.
    pub async fn rows(&self, window: &LogWindow<'_>, most: usize) -> Result<LogOutcome, Error> {
        let mut rows = Rows { lines: Vec::new(), bytes: 0, most };
        match self.pages(window, &mut rows).await {
            Ok(()) => Ok(LogOutcome::Rows(rows.lines)),
            Err(Stop::Fatal(error)) => Err(error),
            Err(Stop::Settled(outcome)) => Ok(match outcome {
                Outcome::Unusable { reason, .. } if reason == "http-406" => LogOutcome::TooLong,
                Outcome::Forbidden => LogOutcome::Forbidden,
                Outcome::Unavailable { reason } if reason == TOO_MUCH => LogOutcome::TooMuch,
                Outcome::Unavailable { reason } | Outcome::Unusable { reason, .. } => LogOutcome::Unavailable(reason),
                Outcome::NotFound | Outcome::Record { .. } => LogOutcome::Unavailable("http-404".to_owned()),
            }),
        }
    }

    async fn pages(&self, window: &LogWindow<'_>, rows: &mut Rows) -> Result<(), Stop> {
        match self.linked(window, rows).await? {
            Linked::Whole => Ok(()),
            Linked::Broken(why) => {
                tracing::warn!(log = window.function, why, "a next link is not usable; counting the pages out instead");
                *rows = Rows { lines: Vec::new(), bytes: 0, most: rows.most };
                self.counted(window, rows).await
            }
        }
    }

    /// Follows the links.
    async fn linked(&self, window: &LogWindow<'_>, rows: &mut Rows) -> Result<Linked, Stop> {
        let place = format!("/{}(", window.function);
        let mut url = self.url(window, 0);
        let mut followed: HashSet<Url> = HashSet::from([url.clone()]);
        for number in 0..MAX_PAGES {
            let members = match self.client.get(&url, &self.bounds).await {
                Ok(members) => members,
                Err(Stop::Settled(Outcome::Unusable { .. } | Outcome::NotFound | Outcome::Forbidden)) if number > 0 => {
                    return Ok(Linked::Broken("refused"));
                }
                Err(stop) => return Err(stop),
            };
            let page = lines(&members).ok_or_else(|| Stop::unavailable("page-without-list"))?;
            if number > 0 && is_first_again(&page, &rows.lines) {
                return Ok(Linked::Broken("page-loop"));
            }
            rows.add(page)?;
            let Some(next) = members.next_link("value") else { return Ok(Linked::Whole) };
            match link::pinned_in(&next, &self.client.settings().endpoint, window.version, &place) {
                Ok(next) if followed.insert(next.clone()) => url = next,
                Ok(_) => return Ok(Linked::Broken("page-loop")),
                Err(_) => return Ok(Linked::Broken("foreign-next-link")),
            }
        }
        Ok(Linked::Broken("page-loop"))
    }

    /// Asks for page after page by the number of rows before it.
    async fn counted(&self, window: &LogWindow<'_>, rows: &mut Rows) -> Result<(), Stop> {
        for number in 0..MAX_PAGES {
            let members = self.client.get(&self.url(window, rows.lines.len()), &self.bounds).await?;
            let page = lines(&members).ok_or_else(|| Stop::unavailable("page-without-list"))?;
            // The count was not heeded: these pages would not end.
            if number > 0 && is_first_again(&page, &rows.lines) {
                break;
            }
            let is_last = page.is_empty() || members.next_link("value").is_none();
            rows.add(page)?;
            if is_last {
                return Ok(());
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

/// Whether a page is the first one, served again.
fn is_first_again(page: &[Vec<u8>], rows: &[Vec<u8>]) -> bool {
    !page.is_empty() && rows.starts_with(page)
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
