//! When a request may begin: the published limits as token buckets, one shared
//! `Retry-After` window, and a rate that adapts to what Graph refuses.

use super::settings::Settings;
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

/// The span of the published limits.
pub(super) const SPAN: Duration = Duration::from_secs(20);

/// Requests for the list of records in [`SPAN`], as Graph publishes it.
pub(super) const LIST_LIMIT: usize = 40;

/// Longest window that a run sits out; a longer one leaves the records to a later run.
const LONGEST_WINDOW: Duration = Duration::from_secs(15 * 60);

/// What a request costs at full rate. At half the rate it costs twice as much.
const FULL_RATE_COST: u32 = 16;

/// A request may not begin soon enough. The reason is a stable code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TooLate {
    /// The wait would pass the deadline of the run.
    #[error("deadline")]
    Deadline,
    /// Graph asked for a longer wait than a run sits out.
    #[error("throttled")]
    Throttled,
}

/// What the clients of one app in several tenants share: its limit in any 20
/// seconds. A copy is the same limit.
#[derive(Clone, Debug)]
pub struct AppLimit(Arc<DefaultDirectRateLimiter>);

impl AppLimit {
    /// At most `requests` in any 20 seconds.
    #[must_use]
    pub fn new(requests: u32) -> Self {
        Self(Arc::new(RateLimiter::direct(quota(requests, 1).0)))
    }
}

/// The bucket for `limit` requests, each of so many units, in [`SPAN`], and the
/// units that it holds at most.
fn quota(limit: u32, units: u32) -> (Quota, NonZeroU32) {
    let limit = limit.clamp(1, 1_000_000);
    // A bucket lets its burst and its rate through within one span: together
    // they are the limit.
    let burst = (limit / 50).max(1);
    let steady = (limit - burst).max(1);
    let cost = |requests: u32| NonZeroU32::new(requests.saturating_mul(units)).unwrap_or(NonZeroU32::MIN);
    let quota = Quota::with_period(SPAN / cost(steady).get())
        .expect("at most 16 million units in 20 seconds are more than a nanosecond apart")
        .allow_burst(cost(burst));
    (quota, cost(burst))
}

/// Shared by all requests to Graph.
#[derive(Debug)]
pub(super) struct Throttle {
    bucket: DefaultDirectRateLimiter,
    app: Option<AppLimit>,
    burst: u32,
    max_concurrency: f64,
    /// Whoever is first in line waits for the bucket; the others wait in order.
    turnstile: tokio::sync::Mutex<()>,
    pace: Mutex<Pace>,
}

#[derive(Debug)]
struct Pace {
    window_end: Option<Instant>,
    /// Share of the full rate, in (0, 1].
    rate: f64,
    concurrency: f64,
    last_cut: Option<Instant>,
}

/// The requests about one record, for the limit per record.
#[derive(Debug)]
pub(super) struct RecordPace {
    limit: usize,
    span: Duration,
    begun: Mutex<VecDeque<Instant>>,
}

impl RecordPace {
    pub(super) fn new(settings: &Settings) -> Self {
        let limit = usize::try_from(settings.requests_per_record_per_20s).unwrap_or(usize::MAX).max(1);
        Self::limited(limit, SPAN)
    }

    /// At most `limit` requests within `span`.
    pub(super) fn limited(limit: usize, span: Duration) -> Self {
        Self { limit, span, begun: Mutex::default() }
    }

    /// Takes the place of a request that begins at `now`, or says when there will be one.
    fn take(&self, now: Instant) -> Result<(), Instant> {
        let mut begun = locked(&self.begun);
        if begun.len() >= self.limit {
            match begun.front() {
                Some(&oldest) if oldest + self.span > now => return Err(oldest + self.span),
                _ => begun.pop_front(),
            };
        }
        begun.push_back(now);
        Ok(())
    }
}

impl Throttle {
    pub(super) fn new(settings: &Settings) -> Self {
        let (quota, burst) = quota(settings.requests_per_20s, FULL_RATE_COST);
        #[expect(clippy::cast_precision_loss, reason = "a number of tasks")]
        let max_concurrency = settings.max_concurrency.max(1) as f64;
        Self {
            bucket: RateLimiter::direct(quota),
            app: settings.app_limit.clone(),
            burst: burst.get(),
            max_concurrency,
            turnstile: tokio::sync::Mutex::new(()),
            pace: Mutex::new(Pace { window_end: None, rate: 1.0, concurrency: max_concurrency, last_cut: None }),
        }
    }

