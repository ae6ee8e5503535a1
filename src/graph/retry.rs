//! How long to wait before asking again: the three forms of `Retry-After`, and
//! exponential back-off with full jitter.

use crate::clock::Clock;
use rand::Rng as _;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};
use std::time::{Duration, SystemTime};

/// Longest step of the back-off.
const LONGEST_STEP: Duration = Duration::from_secs(60);

/// A `Retry-After` above this is taken for nonsense.
const ABSURD: Duration = Duration::from_secs(24 * 3600);

/// The wait that an answer asks for; `None` where it asks for none, or for
/// something absurd, and the back-off decides.
///
/// Seconds may have a fraction. A date counts from the `Date` of the answer, so
/// that a wrong clock on this machine does no harm; without one, from `clock`.
pub(super) fn retry_after(headers: &HeaderMap, clock: &Clock) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if text.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        Duration::try_from_secs_f64(text.parse().ok()?).ok()?
    } else {
        let until = httpdate::parse_http_date(text).ok()?;
        let date = headers.get(DATE).and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
        until.duration_since(date.unwrap_or_else(|| SystemTime::from(clock.now()))).ok()?
    };
    (!wait.is_zero() && wait <= ABSURD).then_some(wait)
}

/// A random wait from zero to `base` doubled `attempt` times, at most a minute.
pub(super) fn back_off(base: Duration, attempt: u32) -> Duration {
    let step = base.saturating_mul(1_u32.checked_shl(attempt).unwrap_or(u32::MAX)).min(LONGEST_STEP);
    step.mul_f64(rand::rng().random_range(0.0..=1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::HeaderValue;

    fn asked(value: &str, date: Option<&str>) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_str(value).expect("a header value"));
        if let Some(date) = date {
            headers.insert(DATE, HeaderValue::from_str(date).expect("a header value"));
        }
        let now = "2026-11-10T12:00:00Z".parse().expect("an instant");
        retry_after(&headers, &Clock::pinned(now))
    }

    #[test]
    fn seconds_with_and_without_fraction() {
        assert_eq!(asked("7", None), Some(Duration::from_secs(7)));
        assert_eq!(asked(" 2.128 ", None), Some(Duration::from_millis(2128)));
    }

    #[test]
    fn a_date_counts_from_the_date_of_the_answer_or_the_clock() {
        let until = "Tue, 10 Nov 2026 12:00:30 GMT";
        assert_eq!(asked(until, None), Some(Duration::from_secs(30)));
        assert_eq!(asked(until, Some("Tue, 10 Nov 2026 12:00:20 GMT")), Some(Duration::from_secs(10)));
        assert_eq!(asked(until, Some("Tue, 10 Nov 2026 12:00:31 GMT")), None);
    }

    #[test]
    fn nonsense_leaves_it_to_the_back_off() {
        for text in ["0", "-1", "1000000000", "1e30", "inf", "NaN", "soon", "", "2,5", "0x10"] {
            assert_eq!(asked(text, None), None, "{text}");
        }
    }

    #[test]
    fn back_off_stays_below_its_doubling_step() {
        let base = Duration::from_millis(500);
        for attempt in [0, 1, 2, 3] {
            assert!((0..100).all(|_| back_off(base, attempt) <= base * 2_u32.pow(attempt)), "{attempt}");
        }
        assert!((0..100).all(|_| back_off(base, 500) <= LONGEST_STEP));
        assert!((0..100).any(|_| back_off(base, 3) > base), "jitter reaches beyond the first step");
    }
}
