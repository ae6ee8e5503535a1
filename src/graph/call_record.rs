//! One whole record: two requests side by side, all their pages, one version.
//!
//! Later pages carry no version. So both first answers must carry the same one,
//! and a record that had further pages is closed by asking for the version once
//! more: what comes out is never put together from two versions.

use super::Outcome;
use super::assemble::{self, Collection, Expansion};
use super::client::{Bounds, Client, Stop};
use super::link::{self, Refused};
use super::page::{self, Members};
use super::room::Room;
use crate::call_id::CallId;
use crate::error::Error;
use reqwest::Url;
use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use tracing::{debug, warn};

/// How often a record may change under our hands before it is left for a later run.
const RESTARTS: u32 = 3;

/// Pages of one list; Graph's hold 60 sessions or 130 participants.
const MAX_PAGES: usize = 2000;

/// Pages in a row that add nothing and have a next link.
const MAX_EMPTY_PAGES: usize = 20;

/// One of the two lists of a record, and how it is asked for.
struct List {
    name: &'static str,
    /// Query of the record's URL.
    expand: &'static str,
    /// Query of the list's own URL.
    own_query: Option<&'static str>,
}

const SESSIONS: List =
    List { name: "sessions", expand: "$expand=sessions($expand=segments)", own_query: Some("$expand=segments") };
const PARTICIPANTS: List = List { name: "participants_v2", expand: "$expand=participants_v2", own_query: None };

/// Why one pass over a record gave none.
enum Pass {
    Stop(Stop),
    /// The record changed meanwhile.
    Changed,
}

impl From<Stop> for Pass {
    fn from(stop: Stop) -> Self {
        Self::Stop(stop)
    }
}

/// A first answer and where its list goes on.
struct Begun {
    expansion: Expansion,
    version: i64,
    next: Option<String>,
}

/// What the steps of one record share.
struct Fetch<'a> {
    client: &'a Client,
    id: CallId,
    bounds: Bounds,
    /// Bytes of the lists so far.
    collected: AtomicUsize,
}

impl Client {
    /// Fetches the record `id` whole, or says what became of it.
    ///
    /// # Errors
    /// What ends the run: access, or a token service that does not answer.
    pub async fn call_record(&self, id: CallId) -> Result<Outcome, Error> {
        self.call_record_in_room(id).await.map(|(outcome, _)| outcome)
    }

    /// Asks for a record that nobody has: whether Graph answers 404 or 403 tells
    /// whether the app may read call records.
    ///
    /// # Errors
    /// As [`Client::call_record`].
    pub async fn probe(&self) -> Result<Outcome, Error> {
        self.call_record(CallId::NONE).await
    }

    /// As [`Client::call_record`], with what makes other large records wait: to be
    /// dropped after the bytes of this one.
    ///
    /// # Errors
    /// As [`Client::call_record`].
    pub async fn call_record_in_room(&self, id: CallId) -> Result<(Outcome, Room), Error> {
        let fetch = Fetch { client: self, id, bounds: self.bounds(), collected: AtomicUsize::new(0) };
        let outcome = fetch.outcome().await?;
        Ok((outcome, fetch.bounds.room))
    }
}

