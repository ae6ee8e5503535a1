//! Tells a watchdog that a job ended, so that it notices when one does not.

use crate::error::{Error, Result};
use crate::graph::Url;
use std::time::Duration;

/// Stands in a URL for the exit code.
const EXIT_CODE: &str = "{exit_code}";
const LIMIT: Duration = Duration::from_secs(10);

/// What is asked for when a job ends with `exit_code`: nothing after a failure,
/// unless the URL says where the code goes.
///
/// # Errors
/// By class usage, if it is no http URL. It may hold a secret and is not shown.
pub fn url(given: &str, exit_code: u8) -> Result<Option<Url>> {
    let tells = given.contains(EXIT_CODE);
    let url = Url::parse(&given.replace(EXIT_CODE, &exit_code.to_string())).ok();
    let url = url.filter(|url| matches!(url.scheme(), "https" | "http"));
    let url =
        url.ok_or_else(|| Error::usage("--ping-url is no URL").hint("give an address such as https://HOST/PATH"))?;
    Ok(Some(url).filter(|_| tells || exit_code == 0))
}

/// Asks for the URL once; what comes of it does not change how the job ended.
pub fn ping(url: &Url) {
    let asked = || -> std::result::Result<u16, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
        runtime.block_on(async {
            let client = reqwest::Client::builder().timeout(LIMIT).build().map_err(|e| e.without_url().to_string())?;
            let answer = client.get(url.clone()).send().await.map_err(|e| e.without_url().to_string())?;
            Ok(answer.status().as_u16())
        })
    };
    match asked() {
        Ok(status) if (200..300).contains(&status) => {}
        Ok(status) => tracing::warn!(status, "the watchdog of --ping-url does not take the ping"),
        Err(cause) => tracing::warn!(cause, "the watchdog of --ping-url was not reached"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_only_where_the_url_says_how() {
        let asked = |given: &str, code| url(given, code).unwrap().map(|url| url.to_string());
        assert_eq!(asked("https://a.example/b", 0).as_deref(), Some("https://a.example/b"));
        assert_eq!(asked("https://a.example/b", 75), None);
        assert_eq!(asked("https://a.example/b/{exit_code}", 75).as_deref(), Some("https://a.example/b/75"));
        for bad in ["a.example", "file:///etc/passwd", ""] {
            assert!(url(bad, 0).is_err(), "{bad}");
        }
    }
}
