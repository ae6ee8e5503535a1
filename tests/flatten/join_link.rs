//! The parts of a meeting's join link, read a second time.

use crate::json::Json;

/// Thread, organizer and tenant.
pub(crate) fn parts(url: &str) -> [Option<String>; 3] {
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    let thread = path.split("/meetup-join/").nth(1).and_then(|rest| decoded(rest.split('/').next()?));
    let query = query.split('#').next().unwrap_or("");
    let context = query.split('&').find_map(|pair| pair.strip_prefix("context=")).and_then(decoded);
    let context = context.filter(|text| serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok());
    let context = context.map_or(Json::Null, |text| Json::parse(&text));
    let part = |name| context.get(name).and_then(Json::text).map(str::to_owned);
    [thread, part("Oid"), part("Tid")].map(|part| part.filter(|text| !text.is_empty()))
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match hex.filter(|_| first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).ok()
}
