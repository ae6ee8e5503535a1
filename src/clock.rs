//! The only place that reads the time of day.

use chrono::{DateTime, NaiveDate, Utc};
use std::time::SystemTime;

/// The time of day that a run goes by: the system's, or an instant that a
/// config has pinned so that sample data never grow too old.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    pinned: Option<DateTime<Utc>>,
}

impl Clock {
    /// The system's clock.
    #[must_use]
    pub const fn system() -> Self {
        Self { pinned: None }
    }

    /// A clock that stands still at `at`.
    #[must_use]
    pub const fn pinned(at: DateTime<Utc>) -> Self {
        Self { pinned: Some(at) }
    }

    /// The present instant in UTC.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the clock's home")]
    pub fn now(&self) -> DateTime<Utc> {
        self.pinned.unwrap_or_else(|| DateTime::from(SystemTime::now()))
    }

    /// The present date in UTC.
    #[must_use]
    pub fn today(&self) -> NaiveDate {
        self.now().date_naive()
    }
}
