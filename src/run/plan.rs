//! What a dry run found.

use crate::reconcile;

/// What a dry run found.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Plan {
    /// The tenant, where the config has several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// How many tenants, in a sum.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenants: Option<u64>,
    /// Ids that are due.
    pub ids_due: u64,
    /// Ids that are pending, due or not.
    pub pending: u64,
    /// Requests at least: two per id.
    pub requests_at_least: u64,
    /// Seconds at least, at the published rate.
    pub seconds_at_least: f64,
    /// What Graph listed and the tables did not have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reconciled: Option<reconcile::Report>,
}

impl Plan {
    /// Adds the plan of a tenant.
    pub fn join(&mut self, other: &Self) {
        self.tenants = Some(self.tenants.unwrap_or(0) + 1);
        self.ids_due += other.ids_due;
        self.pending += other.pending;
        self.requests_at_least += other.requests_at_least;
        // Each tenant has a rate of its own.
        self.seconds_at_least = self.seconds_at_least.max(other.seconds_at_least);
    }
}
