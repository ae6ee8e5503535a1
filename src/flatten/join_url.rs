//! The parts of a meeting's join link.

use percent_encoding::percent_decode_str;
use serde::Deserialize;

/// Which part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The chat thread of the meeting, from `/meetup-join/<thread>/…`.
    Thread,
    /// `Oid` of the `context` parameter.
    Organizer,
    /// `Tid` of the `context` parameter.
    Tenant,
}

#[derive(Deserialize)]
struct Context {
    #[serde(default, rename = "Tid")]
    tenant: Option<String>,
    #[serde(default, rename = "Oid")]
    organizer: Option<String>,
}

/// The part of a link, decoded; none where the link has none.
pub(crate) fn part(url: &str, part: Part) -> Option<String> {
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    let found = match part {
        Part::Thread => decoded(path.split_once("/meetup-join/")?.1.split('/').next()?),
        Part::Organizer | Part::Tenant => {
            let query = query.split('#').next().unwrap_or_default();
            let value = query.split('&').find_map(|pair| pair.strip_prefix("context="))?;
            let context: Context = serde_json::from_str(&decoded(value)?).ok()?;
            if part == Part::Tenant { context.tenant } else { context.organizer }
        }
    };
    found.filter(|text| !text.is_empty())
}

fn decoded(text: &str) -> Option<String> {
    percent_decode_str(text).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_decoded() {
        let url = "https://teams.microsoft.com/l/meetup-join/19%3ameeting_NmE%40thread.v2/0?context=%7b%22Tid%22%3a%22t-1%22%2c%22Oid%22%3a%22o-1%22%7d";
        assert_eq!(part(url, Part::Thread).as_deref(), Some("19:meeting_NmE@thread.v2"));
        assert_eq!(part(url, Part::Organizer).as_deref(), Some("o-1"));
        assert_eq!(part(url, Part::Tenant).as_deref(), Some("t-1"));
    }

    #[test]
    fn other_links_have_no_parts() {
        for url in [
            "",
            "https://teams.microsoft.com/meet/123?p=x",
            "x?context=%7b",
            "x?context=%ff",
            "/meetup-join//0?context=%7b%22Oid%22%3anull%7d",
        ] {
            for of in [Part::Thread, Part::Organizer, Part::Tenant] {
                assert_eq!(part(url, of), None, "{url}");
            }
        }
    }
}
