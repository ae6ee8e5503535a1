//! Next links are input: they are followed only back to where they came from.
//!
//! Refuses another scheme, host or port than the endpoint's, user info, a
//! fragment, `$metadata`, whatever lies outside the API version in use, and what
//! is not about the record that is read.

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

/// The URL of `link` when a token may be sent there and it is about the record `id`.
///
/// # Errors
/// [`Refused::Foreign`].
pub(super) fn pinned(link: &str, endpoint: &Url, id: &str) -> Result<Url, Refused> {
    pinned_in(link, endpoint, "v1.0", id)
}

/// As [`pinned`], in that version of the API and with `place` in its path.
///
/// # Errors
/// [`Refused::Foreign`].
pub(super) fn pinned_in(link: &str, endpoint: &Url, version: &str, place: &str) -> Result<Url, Refused> {
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
    let root = format!("{}/{version}/", endpoint.path().trim_end_matches('/').to_ascii_lowercase());
    let in_version = path.starts_with(&root) && !path.contains("$metadata") && !path.contains("%24metadata");
    let is_of_record = path.contains(&place.to_ascii_lowercase());
    if same_place && in_version && is_of_record && !authority.contains('@') && url.fragment().is_none() {
        Ok(url)
    } else {
        Err(Refused::Foreign)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn follow(link: &str) -> Result<Url, Refused> {
        pinned(link, &Url::parse("https://graph.microsoft.com").expect("a URL"), "RecordX")
    }

    #[test]
    fn a_link_to_the_endpoint_is_sent_unchanged() {
        for link in [
            "https://graph.microsoft.com/v1.0/communications/callRecords/recordx/sessions?$expand=segments&$skiptoken=a%2Bb==",
            "https://graph.microsoft.com/v1.0/communications/callRecords('RecordX')/participants_v2?$skip=130",
        ] {
            assert_eq!(follow(link).expect(link).as_str(), link);
        }
        let with_port = "https://graph.microsoft.com:443/v1.0/communications/callRecords/recordx";
        assert!(follow(with_port).is_ok());
    }

    #[test]
    fn links_of_logs_lead_to_the_same_function_in_the_same_version() {
        let endpoint = Url::parse("https://graph.microsoft.com").expect("a URL");
        let of = |link: &str| pinned_in(link, &endpoint, "beta", "/getSmsLog(").is_ok();
        let place = "communications/callRecords/";
        assert!(of(&format!(
            "https://graph.microsoft.com/beta/{place}getSmsLog(from=2026-01-01,to=2026-02-01)?$skip=1000"
        )));
        assert!(of(&format!("https://graph.microsoft.com/beta/{place}getsmslog(x=1)?$skip=1000")));
        assert!(!of(&format!("https://graph.microsoft.com/v1.0/{place}getSmsLog(from=2026-01-01,to=2026-02-01)")));
        assert!(!of(&format!("https://graph.microsoft.com/beta/{place}getPstnCalls(from=2026-01-01,to=2026-02-01)")));
        assert!(!of(&format!("https://evil.example/beta/{place}getSmsLog(from=2026-01-01,to=2026-02-01)")));
    }

    #[test]
    fn whatever_leads_elsewhere_is_refused() {
        for link in [
            "https://graph.microsoft.com/v1.0/users?$skiptoken=recordx",
            "https://graph.microsoft.com/v1.0/communications/callRecords/another/sessions?$skiptoken=1",
            "https://evil.example/v1.0/communications/callRecords/recordx",
            "http://graph.microsoft.com/v1.0/communications/callRecords/recordx",
            "https://graph.microsoft.com:8443/v1.0/communications/callRecords/recordx",
            "https://graph.microsoft.com@evil.example/v1.0/recordx",
            "https://user:pw@graph.microsoft.com/v1.0/recordx",
            "https://@graph.microsoft.com/v1.0/recordx",
            "https://graph.microsoft.com./v1.0/recordx",
            "https://graph.microsoft.com.evil.example/v1.0/recordx",
            "https://graph.microsoft.com/v1.0/recordx#",
            "https://graph.microsoft.com/v1.0/$metadata#communications/callRecords('recordx')/sessions?$skiptoken=abc",
            "https://graph.microsoft.com/v1.0/%24metadata/recordx",
            "https://graph.microsoft.com/beta/communications/callRecords/recordx",
            "https://graph.microsoft.com/v1.0/../beta/recordx",
            "https://graph.microsoft.com/v1.0/%2e%2e/beta/recordx",
            "https:\\\\evil.example/v1.0/recordx",
            "https://gr\u{430}ph.microsoft.com/v1.0/recordx",
            "http://169.254.169.254/v1.0/recordx",
            "//evil.example/v1.0/recordx",
            "/v1.0/communications/callRecords/recordx",
            "https://graph.microsoft.com/v1.0/recordx\nHost: evil",
            "file:///etc/passwd",
            "",
        ] {
            assert_eq!(follow(link), Err(Refused::Foreign), "{link}");
        }
    }
}
