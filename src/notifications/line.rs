//! One line or document: a notification, a collection, or a list of either.

use super::item::{Item, Members, judge, member};
use super::{Collected, REFUSED_BYTES, Reason, Rejected, Settings};
use crate::call_id::CallId;
use crate::json::{self, Unsafe};
use crate::redact;
use secrecy::ExposeSecret;
use serde_json::value::RawValue;
use std::path::Path;

/// Most bytes of something refused that are kept.
pub(super) const KEPT_BYTES: usize = 16 * 1024;

/// Where in which log something stands.
#[derive(Clone, Copy)]
pub(super) struct Position<'a> {
    pub(super) file: &'a Path,
    pub(super) offset: u64,
}

/// What JSON bytes are.
pub(super) enum Shape {
    /// One whole value that is an object or a list.
    Whole,
    /// The beginning of one.
    Unfinished,
    /// Neither.
    Refused(Reason),
}

/// Tells what `bytes` are, of which at most `limit` are looked at.
pub(super) fn shape(bytes: &[u8], limit: usize) -> Shape {
    let text = match json::checked(bytes, limit) {
        Ok(text) => text,
        Err(Unsafe::TooDeep) => return Shape::Refused(Reason::TooDeep),
        Err(Unsafe::TooLarge { .. }) => return Shape::Refused(Reason::TooLong),
        Err(Unsafe::NotUtf8) => return Shape::Refused(Reason::NotUtf8),
    };
    match serde_json::from_str::<&RawValue>(text) {
        Ok(value) if value.get().starts_with(['{', '[']) => Shape::Whole,
        Ok(_) => Shape::Refused(Reason::NotANotification),
        Err(error) if error.is_eof() => Shape::Unfinished,
        Err(_) => Shape::Refused(Reason::NotJson),
    }
}

/// Takes one whole line or document into `collected`.
pub(super) fn take(bytes: &[u8], limit: usize, at: Position<'_>, settings: &Settings, collected: &mut Collected) {
    let reason = match shape(bytes, limit) {
        Shape::Whole => None,
        Shape::Unfinished => Some(Reason::NotJson),
        Shape::Refused(reason) => Some(reason),
    };
    if let Some(reason) = reason {
        return refuse(bytes, reason, at, settings, collected);
    }
    let value: Option<&RawValue> = std::str::from_utf8(bytes).ok().and_then(|text| serde_json::from_str(text).ok());
    let Some(value) = value else { return refuse(bytes, Reason::NotJson, at, settings, collected) };
    if value.get().starts_with('[') {
        let elements: Vec<&RawValue> = serde_json::from_str(value.get()).unwrap_or_default();
        for element in elements {
            one(element, at, settings, collected);
        }
    } else {
        one(value, at, settings, collected);
    }
}

/// The call ids of something that was refused once and that somebody takes
/// responsibility for now: its client state, which was not kept, is not asked for.
#[must_use]
pub fn read_again(settings: &Settings, bytes: &[u8]) -> Vec<CallId> {
    let settings = Settings { client_state: None, other_client_states: Vec::new(), ..settings.clone() };
    let mut collected = Collected::default();
    let at = Position { file: Path::new(""), offset: 0 };
    take(bytes, settings.max_line_bytes, at, &settings, &mut collected);
    collected.notifications.into_iter().map(|notification| notification.call_id).collect()
}

/// A notification or a collection.
fn one(value: &RawValue, at: Position<'_>, settings: &Settings, collected: &mut Collected) {
    let members: Members<'_> = serde_json::from_str(value.get()).unwrap_or_default();
    let Some(items) = member(&members, "value") else {
        return count(value, at, settings, collected);
    };
    match serde_json::from_str::<Vec<&RawValue>>(items.get()) {
        Ok(items) => items.into_iter().for_each(|item| count(item, at, settings, collected)),
        Err(_) => refuse(&without_state(value), Reason::NotANotification, at, settings, collected),
    }
}

fn count(item: &RawValue, at: Position<'_>, settings: &Settings, collected: &mut Collected) {
    match judge(item, settings) {
        Item::Taken(notification) => {
            collected.read += 1;
            collected.notifications.push(notification);
        }
        Item::Skipped(why) => {
            collected.read += 1;
            *collected.skipped.entry(why).or_default() += 1;
        }
        Item::Refused(reason) => refuse(&without_state(item), reason, at, settings, collected),
    }
}

/// The item without its client state, which nobody needs to judge it by.
fn without_state(item: &RawValue) -> Vec<u8> {
    let Ok(mut members) = serde_json::from_str::<Members<'_>>(item.get()) else {
        return item.get().as_bytes().to_vec();
    };
    members.retain(|name, _| !name.eq_ignore_ascii_case("clientState"));
    serde_json::to_vec(&members).unwrap_or_default()
}

/// Notes what is refused, without client states, right or wrong.
pub(super) fn refuse(bytes: &[u8], reason: Reason, at: Position<'_>, settings: &Settings, collected: &mut Collected) {
    collected.read += 1;
    let state = settings.client_state.as_ref().map_or("", |state| state.expose_secret());
    let bytes = redact::without(bytes, &redact::forms(state), KEPT_BYTES);
    let bytes = redact::without_values(&bytes, "clientState");
    collected.refused_bytes += bytes.len() + REFUSED_BYTES;
    collected.rejected.push(Rejected { file: at.file.to_owned(), offset: at.offset, reason, bytes });
}
