//! How a run ended.

use super::{Options, Plan};
use crate::call_id::CallId;
use crate::config::Config;
use crate::error::Error;
use crate::summary::Summary;
use chrono::{DateTime, Utc};
use std::collections::HashSet;

/// How a run ended.
pub struct Ended {
    /// What it did.
    pub summary: Summary,
    /// What ended it early.
    pub error: Option<Error>,
    /// When it ended.
    pub at: DateTime<Utc>,
    /// What a dry run found.
    pub plan: Option<Plan>,
    /// Ids named by hand that are still pending.
    pub unsettled: HashSet<CallId>,
}

impl Ended {
    /// Nothing was to be done.
    #[must_use]
    pub fn idle(config: &Config, options: &Options) -> Self {
        let summary = Summary::blank(&options.run_id, config.tenant.as_deref(), "done", 0);
        Self { summary, error: None, at: config.clock().now(), plan: None, unsettled: HashSet::new() }
    }
}
