//! What the receiver and whoever renews the subscription tell each other.

use super::counts::{Counts, add};
use chrono::{DateTime, Utc};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::Notify;

/// The side of whoever renews.
#[derive(Clone, Debug)]
pub struct Subscription {
    pub(super) counts: Arc<Counts>,
    pub(super) asked: Arc<Notify>,
}

impl Subscription {
    /// Waits until Graph asks to renew the subscription, or says that it is removed.
    /// What came since the last time counts once.
    pub async fn asked(&self) {
        self.asked.notified().await;
    }

    /// Shows in `/metrics` when the subscription ends.
    pub fn expires(&self, at: DateTime<Utc>) {
        self.counts.subscription_expires.store(at.timestamp(), Ordering::Relaxed);
    }

    /// Counts a renewal that failed.
    pub fn failed(&self) {
        add(&self.counts.renewals_failed, 1);
    }
}
