//! Identities in the plan: their columns, and the places that feed them.

use super::plan::Target;

#[derive(Debug)]
pub(crate) struct IdentityPlan {
    pub(crate) kind: Option<usize>,
    pub(crate) source: Option<usize>,
    /// Member of an identity object, its column and type.
    pub(crate) fields: Vec<IdentityField>,
    pub(crate) sources: Vec<SourcePlan>,
}

#[derive(Debug)]
pub(crate) struct IdentityField {
    pub(crate) member: String,
    pub(crate) target: Target,
}

#[derive(Debug)]
pub(crate) struct SourcePlan {
    pub(crate) name: String,
    pub(crate) rows: Option<usize>,
    pub(crate) object: Option<Vec<String>>,
    pub(crate) set: Option<Vec<String>>,
    /// The column that holds the id beside the set.
    pub(crate) outer: Option<usize>,
}

impl IdentityPlan {
    /// The source that only rows of that rows path have.
    pub(crate) fn bound_to(&self, number: Option<usize>) -> Option<usize> {
        self.sources.iter().position(|source| source.rows.is_some() && source.rows == number)
    }

    pub(crate) fn id(&self) -> Option<usize> {
        self.fields.iter().find(|field| field.member == "id").map(|field| field.target.column)
    }
}

/// Suffixes of an identity's columns and the member of the identity that each
/// one holds.
pub(crate) const FIELDS: [(&str, &str); 10] = [
    ("id", "id"),
    ("display_name", "displayName"),
    ("tenant_id", "tenantId"),
    ("user_principal_name", "userPrincipalName"),
    ("email", "email"),
    ("ip_address", "ipAddress"),
    ("application_type", "applicationType"),
    ("hidden", "hidden"),
    ("azure_communication_services_resource_id", "azureCommunicationServicesResourceId"),
    ("odata_type", "@odata.type"),
];
