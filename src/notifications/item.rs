//! One notification: what it says, in the shapes that Graph, Event Hubs and
//! scripts give it.

use super::{Notification, Reason, Settings};
use crate::call_id::CallId;
use chrono::{DateTime, Utc};
use secrecy::ExposeSecret;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use subtle::{Choice, ConstantTimeEq};
use uuid::Uuid;

/// The members of an object, unparsed.
pub(super) type Members<'a> = BTreeMap<String, &'a RawValue>;

/// What an item comes to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Item {
    Taken(Notification),
    Skipped(&'static str),
    Refused(Reason),
}

/// The member `name`, in this spelling or else in any case.
pub(super) fn member<'a>(members: &Members<'a>, name: &str) -> Option<&'a RawValue> {
    members
        .get(name)
        .or_else(|| members.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value))
        .copied()
        .filter(|value| value.get() != "null")
}

fn text(members: &Members<'_>, name: &str) -> Option<String> {
    member(members, name).and_then(|value| serde_json::from_str(value.get()).ok())
}

/// Judges one item. Validation items carry `NA` as client state and go first;
/// everything else must carry the configured state, lifecycle items too.
pub(super) fn judge(raw: &RawValue, settings: &Settings) -> Item {
    let Ok(members) = serde_json::from_str::<Members<'_>>(raw.get()) else {
        return Item::Refused(Reason::NotANotification);
    };
    let known = ["resource", "resourceData", "changeType", "lifecycleEvent", "subscriptionId"];
    if known.iter().all(|name| member(&members, name).is_none()) {
        return Item::Refused(Reason::NotANotification);
    }
    let change = text(&members, "changeType").unwrap_or_default().to_ascii_lowercase();
    let resource = text(&members, "resource");
    if change.starts_with("validation:") || resource.as_deref().is_some_and(|r| r.eq_ignore_ascii_case("NA")) {
        return Item::Skipped("validation");
    }
    // In a log of many tenants each has a state of its own.
    if is_of_other_tenant(&members, settings) {
        return Item::Skipped("other-tenant");
    }
    if !state_agrees(&members, settings) {
        return Item::Refused(Reason::ClientState);
    }
    if member(&members, "lifecycleEvent").is_some() {
        return Item::Skipped("lifecycle");
    }
    match notification(&members, resource.as_deref()) {
        Ok(_) if change == "deleted" => Item::Skipped("deleted"),
        Ok(notification) => Item::Taken(notification),
        Err(item) => item,
    }
}

/// What a receiver must know of an item before it keeps it.
#[derive(Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is no object, or does not carry the client state.
    Refused(Reason),
    /// It tells of the subscription; the event.
    Lifecycle(String),
    /// Anything else that carries the state.
    Notification,
}

/// Judges an item that somebody has sent. Unlike in a log nothing goes before the
/// client state.
#[must_use]
pub fn admit(raw: &RawValue, settings: &Settings) -> Admission {
    let Ok(members) = serde_json::from_str::<Members<'_>>(raw.get()) else {
        return Admission::Refused(Reason::NotANotification);
    };
    if !state_agrees(&members, settings) {
        return Admission::Refused(Reason::ClientState);
    }
    match member(&members, "lifecycleEvent") {
        Some(_) => Admission::Lifecycle(text(&members, "lifecycleEvent").unwrap_or_default()),
        None => Admission::Notification,
    }
}

fn is_of_other_tenant(members: &Members<'_>, settings: &Settings) -> bool {
    let theirs = text(members, "tenantId").and_then(|tenant| Uuid::try_parse(&tenant).ok());
    settings.tenant_id.zip(theirs).is_some_and(|(ours, theirs)| ours != theirs)
}

/// Compares in a time that says nothing of either state, nor of its length.
fn state_agrees(members: &Members<'_>, settings: &Settings) -> bool {
    let mut expected = settings.client_state.iter().chain(&settings.other_client_states).peekable();
    if expected.peek().is_none() {
        return true;
    }
    let given = text(members, "clientState");
    let digest = Sha256::digest(given.as_deref().unwrap_or_default().as_bytes());
    let same = expected.fold(Choice::from(0), |same, expected| {
        same | Sha256::digest(expected.expose_secret().as_bytes()).ct_eq(&digest)
    });
    bool::from(same) && given.is_some()
}

