//! The fast path through identities: of each one a single source, with an id.

use super::leftover;
use super::plan::{IdentityPlace, Object, Target};
use super::rows::{Fit, Scalar};
use super::seed::{Context, not_plain, scalars};
use super::seed_key::{Key, KeySeed};
use super::vacant::Vacant;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};
use std::fmt;

/// A member of an identity object.
pub(super) struct Field<'c> {
    pub(super) target: &'c Target,
    pub(super) table: usize,
    pub(super) context: Context<'c>,
}

impl<'de> DeserializeSeed<'de> for Field<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Field<'_> {
    fn scalar<E: Error>(mut self, scalar: Scalar) -> Result<(), E> {
        match self.context.target(self.target, self.table, scalar)? {
            Fit::NewMember => Err(not_plain()),
            _ => Ok(()),
        }
    }
}

impl<'de> Visitor<'de> for Field<'_> {
    type Value = ();

    scalars!();
}

/// A member of an identity set: an identity, if it is an object. Its kind is in
/// the memory.
pub(super) struct InSet<'c> {
    pub(super) place: IdentityPlace,
    pub(super) table: usize,
    pub(super) context: Context<'c>,
}

impl<'de> DeserializeSeed<'de> for InSet<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for InSet<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an identity")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        // A second member of the kind that was read would take its place.
        let identity = &self.context.plan.tables[self.table].identities[self.place.identity];
        let read = identity.kind.and_then(|column| self.context.buffers.text(self.table, column));
        if read == Some(self.context.memory.name.as_str()) { Err(not_plain()) } else { Ok(()) }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        if text.is_empty() { self.visit_unit() } else { Err(not_plain()) }
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let (table, place) = (self.table, self.place);
        self.context.supply(table, place)?;
        let kind = self.context.memory.name.clone();
        let identity = &self.context.plan.tables[table].identities[place.identity];
        let (fields, none) = (&identity.fields, Object::default());
        let mut seen = 0_u32;
        loop {
            let name = &mut self.context.memory.name;
            match map.next_key_seed(KeySeed { object: &none, guess: 0, fields, name })? {
                None => break,
                Some(Key::Field(at)) => {
                    if seen & (1 << at) != 0 {
                        return Err(not_plain());
                    }
                    seen |= 1 << at;
                    map.next_value_seed(Field { target: &fields[at].target, table, context: self.context.reborrow() })?;
                }
                Some(Key::Ignored) => {
                    leftover::value(&mut map)?;
                }
                Some(_) => map.next_value_seed(Vacant::default())?,
            }
        }
        self.context.close_identity(table, place, Some(&kind))
    }
}
