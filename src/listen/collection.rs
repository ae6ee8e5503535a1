//! What a post holds: which of its items are kept, as one line.

use crate::json::{self, Unsafe};
use crate::notifications::{self, Admission, admit};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// No item that carries a client state and a subscription is shorter, in bytes;
/// what holds more items than such ones is made to keep us busy.
const SHORTEST_ITEM: usize = 128;
/// So many items are looked at however short they are.
const FEW_ITEMS: usize = 64;

/// What a post comes to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    /// The line with its end; empty if nothing is kept.
    pub(super) line: Vec<u8>,
    /// Notifications that are kept.
    pub(super) notifications: u64,
    /// Lifecycle notifications that are kept, by event.
    pub(super) lifecycle: BTreeMap<&'static str, u64>,
    /// Items that are not kept, by reason.
    pub(super) refused: BTreeMap<&'static str, u64>,
}

/// Judges the body of a post; a reason if it is refused whole.
pub(super) fn take(body: &[u8], limit: usize, settings: &notifications::Settings) -> Result<Taken, &'static str> {
    let text = json::checked(body, limit).map_err(|refused| match refused {
        Unsafe::TooDeep => "too-deep",
        Unsafe::TooLarge { .. } => "too-large",
        Unsafe::NotUtf8 => "not-utf8",
    })?;
    let whole: &RawValue = serde_json::from_str(text).map_err(|_| "not-json")?;
    let members: BTreeMap<String, &RawValue> = serde_json::from_str(whole.get()).map_err(|_| "no-collection")?;
    let items = members.get("value").ok_or("no-collection")?;
    let items: Vec<&RawValue> = serde_json::from_str(items.get()).map_err(|_| "no-collection")?;
    if items.len() > FEW_ITEMS.max(limit / SHORTEST_ITEM) {
        return Err("too-many");
    }
    let mut taken = Taken::default();
    for item in items {
        match admit(item, settings) {
            Admission::Refused(reason) => {
                *taken.refused.entry(reason.code()).or_default() += 1;
                continue;
            }
            Admission::Lifecycle(event) => *taken.lifecycle.entry(known(&event)).or_default() += 1,
            Admission::Notification => taken.notifications += 1,
        }
        taken.line.extend_from_slice(if taken.line.is_empty() { b"{\"value\":[" } else { b"," });
        compact(item.get(), &mut taken.line);
    }
    if !taken.line.is_empty() {
        taken.line.extend_from_slice(b"]}\n");
    }
    Ok(taken)
}

/// The events that Graph has; nothing of a request becomes a name of a counter.
fn known(event: &str) -> &'static str {
    ["reauthorizationRequired", "subscriptionRemoved", "missed"]
        .into_iter()
        .find(|known| known.eq_ignore_ascii_case(event))
        .unwrap_or("other")
}

/// Appends JSON without the white space between its tokens, and so in one line:
/// in a string a raw line end is no JSON.
fn compact(json: &str, line: &mut Vec<u8>) {
    let (mut in_string, mut escaped) = (false, false);
    for byte in json.bytes() {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
        } else if matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
            continue;
        } else {
            in_string = byte == b'"';
        }
        line.push(byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> notifications::Settings {
        notifications::Settings {
            patterns: Vec::new(),
            client_state: Some("the state".into()),
            other_client_states: Vec::new(),
            tenant_id: None,
            max_line_bytes: 1 << 20,
        }
    }

    fn taken(body: &str) -> Result<Taken, &'static str> {
        take(body.as_bytes(), 1 << 14, &settings())
    }

    #[test]
    fn only_items_with_the_state_are_kept_in_one_compact_line() {
        let body = "{\r\n \"value\" : [\n {\"clientState\": \"the state\", \"resource\": \"a b\\\"\\\\\"} ,\n\t{\"clientState\":\"wrong\"},\n\
                    {\"resource\":\"NA\",\"changeType\":\"Validation: x\"}, 7, \"text\",\n{\"lifecycleEvent\":\"missed\", \"clientState\":\"the state\"}]\n}";
        let taken = taken(body).unwrap();
        assert_eq!(
            String::from_utf8(taken.line).unwrap(),
            "{\"value\":[{\"clientState\":\"the state\",\"resource\":\"a b\\\"\\\\\"},{\"lifecycleEvent\":\"missed\",\"clientState\":\"the state\"}]}\n"
        );
        assert_eq!((taken.notifications, taken.lifecycle), (1, BTreeMap::from([("missed", 1)])));
        assert_eq!(taken.refused, BTreeMap::from([("client-state", 2), ("not-a-notification", 2)]));
    }

    #[test]
    fn a_state_is_right_or_wrong_and_nothing_between() {
        for state in [
            "\"the state \"",
            "\"THE STATE\"",
            "\"\"",
            "null",
            "[\"the state\"]",
            "\"the stat\"",
            "\"the state\\u0000\"",
        ] {
            let taken = taken(&format!("{{\"value\":[{{\"clientState\":{state},\"resource\":\"x\"}}]}}")).unwrap();
            assert_eq!((taken.line.len(), taken.refused.get("client-state")), (0, Some(&1)), "{state}");
        }
        assert_eq!(
            taken("{\"value\":[{\"clientState\":\"the\\u0020state\",\"resource\":\"x\"}]}").unwrap().notifications,
            1
        );
    }

    #[test]
    fn what_is_no_collection_is_refused() {
        for (body, reason) in [
            ("", "not-json"),
            ("{\"value\":[", "not-json"),
            ("{\"value\":[\"a\nb\"]}", "not-json"),
            ("{\"value\":[]} {}", "not-json"),
            ("[]", "no-collection"),
            ("7", "no-collection"),
            ("{}", "no-collection"),
            ("{\"value\":{}}", "no-collection"),
            ("{\"value\":null}", "no-collection"),
            ("{\"clientState\":\"the state\",\"resource\":\"x\"}", "no-collection"),
        ] {
            assert_eq!(taken(body).unwrap_err(), reason, "{body}");
        }
        assert_eq!(take(b"\"\xff\"", 100, &settings()).unwrap_err(), "not-utf8");
        assert_eq!(taken(&"[".repeat(100)).unwrap_err(), "too-deep");
        assert_eq!(taken(&" ".repeat(1 << 15)).unwrap_err(), "too-large");
        assert_eq!(taken(&format!("{{\"value\":[{}7]}}", "7,".repeat(200))).unwrap_err(), "too-many");
        assert_eq!(taken("{\"value\":[]}").unwrap(), Taken::default());
    }
}
