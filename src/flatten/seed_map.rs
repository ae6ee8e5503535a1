//! The fast path through maps whose entries are rows.

use super::leftover;
use super::plan::{Object, RowMap, Target};
use super::rows::{Fit, Scalar};
use super::seed::{Context, not_plain, scalars};
use super::seed_key::{Key, KeySeed};
use super::vacant::Vacant;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// Reads the entries of a map into rows.
pub(super) fn entries<'de, A: MapAccess<'de>>(
    rows: &RowMap,
    mut context: Context<'_>,
    mut map: A,
) -> Result<(), A::Error> {
    let (Some(key), Some(value)) = (rows.key, &rows.value) else { return Err(not_plain()) };
    let first = context.buffers.tables[rows.table].rows;
    let none = Object::default();
    loop {
        let name = &mut context.memory.name;
        let seed = KeySeed { object: &none, guess: 0, fields: &[], name };
        match map.next_key_seed(seed)? {
            None => return Ok(()),
            Some(Key::Ignored) => {
                leftover::value(&mut map)?;
            }
            Some(_) => {
                let name = context.memory.name.as_str();
                let written = &context.buffers.tables[rows.table];
                let known = first..written.rows;
                if known.len() > 64 || known.into_iter().any(|row| written.columns[key].text(row) == Some(name)) {
                    return Err(not_plain());
                }
                if name.is_empty() || name == "@odata.type" {
                    map.next_value_seed(Vacant::default())?;
                } else {
                    map.next_value_seed(Entry {
                        rows,
                        key,
                        value,
                        position: written.rows - first,
                        context: context.reborrow(),
                    })?;
                }
            }
        }
    }
}

/// The value of a map's entry, whose key is in the memory.
struct Entry<'c> {
    rows: &'c RowMap,
    key: usize,
    value: &'c Target,
    position: usize,
    context: Context<'c>,
}

impl<'de> DeserializeSeed<'de> for Entry<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Entry<'_> {
    fn scalar<E: Error>(mut self, scalar: Scalar) -> Result<(), E> {
        if matches!(scalar, Scalar::Text("")) {
            return Ok(());
        }
        let table = self.rows.table;
        let context = &mut self.context;
        context.buffers.open(context.plan, table, self.rows.number, self.position);
        context.buffers.put_text(table, self.key, &context.memory.name);
        match context.target(self.value, table, scalar)? {
            Fit::Held => Ok(()),
            _ => Err(not_plain()),
        }
    }
}

impl<'de> Visitor<'de> for Entry<'_> {
    type Value = ();

    scalars!();

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<(), A::Error> {
        Vacant::default().visit_seq(list)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        Vacant::default().visit_map(map)
    }
}
