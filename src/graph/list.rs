//! The list of call records: which ones Graph has, that began in a span of time.
//!
//! Graph lists the last 30 days, in pages of 60 and in no promised order. A row
//! says id, version and times and nothing of sessions, and the list cannot be
//! asked for what changed.

use super::Outcome;
use super::client::{Bounds, Client, Stop};
use super::link;
use super::page;
use super::throttle::{LIST_LIMIT, RecordPace, SPAN};
use crate::call_id::CallId;
use crate::error::Error;
use chrono::{DateTime, SecondsFormat, Utc};
use reqwest::Url;
use serde::Deserialize;
use std::collections::HashSet;

/// Pages of one list: at 60 rows each more than Graph's limits let pass in a day.
const MAX_PAGES: usize = 200_000;

/// Pages in a row without a row.
const MAX_EMPTY_PAGES: usize = 20;

/// What the list says of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its id.
    pub call_id: CallId,
    /// Graph's version of it; 0 if the list does not say.
    pub version: i64,
    /// When the call began.
    pub start: Option<DateTime<Utc>>,
    /// When it ended.
    pub end: Option<DateTime<Utc>>,
    /// When this version was made.
    pub last_modified: Option<DateTime<Utc>>,
}

/// What came of listing a span.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The records, as they came.
    pub records: Vec<Listed>,
    /// Rows without an id that a call record can have.
    pub unreadable: u64,
    /// Why the end was not reached, as a stable code: those of
    /// [`Outcome::Unavailable`] and [`Outcome::Unusable`].
    pub incomplete: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    id: String,
    version: Option<i64>,
    start_date_time: Option<DateTime<Utc>>,
    end_date_time: Option<DateTime<Utc>>,
    last_modified_date_time: Option<DateTime<Utc>>,
}

/// Keeps to the limit of the list, however many spans are listed.
pub struct Lister {
    client: Client,
    bounds: Bounds,
}

impl Client {
    /// For listing records.
    #[must_use]
    pub fn lister(&self) -> Lister {
        let bounds = Bounds { pace: RecordPace::limited(LIST_LIMIT, SPAN), ..self.bounds() };
        Lister { client: self.clone(), bounds }
    }
}

impl Lister {
    /// The records that began at or after `from` and before `to`.
    ///
    /// # Errors
    /// What ends the run: access, or a token service that does not answer.
    pub async fn list(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> Result<Listing, Error> {
        let mut listing = Listing::default();
        let mut url = self.url(from, to);
        let mut seen = HashSet::from([url.to_string()]);
        let mut empty = 0;
        loop {
            let members = match self.client.get(&url, &self.bounds).await {
                Ok(members) => members,
                Err(Stop::Fatal(error)) => return Err(error),
                Err(Stop::Settled(outcome)) => return listing.ended(outcome),
            };
            let Some(rows) = members.get("value").and_then(page::elements) else {
                listing.incomplete = Some("page-without-list".to_owned());
                return Ok(listing);
            };
            empty = if rows.is_empty() { empty + 1 } else { 0 };
            for raw in rows {
                let row: Option<Row> = serde_json::from_str(raw.get()).ok();
                let listed = row.and_then(|row| {
                    Some(Listed {
                        call_id: row.id.parse().ok()?,
                        version: row.version.unwrap_or(0),
                        start: row.start_date_time,
                        end: row.end_date_time,
                        last_modified: row.last_modified_date_time,
                    })
                });
                match listed {
                    Some(listed) => listing.records.push(listed),
                    None => listing.unreadable += 1,
                }
            }
            let Some(next) = members.next_link("value") else { return Ok(listing) };
            let followed = link::pinned(&next, &self.client.settings().endpoint, "callRecords");
            let reason = match followed {
                Err(refused) => refused.to_string(),
                Ok(_) if seen.len() >= MAX_PAGES || empty > MAX_EMPTY_PAGES => link::Refused::Loop.to_string(),
                Ok(next) if !seen.insert(next.to_string()) => link::Refused::Loop.to_string(),
                Ok(next) => {
                    url = next;
                    continue;
                }
            };
            listing.incomplete = Some(reason);
            return Ok(listing);
        }
    }

    fn url(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> Url {
        let mut url = self.client.settings().endpoint.clone();
        url.set_path(&format!("{}/v1.0/communications/callRecords", url.path().trim_end_matches('/')));
        let at = |instant: DateTime<Utc>| instant.to_rfc3339_opts(SecondsFormat::Millis, true);
        let filter = format!("startDateTime ge {} and startDateTime lt {}", at(from), at(to));
        url.query_pairs_mut()
            .append_pair("$filter", &filter)
            .append_pair("$select", "id,version,startDateTime,endDateTime,lastModifiedDateTime");
        url
    }
}

impl Listing {
    fn ended(mut self, outcome: Outcome) -> Result<Self, Error> {
        self.incomplete = Some(match outcome {
            Outcome::Forbidden => {
                return Err(Error::access("Graph refuses the list of call records to this app (403)").hint(
                    "grant the application permission CallRecords.Read.All with admin consent, then wait some minutes",
                ));
            }
            Outcome::NotFound => "not-found".to_owned(),
            Outcome::Unavailable { reason } | Outcome::Unusable { reason, .. } => reason,
            Outcome::Record { .. } => "record".to_owned(),
        });
        Ok(self)
    }
}
