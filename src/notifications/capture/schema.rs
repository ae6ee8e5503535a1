//! The schema of an Avro file, as far as it takes to find the body of each event.
#![expect(clippy::disallowed_types, reason = "a schema of at most 1 MiB is no record")]

use super::{HEADER_BYTES, damaged, foreign};
use crate::json;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;

/// Deepest nesting of values in an event.
const MAX_DEPTH: usize = 64;

/// How a value is stored. Types name others by their place in [`Schema::types`].
enum Type {
    /// In so many bytes.
    Fixed(usize),
    /// As a number of variable length.
    Number,
    /// As a length and so many bytes.
    Bytes,
    /// As blocks of items, each with a key before it or not.
    Blocks {
        item: usize,
        keyed: bool,
    },
    Union(Vec<usize>),
    Record(Vec<usize>),
}

/// What the events of a file consist of.
pub(super) struct Schema {
    types: Vec<Type>,
    /// The types of the fields of an event.
    fields: Vec<usize>,
    /// Which of the fields is the body.
    body: usize,
}

impl Schema {
    /// `Unsupported` if it is a schema, but of no events with a body.
    pub(super) fn parse(bytes: &[u8]) -> io::Result<Self> {
        let limit = usize::try_from(HEADER_BYTES).unwrap_or(usize::MAX);
        let text = json::checked(bytes, limit).map_err(|_| damaged())?;
        let value: Value = serde_json::from_str(text).map_err(|_| damaged())?;
        let mut parser = Parser::default();
        parser.add(&value, "").ok_or_else(foreign)?;
        let body = member(&value, "fields")
            .and_then(Value::as_array)
            .and_then(|fields| fields.iter().position(|field| text_of(field, "name") == Some("Body")));
        // An event is the first type, for a record stands before its fields.
        let (Some(body), Some(Type::Record(fields))) = (body, parser.types.first()) else { return Err(foreign()) };
        let schema = Self { fields: fields.clone(), body, types: parser.types };
        let is_bytes = |place: &usize| matches!(schema.types.get(*place), Some(Type::Bytes));
        let holds = schema.fields.get(body).is_some_and(|place| match schema.types.get(*place) {
            Some(Type::Union(branches)) => branches.iter().any(is_bytes),
            _ => is_bytes(place),
        });
        if holds { Ok(schema) } else { Err(foreign()) }
    }
}

#[derive(Default)]
struct Parser {
    types: Vec<Type>,
    /// Records, enums and fixed ones by their full names.
    names: BTreeMap<String, usize>,
}

impl Parser {
    /// The place of a type; `None` if it is none.
    fn add(&mut self, value: &Value, space: &str) -> Option<usize> {
        match value {
            Value::String(name) => self.by_name(name, space),
            Value::Array(branches) => {
                let branches = branches.iter().map(|branch| self.add(branch, space)).collect::<Option<_>>()?;
                Some(self.push(Type::Union(branches)))
            }
            Value::Object(_) => self.complex(value, space),
            _ => None,
        }
    }

    fn by_name(&mut self, name: &str, space: &str) -> Option<usize> {
        let kind = match name {
            "null" => Type::Fixed(0),
            "boolean" => Type::Fixed(1),
            "float" => Type::Fixed(4),
            "double" => Type::Fixed(8),
            "int" | "long" => Type::Number,
            "bytes" | "string" => Type::Bytes,
            _ => return self.names.get(&full(name, space)).copied(),
        };
        Some(self.push(kind))
    }

    fn complex(&mut self, value: &Value, space: &str) -> Option<usize> {
        let kind = member(value, "type")?;
        match kind.as_str() {
            Some("array") => {
                let item = self.add(member(value, "items")?, space)?;
                Some(self.push(Type::Blocks { item, keyed: false }))
            }
            Some("map") => {
                let item = self.add(member(value, "values")?, space)?;
                Some(self.push(Type::Blocks { item, keyed: true }))
            }
            Some("enum") => Some(self.push_named(Type::Number, value, space)?.0),
            Some("fixed") => {
                let size = usize::try_from(member(value, "size")?.as_u64()?).ok()?;
                Some(self.push_named(Type::Fixed(size), value, space)?.0)
            }
            Some("record") => {
                let (place, space) = self.push_named(Type::Record(Vec::new()), value, space)?;
                let mut fields = Vec::new();
                for field in member(value, "fields")?.as_array()? {
                    fields.push(self.add(member(field, "type")?, &space)?);
                }
                *self.types.get_mut(place)? = Type::Record(fields);
                Some(place)
            }
            _ => self.add(kind, space),
        }
    }

    fn push(&mut self, kind: Type) -> usize {
        self.types.push(kind);
        self.types.len() - 1
    }

    /// Gives the place and the name space of what stands inside.
    fn push_named(&mut self, kind: Type, value: &Value, space: &str) -> Option<(usize, String)> {
        let name = full(text_of(value, "name")?, text_of(value, "namespace").unwrap_or(space));
        let inner = name.rsplit_once('.').map_or("", |(space, _)| space).to_owned();
        let place = self.push(kind);
        self.names.insert(name, place);
        Some((place, inner))
    }
}