impl Fetch<'_> {
    async fn outcome(&self) -> Result<Outcome, Error> {
        for restart in 0..=RESTARTS {
            if restart > 0 {
                debug!(call_id = %self.id, "the record changed while it was read; starting again");
            }
            self.collected.store(0, Ordering::Relaxed);
            let stop = match self.pass().await {
                Ok(outcome) => return Ok(outcome),
                Err(Pass::Stop(stop)) => stop,
                Err(Pass::Changed) => match self.client.back_off(restart).await {
                    Ok(()) => continue,
                    Err(stop) => stop,
                },
            };
            return match stop {
                Stop::Fatal(error) => Err(error),
                Stop::Settled(Outcome::Unusable { reason, bytes }) => {
                    Ok(Outcome::Unusable { reason, bytes: self.client.redacted(&bytes) })
                }
                Stop::Settled(outcome) => Ok(outcome),
            };
        }
        Ok(Outcome::Unavailable { reason: "changing".to_owned() })
    }

    async fn pass(&self) -> Result<Outcome, Pass> {
        let (mut sessions, mut participants) = both(tokio::join!(self.begin(&SESSIONS), self.begin(&PARTICIPANTS)))?;
        let version = sessions.version;
        if version != participants.version {
            return Err(Pass::Changed);
        }
        if sessions.next.is_some() || participants.next.is_some() {
            both(tokio::join!(self.read_on(&SESSIONS, &mut sessions), self.read_on(&PARTICIPANTS, &mut participants)))?;
            self.close(version).await?;
        }
        let bytes = assemble::record(&sessions.expansion, &participants.expansion);
        if bytes.len() > self.client.settings().max_record_bytes {
            return Err(Stop::unusable("too-large", bytes).into());
        }
        Ok(Outcome::Record { bytes, version })
    }

    async fn begin(&self, list: &List) -> Result<Begun, Pass> {
        let members = self.client.get(&self.url(None, Some(list.expand)), &self.bounds).await?;
        self.check_id(&members)?;
        let version = self.version(&members)?;
        let next = members.next_link(list.name);
        let mut collection = None;
        if let Some(elements) = members.get(list.name).and_then(page::elements) {
            let collection = collection.get_or_insert_with(Collection::default);
            collection.append(&members, &elements);
            self.collected.fetch_add(collection.size(), Ordering::Relaxed);
        }
        Ok(Begun { expansion: Expansion { members, list: list.name, collection }, version, next })
    }

    /// Follows the next links of one list to their end; where they are not to
    /// be followed, reads the list by its own URL instead.
    async fn read_on(&self, list: &List, begun: &mut Begun) -> Result<(), Pass> {
        let Some(mut link) = begun.next.take() else { return Ok(()) };
        let mut seen = HashSet::from([self.url(None, Some(list.expand)).to_string()]);
        let (mut pages, mut empty, mut by_own_url) = (1, 0, false);
        loop {
            let followed =
                link::pinned(&link, &self.client.settings().endpoint, &self.id.to_string()).and_then(|url| {
                    let new = seen.insert(url.to_string()) && pages < MAX_PAGES && empty <= MAX_EMPTY_PAGES;
                    if new { Ok(url) } else { Err(Refused::Loop) }
                });
            let url = match followed {
                Ok(url) => url,
                Err(refused) if by_own_url => return Err(Stop::unusable(refused, begun.expansion.to_json()).into()),
                Err(refused) => {
                    warn!(call_id = %self.id, list = list.name, reason = %refused, "a next link is not followed; reading the list by its own URL");
                    let url = self.url(Some(list.name), list.own_query);
                    (pages, empty, by_own_url) = (0, 0, true);
                    seen = HashSet::from([url.to_string()]);
                    let dropped = begun.expansion.collection.take();
                    self.collected.fetch_sub(dropped.map_or(0, |c| c.size()), Ordering::Relaxed);
                    url
                }
            };
            let members = self.client.get(&url, &self.bounds).await?;
            let added = self.append(list, begun, &members)?;
            self.client.make_room(self.collected.load(Ordering::Relaxed).saturating_sub(1), &self.bounds).await?;
            pages += 1;
            empty = if added == 0 { empty + 1 } else { 0 };
            match members.next_link(list.name) {
                Some(next) => link = next,
                None => return Ok(()),
            }
        }
    }

    /// Appends a further page; gives how many elements it added.
    fn append(&self, list: &List, begun: &mut Begun, members: &Members) -> Result<usize, Pass> {
        // A page may be a record again, and must then be this one.
        let (elements, is_record) = match members.get(list.name) {
            Some(raw) => (page::elements(raw), true),
            None => (members.get("value").and_then(page::elements), false),
        };
        if is_record {
            if members.get("id").is_some() {
                self.check_id(members)?;
            }
            if members.value::<i64>("version").is_some_and(|version| version != begun.version) {
                return Err(Pass::Changed);
            }
        }
        let Some(elements) = elements else {
            return Err(Stop::unusable("page-without-list", members.to_json()).into());
        };
        let collection = begun.expansion.collection.get_or_insert_with(Collection::default);
        let (size, length) = (collection.size(), collection.len());
        collection.append(members, &elements);
        self.collected.fetch_add(collection.size() - size, Ordering::Relaxed);
        let added = collection.len() - length;
        if collection.size() > self.client.settings().max_record_bytes {
            return Err(Stop::unusable("too-large", begun.expansion.to_json()).into());
        }
        Ok(added)
    }

    /// Asks once more which version the record has.
    async fn close(&self, version: i64) -> Result<(), Pass> {
        let members = self.client.get(&self.url(None, Some("$select=id,version")), &self.bounds).await?;
        self.check_id(&members)?;
        if self.version(&members)? == version { Ok(()) } else { Err(Pass::Changed) }
    }

    fn url(&self, list: Option<&str>, query: Option<&str>) -> Url {
        let mut url = self.client.settings().endpoint.clone();
        let mut path = format!("{}/v1.0/communications/callRecords/{}", url.path().trim_end_matches('/'), self.id);
        if let Some(list) = list {
            path.push('/');
            path.push_str(list);
        }
        url.set_path(&path);
        url.set_query(query);
        url
    }

    fn check_id(&self, members: &Members) -> Result<(), Stop> {
        match members.value::<String>("id").and_then(|id| id.parse::<CallId>().ok()) {
            Some(id) if id == self.id => Ok(()),
            _ => Err(Stop::unusable("wrong-id", members.to_json())),
        }
    }

    fn version(&self, members: &Members) -> Result<i64, Stop> {
        members.value("version").ok_or_else(|| Stop::unusable("no-version", members.to_json()))
    }
}

/// Both, or what ends the work: an error of the run first, then what says to
/// try again soon, for it is the safer of two different answers.
fn both<T>((left, right): (Result<T, Pass>, Result<T, Pass>)) -> Result<(T, T), Pass> {
    let weight = |pass: &Pass| match pass {
        Pass::Stop(Stop::Fatal(_)) => 2,
        Pass::Stop(Stop::Settled(Outcome::Unavailable { .. })) | Pass::Changed => 1,
        Pass::Stop(Stop::Settled(_)) => 0,
    };
    match (left, right) {
        (Ok(left), Ok(right)) => Ok((left, right)),
        (Err(left), Err(right)) => Err(if weight(&right) > weight(&left) { right } else { left }),
        (Err(error), Ok(_)) | (Ok(_), Err(error)) => Err(error),
    }
}
