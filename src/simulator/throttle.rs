//! The published limits, counted over real windows of 20 seconds.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

const WINDOW: Duration = Duration::from_secs(20);
const PER_TENANT: usize = 1500;
const PER_RECORD: usize = 40;
const LIST: usize = 40;
/// The telephony logs, all of them and each, have a window of their own.
const LOGS_WINDOW: Duration = Duration::from_secs(60);
const ALL_LOGS: usize = 200;
const PER_LOG: usize = 50;

/// What a request counts against.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Scope {
    /// The app in all its tenants, with its limit.
    App(usize),
    Tenant,
    Record(String),
    List,
    Logs,
    Log(&'static str),
}

impl Scope {
    const fn limit(&self) -> usize {
        match self {
            Self::App(limit) => *limit,
            Self::Tenant => PER_TENANT,
            Self::Record(_) => PER_RECORD,
            Self::List => LIST,
            Self::Logs => ALL_LOGS,
            Self::Log(_) => PER_LOG,
        }
    }

    const fn window(&self) -> Duration {
        match self {
            Self::Logs | Self::Log(_) => LOGS_WINDOW,
            _ => WINDOW,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Throttle {
    windows: HashMap<Scope, VecDeque<Instant>>,
}

impl Throttle {
    /// Counts a request; if a limit is hit, how long to wait.
    pub(super) fn count(&mut self, scopes: &[Scope], now: Instant) -> Option<Duration> {
        let mut wait = None;
        for scope in scopes {
            let window = self.windows.entry(scope.clone()).or_default();
            while window.front().is_some_and(|first| now.duration_since(*first) >= scope.window()) {
                window.pop_front();
            }
            if window.len() >= scope.limit() {
                let over = window.front().map(|first| scope.window().saturating_sub(now.duration_since(*first)));
                wait = wait.max(over);
            }
            // Requests made meanwhile still count.
            window.push_back(now);
        }
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_a_record_is_40_in_20_seconds() {
        let mut throttle = Throttle::default();
        let scopes = [Scope::Tenant, Scope::Record("a".to_owned())];
        let now = Instant::now();
        for _ in 0..40 {
            assert_eq!(throttle.count(&scopes, now), None);
        }
        let wait = throttle.count(&scopes, now + Duration::from_secs(5)).unwrap();
        assert_eq!(wait, Duration::from_secs(15));
        assert_eq!(throttle.count(&[Scope::Tenant, Scope::Record("b".to_owned())], now), None);
        assert_eq!(throttle.count(&scopes, now + Duration::from_secs(26)), None);
    }
}