fn member<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    value.as_object()?.get(name)
}

fn text_of<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    member(value, name)?.as_str()
}

fn full(name: &str, space: &str) -> String {
    if name.contains('.') || space.is_empty() { name.to_owned() } else { format!("{space}.{name}") }
}

/// The events of one unpacked block that are not read yet.
#[derive(Default)]
pub(super) struct Events {
    block: Vec<u8>,
    at: usize,
    left: usize,
    /// Values that may still be looked at: there are types that take no bytes.
    steps: usize,
}

impl Events {
    /// `None` if the block cannot hold so many events.
    pub(super) fn new(block: Vec<u8>, count: i64) -> Option<Self> {
        let left = usize::try_from(count).ok().filter(|count| *count <= block.len())?;
        let steps = block.len().saturating_mul(8).saturating_add(1024);
        Some(Self { block, at: 0, left, steps })
    }

    /// The memory of the block, for the next one.
    pub(super) fn emptied(&mut self) -> Vec<u8> {
        let mut block = std::mem::take(&mut self.block);
        block.clear();
        block
    }

    /// Where the body of the next event stands, empty if it has none; `None` at
    /// the end of the block.
    pub(super) fn next(&mut self, schema: &Schema) -> io::Result<Option<Range<usize>>> {
        if self.left == 0 {
            return if self.at == self.block.len() { Ok(None) } else { Err(damaged()) };
        }
        self.left -= 1;
        self.event(schema).map(Some).ok_or_else(damaged)
    }

    fn event(&mut self, schema: &Schema) -> Option<Range<usize>> {
        let mut body = 0..0;
        for (number, place) in schema.fields.iter().enumerate() {
            if number == schema.body {
                body = self.body(schema, *place)?;
            } else {
                self.skip(schema, *place, MAX_DEPTH)?;
            }
        }
        Some(body)
    }

    pub(super) fn bytes(&self, range: &Range<usize>) -> &[u8] {
        self.block.get(range.clone()).unwrap_or_default()
    }

    /// Makes one line of a body.
    pub(super) fn trimmed(&mut self, mut body: Range<usize>) -> Range<usize> {
        let bytes = self.block.get_mut(body.clone()).unwrap_or_default();
        for byte in bytes.iter_mut().filter(|byte| **byte == b'\n') {
            *byte = b' ';
        }
        if bytes.starts_with(b"\xef\xbb\xbf") {
            body.start += 3;
        }
        body
    }

    fn body(&mut self, schema: &Schema, place: usize) -> Option<Range<usize>> {
        let place = match schema.types.get(place)? {
            Type::Union(branches) => *branches.get(self.length()?)?,
            _ => place,
        };
        if !matches!(schema.types.get(place)?, Type::Bytes) {
            self.skip(schema, place, MAX_DEPTH)?;
            return Some(0..0);
        }
        let length = self.length()?;
        let start = self.at;
        self.pass(length)?;
        Some(start..self.at)
    }

    fn skip(&mut self, schema: &Schema, place: usize, depth: usize) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        self.steps = self.steps.checked_sub(1)?;
        match schema.types.get(place)? {
            Type::Fixed(size) => self.pass(*size),
            Type::Number => self.number().map(|_| ()),
            Type::Bytes => {
                let length = self.length()?;
                self.pass(length)
            }
            Type::Blocks { item, keyed } => self.skip_blocks(schema, *item, *keyed, depth),
            Type::Union(branches) => {
                let branch = *branches.get(self.length()?)?;
                self.skip(schema, branch, depth)
            }
            Type::Record(fields) => fields.iter().try_for_each(|field| self.skip(schema, *field, depth)),
        }
    }

    fn skip_blocks(&mut self, schema: &Schema, item: usize, keyed: bool, depth: usize) -> Option<()> {
        loop {
            let count = self.number()?;
            if count == 0 {
                return Some(());
            }
            // A negative one is followed by the size of the block.
            if count < 0 {
                let size = self.length()?;
                self.pass(size)?;
                continue;
            }
            for _ in 0..count {
                let start = self.at;
                if keyed {
                    let length = self.length()?;
                    self.pass(length)?;
                }
                self.skip(schema, item, depth)?;
                if self.at == start {
                    break;
                }
            }
        }
    }

    fn pass(&mut self, count: usize) -> Option<()> {
        self.at = self.at.checked_add(count).filter(|at| *at <= self.block.len())?;
        Some(())
    }

    fn length(&mut self) -> Option<usize> {
        usize::try_from(self.number()?).ok()
    }

    fn number(&mut self) -> Option<i64> {
        let next = || {
            let byte = self.block.get(self.at).copied();
            self.at += 1;
            byte.ok_or_else(damaged)
        };
        number(next).ok()?
    }
}

/// A number of variable length from the bytes that `next` gives; `None` if it is
/// longer than 64 bits.
pub(super) fn number(mut next: impl FnMut() -> io::Result<u8>) -> io::Result<Option<i64>> {
    let mut bits = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = next()?;
        bits |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(Some((bits >> 1).cast_signed() ^ -(bits & 1).cast_signed()));
        }
    }
    Ok(None)
}
