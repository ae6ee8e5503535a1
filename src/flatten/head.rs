//! The few members of a record that order and place it, read without the rest.

use super::values;
use chrono::{DateTime, NaiveDate};
use serde::de::{Deserializer as _, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// Largest record that is taken, in bytes.
pub const MAX_RECORD_BYTES: usize = 256 << 20;

/// What a record is ordered and placed by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The record's id in lower case.
    pub call_id: String,
    /// Its version; 0 where the record has none that is an integer.
    pub version: i64,
    /// Its start in microseconds since the epoch, UTC.
    pub start: i64,
}

impl Head {
    /// The UTC date of the start: the partition that the record belongs to.
    #[must_use]
    pub fn date(&self) -> NaiveDate {
        DateTime::from_timestamp_micros(self.start).unwrap_or_default().date_naive()
    }
}

/// Why a record goes to quarantine whole. Messages hold nothing of the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refused {
    /// The bytes are not JSON.
    #[error("the record is not valid JSON")]
    NotJson,
    /// JSON, but no object.
    #[error("the record is not a JSON object")]
    NotARecord,
    /// Deeper than [`crate::json::MAX_DEPTH`].
    #[error("the record is nested deeper than {} levels", crate::json::MAX_DEPTH)]
    TooDeep,
    /// Larger than [`MAX_RECORD_BYTES`].
    #[error("the record is larger than {MAX_RECORD_BYTES} bytes")]
    TooLarge,
    /// Not UTF-8.
    #[error("the record is not UTF-8")]
    NotUtf8,
    /// No `id` that is a text of 1 to 256 bytes.
    #[error("the record has no usable id")]
    NoId,
    /// No `startDateTime` that is an instant.
    #[error("the record has no valid startDateTime")]
    NoStart,
    /// `id`, `version` or `startDateTime` is there twice with different values.
    #[error("the record repeats its id, version or startDateTime with another value")]
    Ambiguous,
}

impl Refused {
    /// A stable word for the reason, as the quarantine and the ledger hold it.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::NotJson => "not-json",
            Self::NotARecord => "not-a-record",
            Self::TooDeep => "too-deep",
            Self::TooLarge => "too-large",
            Self::NotUtf8 => "not-utf8",
            Self::NoId => "no-id",
            Self::NoStart => "no-start",
            Self::Ambiguous => "ambiguous",
        }
    }
}

impl From<crate::json::Unsafe> for Refused {
    fn from(reason: crate::json::Unsafe) -> Self {
        match reason {
            crate::json::Unsafe::TooDeep => Self::TooDeep,
            crate::json::Unsafe::TooLarge { .. } => Self::TooLarge,
            crate::json::Unsafe::NotUtf8 => Self::NotUtf8,
        }
    }
}

/// Reads the head of a record and stops as soon as it has it.
///
/// What stands behind the last of the three members is not looked at: only
/// [`super::Flattener::push`] checks a record whole, its depth and encoding
/// included. The parser used here cannot be overrun by deep input.
///
/// # Errors
/// [`Refused::TooLarge`], [`Refused::NotJson`], [`Refused::NotUtf8`],
/// [`Refused::NotARecord`], [`Refused::NoId`] or [`Refused::NoStart`].
pub fn head(record: &[u8]) -> Result<Head, Refused> {
    if record.len() > MAX_RECORD_BYTES {
        return Err(Refused::TooLarge);
    }
    let mut members = Members::default();
    let outcome = serde_json::Deserializer::from_slice(record).deserialize_any(Reader(&mut members));
    if outcome.is_err() && !members.is_full() {
        let starts = record.iter().find(|byte| !byte.is_ascii_whitespace());
        return Err(match std::str::from_utf8(record) {
            Err(_) => Refused::NotUtf8,
            Ok(text) if starts != Some(&b'{') && serde_json::from_str::<IgnoredAny>(text).is_ok() => {
                Refused::NotARecord
            }
            Ok(_) => Refused::NotJson,
        });
    }
    members.head()
}

