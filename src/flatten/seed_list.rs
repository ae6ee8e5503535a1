//! The fast path through lists that one cell holds.

use super::leftover;
use super::plan::{NodeId, Target};
use super::seed::{Context, is_ignored, not_plain};
use super::vacant::Vacant;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};
use std::fmt;

/// An item of a list of texts, or the member of an element that is taken as one.
pub(super) struct Item<'c> {
    pub(super) target: &'c Target,
    pub(super) node: NodeId,
    pub(super) table: usize,
    pub(super) member: Option<&'c String>,
    pub(super) context: Context<'c>,
}

impl<'de> DeserializeSeed<'de> for Item<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Item<'_> {
    fn add<E: Error>(self, text: &str) -> Result<(), E> {
        let context = self.context;
        let new = self.target.enumeration.is_some_and(|known| !context.plan.is_member(known, text));
        if new && !text.is_empty() {
            context.memory.new_members.push(self.node);
        }
        let text = Some(text).filter(|text| !text.is_empty());
        context.buffers.tables[self.table].columns[self.target.column].add_item(text);
        Ok(())
    }
}

impl<'de> Visitor<'de> for Item<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.add("")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        if self.member.is_some() && !text.is_empty() {
            return Err(not_plain());
        }
        self.add(text)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some(member) = self.member else { return Err(not_plain()) };
        let mut found: Option<Option<String>> = None;
        while let Some(name) = map.next_key::<String>()? {
            if name == *member {
                if found.replace(map.next_value()?).is_some() {
                    return Err(not_plain());
                }
            } else if is_ignored(&name) {
                leftover::value(&mut map)?;
            } else {
                map.next_value_seed(Vacant::default())?;
            }
        }
        self.add(found.flatten().as_deref().unwrap_or_default())
    }
}
