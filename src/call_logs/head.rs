//! What a row is known by.

use crate::flatten::raw::{self, Entry};
use crate::flatten::values::{YEAR_ONE, instant};
use crate::schema::Log;
use chrono::{DateTime, NaiveDate};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

/// What a row is known by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Head {
    /// Its instant in microseconds since 1970.
    pub start: i64,
    /// What tells it apart from all others of its log.
    pub key: String,
}

impl Head {
    /// The UTC date that it stands under.
    #[must_use]
    pub fn date(&self) -> NaiveDate {
        DateTime::from_timestamp_micros(self.start).unwrap_or_default().date_naive()
    }
}

/// Why a row cannot be stored. The code is stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is no JSON object.
    #[error("log-row-no-object")]
    NoObject,
    /// It has no instant to stand under.
    #[error("log-row-no-start")]
    NoStart,
}

/// The head of a row.
///
/// # Errors
/// Why it cannot be stored.
pub fn head(line: &[u8], log: &Log) -> Result<Head, Refused> {
    let members = members(line).ok_or(Refused::NoObject)?;
    let text = value(&members, &log.start).and_then(|raw| serde_json::from_str::<String>(raw).ok());
    let start = text.and_then(|text| instant(&text)).filter(|&at| at != YEAR_ONE).ok_or(Refused::NoStart)?;
    Ok(Head { start, key: key(&members, log) })
}

/// The members of a row; `None` where it is no object.
pub(super) fn members(line: &[u8]) -> Option<Vec<Entry<'_>>> {
    let raw: &RawValue = serde_json::from_slice(line).ok()?;
    raw.get().starts_with('{').then(|| raw::entries(raw))
}

/// The value of a member; what is no value counts as missing.
fn value<'a>(members: &[Entry<'a>], name: &str) -> Option<&'a str> {
    let entry = members.iter().find(|entry| entry.name.as_deref() == Some(name))?;
    Some(entry.value.get()).filter(|raw| !is_nothing(raw))
}

/// Null, and text without a letter.
pub(super) fn is_nothing(raw: &str) -> bool {
    matches!(raw, "null" | "\"\"")
}

fn key(members: &[Entry<'_>], log: &Log) -> String {
    // An id is itself, so that it can be looked up in the table's column.
    if let [name] = log.key.as_slice() {
        let id = value(members, name).map(|raw| serde_json::from_str::<String>(raw).unwrap_or_else(|_| raw.to_owned()));
        return id.unwrap_or_else(|| digest(members.iter().filter(|entry| !is_nothing(entry.value.get()))));
    }
    digest(members.iter().filter(|entry| {
        let is_key = entry.name.as_ref().is_some_and(|name| log.key.iter().any(|key| key == name));
        is_key && !is_nothing(entry.value.get())
    }))
}

/// The same for the same members with the same values, in whatever order.
fn digest<'a, 'b: 'a>(members: impl Iterator<Item = &'a Entry<'b>>) -> String {
    let mut parts: Vec<(String, &str)> =
        members.map(|entry| (entry.quoted().into_owned(), entry.value.get())).collect();
    parts.sort_unstable();
    let mut hasher = Sha256::new();
    for (name, value) in parts {
        hasher.update(name);
        hasher.update(":");
        hasher.update(value);
        hasher.update("\n");
    }
    format!("#{}", crate::files::hex(&hasher.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Catalogue;

    fn of(table: &str, line: &str) -> Result<Head, Refused> {
        let log = Catalogue::embedded().log(table).and_then(|table| table.log.as_ref()).expect("a log");
        head(line.as_bytes(), log)
    }

    #[test]
    fn rows_are_told_apart_by_id_or_by_all_that_they_hold() {
        let head = of("pstn_calls", r#"{"id":"a","startDateTime":"2026-11-01T23:59:59.5Z"}"#).unwrap();
        assert_eq!((head.key.as_str(), head.date().to_string().as_str()), ("a", "2026-11-01"));
        let sms = |text: &str| of("sms_log", text).unwrap().key;
        let one = sms(r#"{"sentDateTime":"2026-11-01T00:00:00Z","smsUnits":1,"id":null}"#);
        assert_eq!(one, sms(r#"{"smsUnits":1,"sentDateTime":"2026-11-01T00:00:00Z"}"#));
        assert_ne!(one, sms(r#"{"smsUnits":2,"sentDateTime":"2026-11-01T00:00:00Z"}"#));
        let dialled = |calls: u32, user: &str| {
            let text = format!(
                r#"{{"@callrec.window":"2026-11-01T00:00:00Z","userId":"{user}","currency":"EUR","totalCalls":{calls}}}"#
            );
            of("dialout_report", &text).unwrap().key
        };
        assert_eq!(dialled(1, "a"), dialled(2, "a"));
        assert_ne!(dialled(1, "a"), dialled(1, "b"));
    }

    #[test]
    fn a_row_without_an_instant_is_refused() {
        for text in [
            r#"{"id":"a"}"#,
            r#"{"id":"a","startDateTime":"0001-01-01T00:00:00Z"}"#,
            r#"{"id":"a","startDateTime":"yesterday"}"#,
            r#"{"id":"a","startDateTime":7}"#,
        ] {
            assert_eq!(of("pstn_calls", text), Err(Refused::NoStart), "{text}");
        }
        for text in ["[]", "7", "{", ""] {
            assert_eq!(of("pstn_calls", text), Err(Refused::NoObject), "{text}");
        }
    }
}
