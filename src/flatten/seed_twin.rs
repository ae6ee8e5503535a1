//! The fast path through a second source of an identity: Graph serves the deprecated
//! set beside the identity that took its place. It is kept as it was served, if it says
//! who the first one is and no more than that, but for the kind: that is the name of
//! the same identity in the set.

use super::leftover::Leftover;
use super::plan::{IdentityPlace, NodeId, Object};
use super::raw;
use super::seed::{Context, Memory, Value, not_plain};
use serde::de::{DeserializeSeed, Error};
use serde_json::value::RawValue;

impl Memory {
    /// The twins since `first` come behind all else that the row left.
    pub(super) fn take_twins(&mut self, first: usize) {
        self.twins[first..].sort_by_key(|(identity, _)| *identity);
        self.leftovers.extend(self.twins.drain(first..).map(|(_, twin)| twin));
    }
}

impl Object {
    /// Whether this is a set that another source of the identity goes before.
    pub(super) fn may_be_a_twin(&self) -> bool {
        self.set.is_some_and(|place| place.source > 0)
    }
}

impl Context<'_> {
    /// Reads a set once all that may go before it is read.
    pub(super) fn set<E: Error>(&mut self, node: NodeId, table: usize, value: &RawValue) -> Result<(), E> {
        let left = self.memory.leftovers.len();
        let mut value = serde_json::Deserializer::from_str(value.get());
        let read = Value { node, table, context: self.reborrow() }.deserialize(&mut value);
        // What it left would stand behind what came after it.
        if read.is_err() || self.memory.leftovers.len() > left { Err(not_plain()) } else { Ok(()) }
    }

    /// Whether a better source supplied the identity of the row.
    pub(super) fn is_twin(&self, table: usize, place: IdentityPlace) -> bool {
        let supplied = self.memory.supplied[table][place.identity];
        supplied != 0 && supplied <= place.source && self.memory.name != "@odata.type"
    }

    /// Takes the identity `name` of a set.
    pub(super) fn twin<E: Error>(
        &mut self,
        set: NodeId,
        table: usize,
        place: IdentityPlace,
        name: String,
        value: &RawValue,
    ) -> Result<(), E> {
        if !raw::is_object(value) {
            return if raw::is_vacant(value) { Ok(()) } else { Err(not_plain()) };
        }
        let identity = &self.plan.tables[table].identities[place.identity];
        let entries = raw::entries(value);
        let has = |member: &str| {
            let of_name = |entry: &&raw::Entry<'_>| entry.name.as_deref() == Some(member);
            entries.iter().find(of_name).map(|entry| entry.value).filter(|value| !raw::is_vacant(value))
        };
        let same = |column: Option<usize>, text: Option<&str>| {
            text.is_some() && column.and_then(|column| self.buffers.text(table, column)) == text
        };
        let tells_more =
            |(member, column): (&str, usize)| has(member).is_some() && !self.buffers.is_written(table, column);
        let fields = identity.fields.iter().map(|field| (field.member.as_str(), field.target.column));
        let kind_is_told = identity.kind.is_none_or(|column| self.buffers.is_written(table, column));
        if kind_is_told && !same(identity.kind, Some(&name))
            || !same(identity.id(), has("id").and_then(raw::text).as_deref())
            || fields.into_iter().any(tells_more)
        {
            return Err(not_plain());
        }
        if let (false, Some(column)) = (kind_is_told, identity.kind) {
            self.buffers.put_text(table, column, &name);
        }
        let twin = Leftover::new(set, name, value.get().to_owned());
        self.memory.twins.push((place.identity, twin));
        Ok(())
    }
}
