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
        let summary = Summary {
            tenant: config.tenant.clone(),
            run_id: options.run_id.clone(),
            status: "done".to_owned(),
            ..Summary::default()
        };
        Self { summary, error: None, at: config.clock().now(), plan: None, unsettled: HashSet::new() }
    }
}
