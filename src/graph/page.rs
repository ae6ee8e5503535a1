//! One answer of Graph taken apart: its members, its list, its next link. All
//! values stay the text that was served.

use crate::json::Checked;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::collections::HashMap;
use std::fmt;

/// The members of a JSON object in their order, values as served.
#[derive(Debug)]
pub(super) struct Members {
    in_order: Vec<(String, Box<RawValue>)>,
    /// The place of each name; of one that is repeated the last counts.
    places: HashMap<String, usize>,
    /// Whether there is white space in the values.
    is_spaced: bool,
}

impl Members {
    /// Takes a text apart; `None` where it is no JSON object.
    pub(super) fn parse(checked: Checked<'_>) -> Option<Self> {
        let members: Self = serde_json::from_str(checked.text).ok()?;
        Some(Self { is_spaced: checked.is_spaced, ..members })
    }

    /// Appends a value of these, or an element of one, without the white space
    /// between its tokens.
    pub(super) fn append(&self, value: &RawValue, out: &mut Vec<u8>) {
        if self.is_spaced {
            append_compact(value.get(), out);
        } else {
            out.extend_from_slice(value.get().as_bytes());
        }
    }

    /// Of a name that is repeated the last counts.
    pub(super) fn get(&self, name: &str) -> Option<&RawValue> {
        self.places.get(name).map(|&place| &*self.in_order[place].1)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &RawValue)> {
        self.in_order.iter().map(|(key, value)| (key.as_str(), &**value))
    }

    /// The member `name` as a `T`, if it is one.
    pub(super) fn value<'a, T: Deserialize<'a>>(&'a self, name: &str) -> Option<T> {
        self.get(name).and_then(|raw| serde_json::from_str(raw.get()).ok())
    }

    /// All of it, as one line.
    pub(super) fn to_json(&self) -> Vec<u8> {
        let mut out = Object::new();
        for (name, value) in self.iter() {
            self.append(value, out.member(name));
        }
        out.end()
    }

    /// An `error` object where the answer should have been.
    pub(super) fn is_error(&self) -> bool {
        self.get("error").is_some() && self.get("id").is_none() && self.get("value").is_none()
    }

    /// The next link of the list `name`: `<name>@odata.nextLink` or
    /// `@odata.nextLink`, in any case. A value that is no text comes as served.
    pub(super) fn next_link(&self, name: &str) -> Option<String> {
        let link = |wanted: &str| {
            self.iter()
                .filter(|(key, raw)| key.eq_ignore_ascii_case(wanted) && raw.get() != "null")
                .map(|(_, raw)| serde_json::from_str::<String>(raw.get()).unwrap_or_else(|_| raw.get().to_owned()))
                .find(|link| !link.is_empty())
        };
        link(&format!("{name}{NEXT_LINK}")).or_else(|| link(NEXT_LINK))
    }
}

const NEXT_LINK: &str = "@odata.nextLink";

/// Whether a member is a next link, of whatever list.
pub(super) fn is_next_link(key: &str) -> bool {
    key.len()
        .checked_sub(NEXT_LINK.len())
        .and_then(|at| key.get(at..))
        .is_some_and(|end| end.eq_ignore_ascii_case(NEXT_LINK))
}

/// The elements of `raw`; `None` where it is no list.
pub(super) fn elements(raw: &RawValue) -> Option<Vec<&RawValue>> {
    serde_json::from_str(raw.get()).ok()
}

/// Appends valid JSON without the white space between its tokens, so that it
/// is one line. No token changes.
fn append_compact(json: &str, out: &mut Vec<u8>) {
    out.reserve(json.len());
    let (mut in_string, mut escaped) = (false, false);
    for &byte in json.as_bytes() {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
        } else if byte.is_ascii_whitespace() {
            continue;
        } else if byte == b'"' {
            in_string = true;
        }
        out.push(byte);
    }
}

/// A JSON object as it is written.
pub(super) struct Object(Vec<u8>);

impl Object {
    pub(super) fn new() -> Self {
        Self(vec![b'{'])
    }

    /// Begins a member; its value is to be appended.
    pub(super) fn member(&mut self, name: &str) -> &mut Vec<u8> {
        if self.0.len() > 1 {
            self.0.push(b',');
        }
        serde_json::to_writer(&mut self.0, name).expect("text is written to memory");
        self.0.push(b':');
        &mut self.0
    }

    pub(super) fn end(mut self) -> Vec<u8> {
        self.0.push(b'}');
        self.0
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let (mut in_order, mut places) = (Vec::<(String, Box<RawValue>)>::new(), HashMap::new());
                while let Some(member) = map.next_entry::<String, Box<RawValue>>()? {
                    places.insert(member.0.clone(), in_order.len());
                    in_order.push(member);
                }
                Ok(Members { in_order, places, is_spaced: true })
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<Members> {
        Members::parse(crate::json::looked_at(text.as_bytes(), 1 << 20).expect("safe"))
    }

    #[test]
    fn next_links_in_every_spelling() {
        for (text, link) in [
            (r#"{"sessions@odata.nextLink":"a"}"#, Some("a")),
            (r#"{"sessions@odata.nextlink":"a"}"#, Some("a")),
            (r#"{"@odata.nextLink":"a","value":[]}"#, Some("a")),
            (r#"{"@odata.nextLink":"b","SESSIONS@ODATA.NEXTLINK":"a"}"#, Some("a")),
            (r#"{"@odata.nextLink":null}"#, None),
            (r#"{"@odata.nextLink":""}"#, None),
            (r#"{"@odata.nextLink":7}"#, Some("7")),
            (r#"{"participants_v2@odata.nextLink":"a"}"#, None),
        ] {
            let members = parsed(text).expect(text);
            assert_eq!(members.next_link("sessions").as_deref(), link, "{text}");
        }
        assert!(is_next_link("x@odata.NEXTLINK") && is_next_link("@odata.nextLink"));
        assert!(
            !is_next_link("nextLink") && !is_next_link("sessions@odata.context") && !is_next_link("é@odata.nextLin")
        );
    }

    #[test]
    fn compacting_touches_no_token() {
        let mut out = Vec::new();
        append_compact("{ \"a b\" :\r\n\t[ 1.50 , -0e+1,\"\\\" \\\\\" , \"\\u0020\" ] }", &mut out);
        assert_eq!(out, br#"{"a b":[1.50,-0e+1,"\" \\","\u0020"]}"#);
    }

    #[test]
    fn only_objects_are_taken_and_the_last_of_a_name_counts() {
        for text in ["", "[]", "<html>", "{\"a\":1", "{\"a\":1}x", "null"] {
            assert!(parsed(text).is_none(), "{text}");
        }
        let members = parsed(r#"{"version":1,"version":2}"#).expect("an object");
        assert_eq!(members.value::<i64>("version"), Some(2));
    }
}
