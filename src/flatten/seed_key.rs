//! The fast path through the names of members.

use super::identity_plan::IdentityField;
use super::object::same;
use super::plan::Object;
use super::seed::is_ignored;
use serde::de::{DeserializeSeed, Deserializer, Visitor};
use std::fmt;

/// What a name says.
pub(super) enum Key {
    Known(usize),
    Field(usize),
    Ignored,
    /// Its name is in the memory.
    Unknown,
}

/// Reads a name of an object, which is most often the one that came here last time.
pub(super) struct KeySeed<'k> {
    pub(super) object: &'k Object,
    pub(super) guess: usize,
    pub(super) fields: &'k [IdentityField],
    pub(super) name: &'k mut String,
}

impl<'de> DeserializeSeed<'de> for KeySeed<'_> {
    type Value = Key;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Key, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for KeySeed<'_> {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Key, E> {
        let members = &self.object.members;
        if members.get(self.guess).is_some_and(|member| same(&member.name, name)) {
            return Ok(Key::Known(self.guess));
        }
        if let Some(at) = self.object.find(name) {
            return Ok(Key::Known(at));
        }
        if is_ignored(name) {
            return Ok(Key::Ignored);
        }
        if let Some(at) = self.fields.iter().position(|field| same(&field.member, name)) {
            return Ok(Key::Field(at));
        }
        self.name.clear();
        self.name.push_str(name);
        Ok(Key::Unknown)
    }
}
