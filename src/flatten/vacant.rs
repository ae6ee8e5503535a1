//! Skipping what has no leaves, and nothing else.

use super::leftover::PLAN_DEPTH;
use super::seed::not_plain;
use crate::json::MAX_DEPTH;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// Levels below which careful mode looks at the depth of the whole record.
const DEEPEST: usize = MAX_DEPTH - PLAN_DEPTH;

/// A value without leaves: null, empty text, and lists and objects of these.
#[derive(Default)]
pub(super) struct Vacant {
    depth: usize,
}

impl Vacant {
    fn below<E: Error>(&self) -> Result<Self, E> {
        if self.depth < DEEPEST { Ok(Self { depth: self.depth + 1 }) } else { Err(not_plain()) }
    }
}

impl<'de> DeserializeSeed<'de> for Vacant {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Vacant {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        if text.is_empty() { Ok(()) } else { Err(not_plain()) }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(self.below()?)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_key::<IgnoredAny>()?.is_some() {
            map.next_value_seed(self.below()?)?;
        }
        Ok(())
    }
}
