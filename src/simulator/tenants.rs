//! Several tenants behind one address: what is wrong with which, which one a
//! request is of, and what they share.

use super::faults::TokenFault;
use super::server::{Shared, lock};
use super::settings::Settings;
use super::token::bearer;
use axum::http::{HeaderMap, Uri};
use std::str::FromStr;
use std::sync::Arc;
use uuid::Uuid;

/// What is wrong with a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Each request to Graph is answered with 429 and a wait of an hour.
    Throttled,
    /// Tokens are given and Graph answers 403: the permission is not granted.
    Forbidden,
    /// The token service answers 503.
    Down,
}

impl FromStr for Trouble {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "throttled" => Ok(Self::Throttled),
            "forbidden" => Ok(Self::Forbidden),
            "down" => Ok(Self::Down),
            _ => Err("a tenant can be throttled, forbidden or down".to_owned()),
        }
    }
}

impl Settings {
    /// The settings of each tenant: each has an id and records of its own.
    pub(super) fn of_tenants(&self) -> impl Iterator<Item = Self> + '_ {
        (0..self.tenants.max(1)).map(|index| {
            let trouble = self.troubles.get(&(index + 1)).copied();
            Self {
                tenant_id: self.id_of_tenant(index),
                seed: self.seed + u64::from(index),
                token_fault: match trouble {
                    Some(Trouble::Down) => Some(TokenFault::Down),
                    Some(Trouble::Forbidden) => Some(TokenFault::NoRole),
                    _ => self.token_fault,
                },
                refuses_all: trouble == Some(Trouble::Throttled),
                ..self.clone()
            }
        })
    }

    /// The id of a tenant; the first has the number 0.
    #[must_use]
    pub fn id_of_tenant(&self, index: u32) -> Uuid {
        Uuid::from_u128(self.tenant_id.as_u128() + u128::from(index))
    }
}

/// The tenants of a simulator; there is at least one.
pub(super) struct Tenants(pub(super) Vec<Arc<Shared>>);

impl Tenants {
    /// The tenant that a request names, in its path or by its token; else the first.
    pub(super) fn of(&self, uri: &Uri, headers: &HeaderMap) -> &Arc<Shared> {
        let [first, others @ ..] = self.0.as_slice() else { unreachable!("there is at least one tenant") };
        if others.is_empty() {
            return first;
        }
        let named = uri.path().split('/').nth(1).and_then(|part| Uuid::try_parse(part).ok());
        let is = |tenant: &&Arc<Shared>| match (named, bearer(headers)) {
            (Some(id), _) => tenant.settings.tenant_id == id,
            (None, Some(token)) => lock(&tenant.tokens).contains_key(token),
            (None, None) => false,
        };
        others.iter().find(is).unwrap_or(first)
    }
}
