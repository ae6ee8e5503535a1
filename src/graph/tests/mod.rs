//! The client against a server that misbehaves on purpose.

mod access;
mod faults;
mod paging;
pub(in crate::graph) mod server;

use super::{Auth, Client, Outcome, Settings};
use crate::call_id::CallId;
use crate::clock::Clock;
use server::{Answer, Server};
use std::time::Duration;

const ID: &str = "e523d2ed-2966-4b6b-925b-754a88034cc5";
const SESSIONS: &str = "?$expand=sessions($expand=segments)";
const PARTICIPANTS: &str = "?$expand=participants_v2";
const CLOSING: &str = "?$select=id,version";

fn id() -> CallId {
    ID.parse().expect("a GUID")
}

/// Path and query of something about the record.
fn at(rest: &str) -> String {
    format!("/v1.0/communications/callRecords/{ID}{rest}")
}

fn settings(server: &Server) -> Settings {
    Settings {
        backoff_base: Duration::from_micros(10),
        tries: 3,
        requests_per_record_per_20s: 1000,
        max_concurrency: 8,
        ..Settings::new(server.url.clone(), Auth::Bearer("token-0".into()))
    }
}

fn client(server: &Server) -> Client {
    Client::new(settings(server), Clock::system()).expect("settings are valid")
}

/// A record with `list`, whose members are `elements`, and perhaps a next link.
fn page(version: i64, list: &str, elements: &str, next: Option<&str>) -> Answer {
    let next = next.map_or(String::new(), |next| format!(r#","{list}@odata.nextLink":"{next}""#));
    Answer::ok(format!(r#"{{"id":"{}","version":{version}{next},"{list}":[{elements}]}}"#, ID.to_uppercase()))
}

fn sessions(version: i64, elements: &str, next: Option<&str>) -> Answer {
    page(version, "sessions", elements, next)
}

fn participants(version: i64) -> Answer {
    page(version, "participants_v2", r#"{"id":"p"}"#, None)
}

fn closing(version: i64) -> Answer {
    Answer::ok(format!(r#"{{"id":"{ID}","version":{version}}}"#))
}

async fn fetch(client: &Client) -> Outcome {
    client.call_record(id()).await.expect("the run goes on")
}

/// The record's text and version.
async fn fetched(client: &Client) -> (String, i64) {
    match fetch(client).await {
        Outcome::Record { bytes, version } => (String::from_utf8(bytes).expect("UTF-8"), version),
        other => panic!("{other:?}"),
    }
}

fn unavailable(reason: &str) -> Outcome {
    Outcome::Unavailable { reason: reason.to_owned() }
}

fn reason_of(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Unusable { reason, .. } | Outcome::Unavailable { reason } => reason,
        other => panic!("{other:?}"),
    }
}