fn notification(members: &Members<'_>, resource: Option<&str>) -> Result<Notification, Item> {
    let nested: Option<String> = text(members, "resourceData");
    let data = match (&nested, member(members, "resourceData")) {
        (Some(json), _) => serde_json::from_str(json).ok(),
        (None, Some(raw)) => serde_json::from_str(raw.get()).ok(),
        (None, None) => None,
    }
    .unwrap_or_else(Members::new);
    let place = resource.map_or(Place::Unknown, place);
    let of_data = ["@odata.id", "oDataId"]
        .iter()
        .find_map(|name| text(&data, name))
        .map_or(Place::Unknown, |id| self::place(&id));
    let kind = ["@odata.type", "oDataType"].iter().find_map(|name| text(&data, name));
    let kind = kind.map(|kind| kind.to_ascii_lowercase().trim_start_matches('#').to_owned());
    let of_call = match (&place, kind.as_deref(), &of_data) {
        (Place::Other, ..) => false,
        (Place::Records | Place::Record(_), ..) => true,
        (Place::Unknown, Some(kind), _) => {
            matches!(kind, "microsoft.graph.callrecord" | "microsoft.graph.callrecords.callrecord")
        }
        (Place::Unknown, None, Place::Other) => false,
        (Place::Unknown, None, Place::Records | Place::Record(_)) => true,
        (Place::Unknown, None, Place::Unknown) => return Err(Item::Refused(Reason::NoCallId)),
    };
    if !of_call {
        return Err(Item::Skipped("other-resource"));
    }
    let tenant_id = match text(members, "tenantId").filter(|tenant| !tenant.is_empty()) {
        Some(tenant) => Some(Uuid::try_parse(&tenant).map_err(|_| Item::Refused(Reason::TenantId))?),
        None if member(members, "tenantId").is_some_and(|raw| raw.get() != "\"\"") => {
            return Err(Item::Refused(Reason::TenantId));
        }
        None => None,
    };
    let in_resource = place.id();
    let in_data = text(&data, "id").and_then(|id| id.parse().ok()).or_else(|| of_data.id());
    let call_id = match (in_resource, in_data) {
        (Some(one), Some(other)) if one != other => return Err(Item::Refused(Reason::ConflictingIds)),
        (one, other) => one.or(other).ok_or(Item::Refused(Reason::NoCallId))?,
    };
    let expires = text(members, "subscriptionExpirationDateTime").and_then(|at| DateTime::parse_from_rfc3339(&at).ok());
    Ok(Notification { call_id, tenant_id, subscription_expires_at: expires.map(|at| at.with_timezone(&Utc)) })
}

/// What a resource path names.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// Nothing was named.
    Unknown,
    /// Something that is no call record.
    Other,
    /// The call records as a whole.
    Records,
    /// One, whose id is `None` if it is no GUID.
    Record(Option<CallId>),
}

impl Place {
    const fn id(&self) -> Option<CallId> {
        match self {
            Self::Record(id) => *id,
            Self::Unknown | Self::Other | Self::Records => None,
        }
    }
}

/// Reads `communications/callRecords/{id}` and `…/callRecords('{id}')`, with or
/// without a slash, version or host before it.
fn place(resource: &str) -> Place {
    let path = resource.split(['?', '#']).next().unwrap_or_default();
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    if path.trim_matches('/').is_empty() {
        return Place::Unknown;
    }
    if !parts.any(|part| part.eq_ignore_ascii_case("communications")) {
        return Place::Other;
    }
    let Some(collection) = parts.next() else { return Place::Other };
    let (name, key) = collection.split_once('(').map_or((collection, None), |(name, key)| (name, Some(key)));
    if !name.eq_ignore_ascii_case("callRecords") {
        return Place::Other;
    }
    let key = match key {
        Some(key) => Some(key.trim_end_matches(')').trim_matches('\'')),
        None => parts.next(),
    };
    key.map_or(Place::Records, |key| Place::Record(key.parse().ok()))
}
