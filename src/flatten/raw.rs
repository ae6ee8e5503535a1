//! JSON as raw text: objects with the last of repeated members, lists, leaves.

use super::head::member_name;
use super::rows::Scalar;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

/// One member of an object.
#[derive(Clone, Debug)]
pub(crate) struct Entry<'a> {
    /// None if the name holds half of a surrogate pair.
    pub(crate) name: Option<Cow<'a, str>>,
    pub(crate) key: &'a RawValue,
    pub(crate) value: &'a RawValue,
}

impl<'a> Entry<'a> {
    /// The name as JSON text.
    pub(crate) fn quoted(&self) -> Cow<'a, str> {
        match &self.name {
            Some(name) => Cow::Owned(quoted(name)),
            None => Cow::Borrowed(self.key.get()),
        }
    }
}

/// A text as JSON.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default()
}

/// All members of an object, repeated ones too; none if it is no object.
pub(crate) fn all_entries(raw: &RawValue) -> Vec<Entry<'_>> {
    serde_json::from_str::<Members>(raw.get()).map(|members| members.0).unwrap_or_default()
}

/// The members of an object. A repeated one keeps its first place and has its
/// last value.
pub(crate) fn entries(raw: &RawValue) -> Vec<Entry<'_>> {
    last_of_each(all_entries(raw))
}

pub(crate) fn last_of_each(all: Vec<Entry<'_>>) -> Vec<Entry<'_>> {
    let mut places: HashMap<Result<Cow<'_, str>, &str>, usize> = HashMap::with_capacity(all.len());
    let mut entries: Vec<Entry<'_>> = Vec::with_capacity(all.len());
    for entry in all {
        // An undecodable name cannot equal a decodable one.
        let name = entry.name.clone().ok_or_else(|| entry.key.get());
        match places.get(&name) {
            Some(&at) => entries[at].value = entry.value,
            None => {
                places.insert(name, entries.len());
                entries.push(entry);
            }
        }
    }
    entries
}

struct Members<'a>(Vec<Entry<'a>>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(key) = map.next_key::<&RawValue>()? {
                    entries.push(Entry { name: member_name(key), key, value: map.next_value()? });
                }
                Ok(Members(entries))
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

/// The elements of a list; none if it is no list.
pub(crate) fn elements(raw: &RawValue) -> Vec<&RawValue> {
    serde_json::from_str(raw.get()).unwrap_or_default()
}

pub(crate) fn is_object(raw: &RawValue) -> bool {
    raw.get().starts_with('{')
}

pub(crate) fn is_list(raw: &RawValue) -> bool {
    raw.get().starts_with('[')
}

/// A value without leaves: null, empty text, and lists and objects of these.
pub(crate) fn is_vacant(raw: &RawValue) -> bool {
    match raw.get() {
        "null" | "\"\"" => true,
        text if text.starts_with('{') => entries(raw).iter().all(|entry| is_vacant(entry.value)),
        text if text.starts_with('[') => elements(raw).into_iter().all(is_vacant),
        _ => false,
    }
}

/// The text of a JSON string, unless it holds half of a surrogate pair.
pub(crate) fn text(raw: &RawValue) -> Option<Cow<'_, str>> {
    member_name(raw)
}

/// Hands a leaf to `take`; `None` for what is no scalar that a column can hold.
pub(crate) fn with_scalar<T>(raw: &RawValue, take: impl FnOnce(Scalar) -> T) -> Option<T> {
    Some(match raw.get().as_bytes().first()? {
        b'"' => take(Scalar::Text(&text(raw)?)),
        b't' => take(Scalar::Bool(true)),
        b'f' => take(Scalar::Bool(false)),
        b'-' | b'0'..=b'9' => take(Scalar::Digits(raw.get())),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> &RawValue {
        serde_json::from_str(text).expect("JSON")
    }

    #[test]
    fn the_last_of_a_repeated_member_counts() {
        let entries = entries(raw(r#"{"a":1,"b":2,"\u0061":{"c":3},"\ud800":4}"#));
        let shown: Vec<_> = entries.iter().map(|entry| (entry.quoted().into_owned(), entry.value.get())).collect();
        let expected = [("\"a\"", r#"{"c":3}"#), ("\"b\"", "2"), (r#""\ud800""#, "4")];
        assert_eq!(shown, expected.map(|(name, value)| (name.to_owned(), value)));
    }

    #[test]
    fn vacant_values_have_no_leaves() {
        for text in ["null", "\"\"", "{}", "[]", "[null,{}]", r#"{"a":{"b":[""]}}"#] {
            assert!(is_vacant(raw(text)), "{text}");
        }
        for text in ["0", "false", "\" \"", "[0]", r#"{"a":{"b":"c"}}"#] {
            assert!(!is_vacant(raw(text)), "{text}");
        }
        assert!(is_vacant(raw(r#"{"a":1,"a":null}"#)));
    }
}