/// The raw texts of the three members, the first of each name.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Members<'a> {
    pub(crate) id: Option<&'a RawValue>,
    pub(crate) version: Option<&'a RawValue>,
    pub(crate) start: Option<&'a RawValue>,
}

impl Members<'_> {
    const fn is_full(&self) -> bool {
        self.id.is_some() && self.version.is_some() && self.start.is_some()
    }

    pub(crate) fn head(&self) -> Result<Head, Refused> {
        let text = |raw: Option<&RawValue>| serde_json::from_str::<String>(raw?.get()).ok();
        let id = text(self.id).filter(|id| (1..=256).contains(&id.len())).ok_or(Refused::NoId)?;
        let start = text(self.start).and_then(|start| values::instant(&start));
        let start = start.filter(|&start| start != values::YEAR_ONE).ok_or(Refused::NoStart)?;
        let version = self.version.and_then(|raw| values::integer(raw.get())).unwrap_or(0);
        Ok(Head { call_id: id.to_ascii_lowercase(), version, start })
    }
}

/// The name of a member, unless it holds half of a surrogate pair.
pub(crate) fn member_name(raw: &RawValue) -> Option<Cow<'_, str>> {
    let text = raw.get();
    let plain = text.strip_prefix('"')?.strip_suffix('"')?;
    if plain.contains('\\') {
        return serde_json::from_str::<String>(text).ok().map(Cow::Owned);
    }
    Some(Cow::Borrowed(plain))
}

struct Reader<'m, 'a>(&'m mut Members<'a>);

impl<'a> Visitor<'a> for Reader<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a call record")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<&RawValue>()? {
            let slot = match member_name(key).as_deref() {
                Some("id") => &mut self.0.id,
                Some("version") => &mut self.0.version,
                Some("startDateTime") => &mut self.0.start,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            let value = map.next_value()?;
            slot.get_or_insert(value);
            if self.0.is_full() {
                return Err(A::Error::custom("the head is complete"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_is_read_wherever_it_stands() {
        let record = br#"{"sessions":[{"id":"x","version":9}],"startDateTime":"2020-02-25T23:30:00-01:00","version":2.0,"id":"ABC","rest":"#;
        let head = head(record).expect("a head");
        assert_eq!((head.call_id.as_str(), head.version), ("abc", 2));
        assert_eq!(head.date().to_string(), "2020-02-26");
    }

    #[test]
    fn what_is_no_record_is_refused_with_its_reason() {
        let cases: [(&[u8], Refused); 9] = [
            (b"", Refused::NotJson),
            (b"{\"id\":", Refused::NotJson),
            (b"[]", Refused::NotARecord),
            (b"\"\xff\"", Refused::NotUtf8),
            (b"{}", Refused::NoId),
            (br#"{"id":"","version":1,"startDateTime":"2020-02-25T18:52:21Z"}"#, Refused::NoId),
            (br#"{"id":7,"version":1,"startDateTime":"2020-02-25T18:52:21Z"}"#, Refused::NoId),
            (br#"{"id":"a","version":1,"startDateTime":"soon"}"#, Refused::NoStart),
            (br#"{"id":"a","version":1,"startDateTime":"0001-01-01T00:00:00Z"}"#, Refused::NoStart),
        ];
        for (record, reason) in cases {
            assert_eq!(head(record), Err(reason), "{}", String::from_utf8_lossy(record));
        }
    }

    #[test]
    fn escaped_names_are_names() {
        let head = head(br#"{"\u0069d":"a","startDateTime":"2020-02-25T18:52:21Z"}"#).expect("a head");
        assert_eq!(head.call_id, "a");
    }

    #[test]
    fn a_missing_version_is_the_oldest() {
        let head = head(br#"{"id":"a","startDateTime":"2020-02-25T18:52:21Z"}"#).expect("a head");
        assert_eq!(head.version, 0);
    }
}
