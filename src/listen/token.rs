//! The handshake: Graph sends a token, and expects it back as text.

use crate::printable;
use percent_encoding::percent_decode_str;
use std::borrow::Cow;

/// Longest token that is sent back, in bytes; those of Graph have about a hundred.
const LONGEST: usize = 1024;

/// The token of a query, decoded. `None` if there is none; an error if it is
/// none that is sent back.
pub(super) fn token(query: Option<&str>) -> Option<Result<String, ()>> {
    let encoded = query?.split('&').find_map(|pair| match pair.split_once('=') {
        Some(("validationToken", token)) => Some(token),
        None if pair == "validationToken" => Some(""),
        _ => None,
    })?;
    Some(decoded(encoded).ok_or(()))
}

fn decoded(encoded: &str) -> Option<String> {
    if encoded.is_empty() || encoded.len() > 3 * LONGEST {
        return None;
    }
    // As a form is encoded: Graph's tokens hold spaces.
    let spaced = encoded.replace('+', " ");
    let token = percent_decode_str(&spaced).decode_utf8().ok()?.into_owned();
    let acts = matches!(printable::field(&token), Cow::Owned(_));
    (token.len() <= LONGEST && !acts).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_decoded_once() {
        for (query, token) in [
            ("validationToken=abc", "abc"),
            (
                "validationToken=Validation%3a+Testing+client+application%20reachability",
                "Validation: Testing client application reachability",
            ),
            ("a=b&validationToken=%253Cb%3E%2B&c", "%3Cb>+"),
            ("validationToken=%3Cscript%3Ealert(1)%3C%2Fscript%3E", "<script>alert(1)</script>"),
            ("validationToken=a%3Db=c", "a=b=c"),
            ("validationToken=%C3%A9", "é"),
        ] {
            assert_eq!(self::token(Some(query)), Some(Ok(token.to_owned())), "{query}");
        }
    }

    #[test]
    fn what_acts_or_is_too_long_is_not_sent_back() {
        let long = format!("validationToken={}", "a".repeat(LONGEST + 1));
        for query in [
            "validationToken",
            "validationToken=",
            "validationToken=a%0d%0ab",
            "validationToken=%1b%5b2J",
            "validationToken=%ff",
            &long,
        ] {
            assert_eq!(token(Some(query)), Some(Err(())), "{query}");
        }
        assert_eq!(token(None), None);
        assert_eq!(token(Some("validationtoken=a&xvalidationToken=b")), None);
    }
}