    /// Waits until a request may begin.
    ///
    /// # Errors
    /// At once, when that is too late.
    pub(super) async fn enter(&self, record: &RecordPace, deadline: Option<Instant>) -> Result<(), TooLate> {
        loop {
            let turn = match deadline {
                Some(deadline) => timeout_at(deadline, self.turnstile.lock()).await.map_err(|_| TooLate::Deadline)?,
                None => self.turnstile.lock().await,
            };
            self.wait_for_bucket(deadline).await?;
            let Err(at) = record.take(Instant::now()) else { return self.wait_for_app(deadline).await };
            // A large meeting waits outside, so that others pass.
            drop(turn);
            check_deadline(at, deadline)?;
            sleep_until(at).await;
        }
    }

    async fn wait_for_bucket(&self, deadline: Option<Instant>) -> Result<(), TooLate> {
        loop {
            let window_end = locked(&self.pace).window_end.filter(|end| *end > Instant::now());
            if let Some(end) = window_end {
                check_deadline(end, deadline)?;
                if end > Instant::now() + LONGEST_WINDOW {
                    return Err(TooLate::Throttled);
                }
                sleep_until(end).await;
                continue;
            }
            match self.bucket.check_n(self.cost()) {
                // More than the bucket can ever hold is prevented by `cost`.
                Ok(Ok(())) | Err(_) => return Ok(()),
                Ok(Err(not_yet)) => {
                    let wait = not_yet.wait_time_from(DefaultClock::default().now());
                    check_deadline(Instant::now() + wait, deadline)?;
                    sleep(wait).await;
                }
            }
        }
    }

    async fn wait_for_app(&self, deadline: Option<Instant>) -> Result<(), TooLate> {
        let Some(AppLimit(bucket)) = &self.app else { return Ok(()) };
        while let Err(not_yet) = bucket.check() {
            let wait = not_yet.wait_time_from(DefaultClock::default().now());
            check_deadline(Instant::now() + wait, deadline)?;
            sleep(wait).await;
        }
        Ok(())
    }

    fn cost(&self) -> NonZeroU32 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most 16 divided by 1/64")]
        let cost = (f64::from(FULL_RATE_COST) / locked(&self.pace).rate).round() as u32;
        NonZeroU32::new(cost.min(self.burst)).unwrap_or(NonZeroU32::MIN)
    }

    /// Graph refused a request that began at `began`, and may have named a wait.
    ///
    /// Requests that were under way when the rate was cut do not cut it again.
    pub(super) fn refused(&self, began: Instant, wait: Option<Duration>) {
        let now = Instant::now();
        let mut pace = locked(&self.pace);
        if let Some(wait) = wait {
            pace.window_end = pace.window_end.max(Some(now + wait));
        }
        if pace.last_cut.is_none_or(|cut| began > cut) {
            pace.last_cut = Some(now);
            pace.rate = (pace.rate / 2.0).max(1.0 / 64.0);
            pace.concurrency = (pace.concurrency / 2.0).max(1.0);
        }
    }

    /// Graph took a request: the rate and the concurrency recover by small steps.
    pub(super) fn served(&self) {
        let mut pace = locked(&self.pace);
        pace.rate = (pace.rate + 1.0 / 512.0).min(1.0);
        pace.concurrency = (pace.concurrency + 1.0 / (4.0 * pace.concurrency)).min(self.max_concurrency);
    }

    /// How many records are worth fetching side by side now; at least 1.
    pub(super) fn concurrency(&self) -> usize {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and the setting")]
        let whole = locked(&self.pace).concurrency as usize;
        whole.max(1)
    }
}

