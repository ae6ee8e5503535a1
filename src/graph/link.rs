//! Next links are input: they are followed only back to where they came from.
//!
//! Refuses another scheme, host or port than the endpoint's, user info, a
//! fragment, `$metadata` and whatever lies outside the API version in use.

use reqwest::Url;

/// Why a link is not followed. The code is stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    /// It leads elsewhere, or is no link.
    #[error("foreign-next-link")]
    Foreign,
    /// It was followed before, or the pages do not end.
    #[error("page-loop")]
    Loop,
}

/// The URL of `link` when a token may be sent there.
///
/// # Errors
/// [`Refused::Foreign`].
pub(super) fn pinned(link: &str, endpoint: &Url) -> Result<Url, Refused> {
    // The parser would quietly drop or rewrite these.
    if link.chars().any(|c| c.is_ascii_control() || c == ' ' || c == '\\') {
        return Err(Refused::Foreign);
    }
    let url = Url::parse(link).map_err(|_| Refused::Foreign)?;
    let authority =
        link.split_once("//").map_or("", |(_, rest)| rest).split(['/', '?', '#']).next().unwrap_or_default();
    let same_place = url.scheme() == endpoint.scheme()
        && url.host_str() == endpoint.host_str()
        && url.port_or_known_default() == endpoint.port_or_known_default();
    let path = url.path().to_ascii_lowercase();
    let root = format!("{}/v1.0/", endpoint.path().trim_end_matches('/').to_ascii_lowercase());
    let in_version = path.starts_with(&root) && !path.contains("$metadata") && !path.contains("%24metadata");
    if same_place && in_version && !authority.contains('@') && url.fragment().is_none() {
        Ok(url)
    } else {
        Err(Refused::Foreign)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn follow(link: &str) -> Result<Url, Refused> {
        pinned(link, &Url::parse("https://graph.microsoft.com").expect("a URL"))
    }

    #[test]
    fn a_link_to_the_endpoint_is_sent_unchanged() {
        for link in [
            "https://graph.microsoft.com/v1.0/communications/callRecords/x/sessions?$expand=segments&$skiptoken=a%2Bb==",
            "https://graph.microsoft.com/v1.0/communications/callRecords('x')/participants_v2?$skip=130",
        ] {
            assert_eq!(follow(link).expect(link).as_str(), link);
        }
        let with_port = "https://graph.microsoft.com:443/v1.0/communications/callRecords/x";
        assert!(follow(with_port).is_ok());
    }

    #[test]
    fn whatever_leads_elsewhere_is_refused() {
        for link in [
            "https://evil.example/v1.0/communications/callRecords/x",
            "http://graph.microsoft.com/v1.0/communications/callRecords/x",
            "https://graph.microsoft.com:8443/v1.0/communications/callRecords/x",
            "https://graph.microsoft.com@evil.example/v1.0/x",
            "https://user:pw@graph.microsoft.com/v1.0/x",
            "https://@graph.microsoft.com/v1.0/x",
            "https://graph.microsoft.com./v1.0/x",
            "https://graph.microsoft.com.evil.example/v1.0/x",
            "https://graph.microsoft.com/v1.0/x#",
            "https://graph.microsoft.com/v1.0/$metadata#communications/callRecords('x')/sessions?$skiptoken=abc",
            "https://graph.microsoft.com/v1.0/%24metadata",
            "https://graph.microsoft.com/beta/communications/callRecords/x",
            "https://graph.microsoft.com/v1.0/../beta/x",
            "https://graph.microsoft.com/v1.0/%2e%2e/beta/x",
            "https:\\\\evil.example/v1.0/x",
            "https://gr\u{430}ph.microsoft.com/v1.0/x",
            "http://169.254.169.254/v1.0/metadata",
            "//evil.example/v1.0/x",
            "/v1.0/communications/callRecords/x",
            "https://graph.microsoft.com/v1.0/x\nHost: evil",
            "file:///etc/passwd",
            "",
        ] {
            assert_eq!(follow(link), Err(Refused::Foreign), "{link}");
        }
    }
}
