//! Secrets taken out of bytes that are kept, because a server may repeat what
//! it was sent.

use percent_encoding::{NON_ALPHANUMERIC, percent_encode};

const STAND_IN: &[u8] = b"***";

/// The forms in which a text may be repeated: as it is, in JSON, in a form or URL.
#[must_use]
pub fn forms(secret: &str) -> Vec<Vec<u8>> {
    if secret.is_empty() {
        return Vec::new();
    }
    let json = serde_json::to_string(secret).unwrap_or_default();
    let mut forms = vec![
        json.trim_matches('"').as_bytes().to_vec(),
        percent_encode(secret.as_bytes(), NON_ALPHANUMERIC).to_string().into_bytes(),
        secret.as_bytes().to_vec(),
    ];
    // Of two that fit at one place the longer one goes.
    forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
    forms.dedup();
    forms
}

/// At most `limit` of `bytes`, with `***` for each of `secrets`, the one cut off
/// by the limit too.
#[must_use]
pub fn without(bytes: &[u8], secrets: &[Vec<u8>], limit: usize) -> Vec<u8> {
    let mut kept = Vec::with_capacity(bytes.len().min(limit));
    let mut rest = bytes;
    while let Some((first, after)) = rest.split_first() {
        if kept.len() >= limit {
            break;
        }
        match secrets.iter().find(|secret| !secret.is_empty() && rest.starts_with(secret)) {
            Some(secret) => {
                kept.extend_from_slice(STAND_IN);
                rest = rest.get(secret.len()..).unwrap_or_default();
            }
            None => {
                kept.push(*first);
                rest = after;
            }
        }
    }
    kept
}

/// `bytes` without the values of members called `name`, in any case and however
/// deep, also where the JSON is torn or stands as text in other JSON.
#[must_use]
pub fn without_values(bytes: &[u8], name: &str) -> Vec<u8> {
    let mut kept = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, after)) = rest.split_first() {
        if let Some(value) = value_of(rest, name.as_bytes()) {
            kept.extend_from_slice(&rest[..value.start]);
            kept.extend_from_slice(STAND_IN);
            rest = &rest[value.end..];
        } else {
            kept.push(*first);
            rest = after;
        }
    }
    kept
}

/// Where the text stands that `name` at the start of `bytes` has as its value.
fn value_of(bytes: &[u8], name: &[u8]) -> Option<std::ops::Range<usize>> {
    if !bytes.get(..name.len())?.eq_ignore_ascii_case(name) {
        return None;
    }
    let skip = |at: usize, wanted: &[u8]| at + bytes[at..].iter().take_while(|byte| wanted.contains(byte)).count();
    let colon = skip(name.len(), b"\\\"' \t");
    let opening = skip((colon + 1).min(bytes.len()), b" \t");
    let quote = skip(opening, b"\\");
    if !matches!(bytes.get(colon), Some(b':' | b'=')) || bytes.get(quote) != Some(&b'"') {
        return None;
    }
    // Inside text the quotes have back-slashes, which then end the value too.
    let (start, nested) = (quote + 1, quote > opening);
    let (mut at, mut escaped) = (start, false);
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'\n' => break,
            b'\\' if nested => break,
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => break,
            _ => {}
        }
        at += 1;
    }
    (at > start).then_some(start..at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_secret_goes() {
        let secrets = forms("a~\"b");
        for bytes in ["x a~\"b y", "x a~\\\"b y", "x a%7E%22b y"] {
            assert_eq!(without(bytes.as_bytes(), &secrets, 100), b"x *** y");
        }
        assert_eq!(without(b"12a~\"b", &secrets, 3), b"12***");
        assert_eq!(without(b"abc", &forms(""), 2), b"ab");
    }

    #[test]
    fn values_go_whatever_is_around_them() {
        for (bytes, kept) in [
            (r#"{"clientState":"x\"y","a":1}"#, r#"{"clientState":"***","a":1}"#),
            (
                r#"{"v":[{"CLIENTSTATE" : "x"},{"clientState":"y"#,
                r#"{"v":[{"CLIENTSTATE" : "***"},{"clientState":"***"#,
            ),
            (r#"{"body":"{\"clientState\":\"x\",\"a\":1}"}"#, r#"{"body":"{\"clientState\":\"***\",\"a\":1}"}"#),
            (r#"{"clientState":null,"clientStates":"x"}"#, r#"{"clientState":null,"clientStates":"x"}"#),
            (r#"{"clientState":""}"#, r#"{"clientState":""}"#),
        ] {
            assert_eq!(String::from_utf8(without_values(bytes.as_bytes(), "clientState")).unwrap(), kept, "{bytes}");
        }
    }
}
