//! What the fast path meets and no column holds: taken as raw text, and written
//! to `extra_json` when its row is read.

use super::extra::{Extra, Members};
use super::path::segments;
use super::plan::NodeId;
use super::raw;
use super::seed::{Context, not_plain};
use crate::json;
use serde::de::{Error, MapAccess};
use serde_json::value::RawValue;

/// Levels that the paths of a plan have at most; what is deeper below one of them
/// is left to careful mode, which looks at the depth of the whole record.
pub(crate) const PLAN_DEPTH: usize = 24;

/// Members that one object may have beside the known ones on the fast path: each
/// is compared with the others.
const MOST_NAMES: usize = 64;

/// A member that is kept as it was served.
#[derive(Debug)]
pub(crate) struct Leftover {
    /// The object that it sits in.
    pub(crate) object: NodeId,
    pub(crate) name: String,
    value: String,
    /// Whether the drift report counts it.
    pub(crate) is_drift: bool,
}

impl Leftover {
    /// One that is no drift.
    pub(crate) const fn new(object: NodeId, name: String, value: String) -> Self {
        Self { object, name, value, is_drift: false }
    }
}

/// Reads the value of a member as text.
pub(super) fn value<'de, A: MapAccess<'de>>(map: &mut A) -> Result<&'de RawValue, A::Error> {
    let raw: &RawValue = map.next_value()?;
    let nested = raw.get().starts_with(['{', '[']);
    if nested && json::depth(raw.get()) > json::MAX_DEPTH - PLAN_DEPTH { Err(not_plain()) } else { Ok(raw) }
}

/// Refuses a name that the object had before: the last one counts.
pub(super) fn once<E: Error>(names: &mut Vec<String>, name: &str) -> Result<(), E> {
    if names.len() >= MOST_NAMES || names.iter().any(|known| known == name) {
        return Err(not_plain());
    }
    names.push(name.to_owned());
    Ok(())
}

impl Context<'_> {
    /// Notes a member that no column holds, unless it says nothing.
    pub(super) fn leave(&mut self, object: NodeId, name: &str, value: &RawValue, is_drift: bool) {
        if !raw::is_vacant(value) {
            let (name, value) = (name.to_owned(), value.get().to_owned());
            self.memory.leftovers.push(Leftover { object, name, value, is_drift });
        }
    }

    /// Writes what was left since `first` to the row of `table`, whose object is
    /// `element`.
    pub(super) fn write_leftovers(&mut self, table: usize, element: NodeId, first: usize) {
        let Self { plan, buffers, memory } = self;
        let Some(column) = plan.tables[table].extra else { return };
        let mut text = String::new();
        {
            let mut extra = Members::default();
            for leftover in &memory.leftovers[first..] {
                let path = &plan.nodes[leftover.object].path;
                let below = path.strip_prefix(plan.nodes[element].path.as_str()).unwrap_or(path);
                let path: Vec<String> = segments(below).into_iter().map(|segment| segment.name).collect();
                extra.object_at(&path).add(raw::quoted(&leftover.name).into(), Extra::Raw(&leftover.value));
            }
            extra.write(&mut text);
        }
        buffers.put_text(table, column, &text);
        for leftover in memory.leftovers.drain(first..) {
            if leftover.is_drift {
                memory.unknown_members.push((leftover.object, leftover.name));
            }
        }
    }
}