/// Whether something that happens at `at` is in time.
pub(super) fn check_deadline(at: Instant, deadline: Option<Instant>) -> Result<(), TooLate> {
    if deadline.is_some_and(|deadline| at >= deadline) { Err(TooLate::Deadline) } else { Ok(()) }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while these are held, and every state of them is valid.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::super::settings::Auth;
    use super::*;

    fn settings(per_20s: u32, per_record: u32) -> Settings {
        let endpoint = reqwest::Url::parse("https://graph.microsoft.com").expect("a URL");
        Settings {
            requests_per_20s: per_20s,
            requests_per_record_per_20s: per_record,
            max_concurrency: 16,
            ..Settings::new(endpoint, Auth::Bearer("t".into()))
        }
    }

    #[test]
    fn a_record_has_its_limit_in_any_span() {
        let pace = RecordPace::new(&settings(1500, 3));
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        for seconds in [0, 5, 10] {
            assert_eq!(pace.take(at(seconds)), Ok(()));
        }
        assert_eq!(pace.take(at(11)), Err(at(20)));
        assert_eq!(pace.take(at(20)), Ok(()));
        assert_eq!(pace.take(at(20)), Err(at(25)));
    }

    #[test]
    fn a_storm_of_refusals_halves_once_and_success_recovers() {
        let throttle = Throttle::new(&settings(1500, 10));
        let began = Instant::now();
        for _ in 0..20 {
            throttle.refused(began, None);
        }
        assert_eq!(throttle.concurrency(), 8);
        assert_eq!(throttle.cost().get(), 2 * FULL_RATE_COST);
        for _ in 0..1000 {
            throttle.served();
        }
        assert_eq!(throttle.concurrency(), 16);
        assert_eq!(throttle.cost().get(), FULL_RATE_COST);
    }

    #[tokio::test]
    async fn the_bucket_ends_the_burst() {
        let throttle = Throttle::new(&settings(1500, 1000));
        let record = RecordPace::new(&settings(1500, 1000));
        let began = Instant::now();
        for _ in 0..33 {
            throttle.enter(&record, None).await.expect("there is no deadline");
        }
        // 30 at once, then one each 20 s / 1470.
        assert!(began.elapsed() >= Duration::from_micros(3 * 13_605 - 1000), "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn tenants_share_the_limit_of_their_app() {
        let app = AppLimit::new(500);
        let settings = Settings { app_limit: Some(app), ..settings(1500, 1000) };
        let throttles = [Throttle::new(&settings), Throttle::new(&settings)];
        let record = RecordPace::new(&settings);
        let began = Instant::now();
        for turn in 0..12 {
            throttles[turn % 2].enter(&record, None).await.expect("there is no deadline");
        }
        // Of both together 10 at once, then one each 20 s / 490.
        assert!(began.elapsed() >= Duration::from_micros(2 * 40_816 - 1000), "{:?}", began.elapsed());
        let soon = Some(Instant::now());
        assert_eq!(throttles[0].enter(&record, soon).await, Err(TooLate::Deadline));
    }

    #[tokio::test]
    async fn a_wait_beyond_the_deadline_is_refused_at_once() {
        let throttle = Throttle::new(&settings(1500, 1));
        let record = RecordPace::new(&settings(1500, 1));
        let deadline = Some(Instant::now() + Duration::from_secs(10));
        assert_eq!(throttle.enter(&record, deadline).await, Ok(()));
        assert_eq!(throttle.enter(&record, deadline).await, Err(TooLate::Deadline), "limit of the record");
        throttle.refused(Instant::now(), Some(Duration::from_secs(20)));
        let other = RecordPace::new(&settings(1500, 1));
        assert_eq!(throttle.enter(&other, deadline).await, Err(TooLate::Deadline), "window");
        throttle.refused(Instant::now(), Some(Duration::from_secs(3600)));
        assert_eq!(throttle.enter(&other, None).await, Err(TooLate::Throttled));
    }

    #[tokio::test]
    async fn no_request_begins_inside_the_window() {
        let throttle = Throttle::new(&settings(1500, 10));
        let record = RecordPace::new(&settings(1500, 10));
        let wait = Duration::from_millis(15);
        let end = Instant::now() + wait;
        throttle.refused(Instant::now(), Some(wait));
        throttle.refused(Instant::now(), Some(Duration::from_millis(1)));
        throttle.enter(&record, None).await.expect("there is no deadline");
        assert!(Instant::now() >= end);
    }
}
