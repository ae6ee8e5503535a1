//! The fast path: one pass over the bytes, straight into the buffers.
//!
//! Takes the `Deserializer` of serde_json on a record. It gives up, with an error, on
//! everything that is not plain: the caller rolls back and runs the record again
//! in careful mode. What it does accept it writes exactly as careful mode would.

use super::identity::kind_of_type;
use super::identity_plan::{IdentityField, IdentityPlan};
use super::leftover::{self, Leftover};
use super::plan::{IdentityPlace, Kind, Leaf, Member, NodeId, Plan, RowList, Target};
use super::rows::{Buffers, Fit, Scalar};
use super::seed_identity::{Field, InSet};
use super::seed_key::{Key, KeySeed};
use super::seed_list::Item;
use super::seed_map::entries;
use super::vacant::Vacant;
use crate::schema::{Type, When};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// What the fast path remembers between records.
#[derive(Debug)]
pub(crate) struct Memory {
    /// For each node, which member came after which the last time.
    successors: Vec<Vec<u16>>,
    /// For each table and identity, 1 + the source that supplied the current row.
    pub(super) supplied: Vec<Vec<usize>>,
    /// Nodes where this record had unknown enum members.
    pub(crate) new_members: Vec<NodeId>,
    /// Members that this record has beside the known ones: object and name.
    pub(crate) unknown_members: Vec<(NodeId, String)>,
    /// What the rows that are being read have beside their columns.
    pub(super) leftovers: Vec<Leftover>,
    /// Second sources of identities, by the number of the identity.
    pub(super) twins: Vec<(usize, Leftover)>,
    /// Rows per table before this record.
    before: Vec<usize>,
    pub(super) name: String,
}

impl Memory {
    pub(crate) fn new(plan: &Plan) -> Self {
        let successors = plan.nodes.iter().map(|node| match &node.kind {
            Kind::Object(object) => (0..=object.members.len()).map(|at| u16::try_from(at).unwrap_or(0)).collect(),
            _ => Vec::new(),
        });
        Self {
            successors: successors.collect(),
            supplied: plan.tables.iter().map(|table| vec![0; table.identities.len()]).collect(),
            new_members: Vec::new(),
            unknown_members: Vec::new(),
            leftovers: Vec::new(),
            twins: Vec::new(),
            before: Vec::new(),
            name: String::new(),
        }
    }
}

/// Reads one record into the row of `plan.call` that is open.
pub(crate) fn record<'de, D: Deserializer<'de>>(
    deserializer: D,
    plan: &Plan,
    buffers: &mut Buffers,
    memory: &mut Memory,
    before: &[usize],
) -> Result<(), D::Error> {
    memory.new_members.clear();
    memory.unknown_members.clear();
    memory.leftovers.clear();
    memory.twins.clear();
    before.clone_into(&mut memory.before);
    deserializer.deserialize_any(Record(Context { plan, buffers, memory }))
}

pub(super) struct Context<'c> {
    pub(super) plan: &'c Plan,
    pub(super) buffers: &'c mut Buffers,
    pub(super) memory: &'c mut Memory,
}

pub(super) fn not_plain<E: Error>() -> E {
    E::custom("not plain")
}

/// Members that annotate: ignored, but for `@odata.type` itself.
pub(crate) fn is_ignored(name: &str) -> bool {
    name.contains("@odata.") && name != "@odata.type"
}

struct Record<'c>(Context<'c>);

impl<'de> Visitor<'de> for Record<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a call record")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, map: A) -> Result<(), A::Error> {
        let table = self.0.plan.call.table;
        self.0.row(table, 0, map)
    }
}

impl<'c> Context<'c> {
    pub(super) fn reborrow(&mut self) -> Context<'_> {
        Context { plan: self.plan, buffers: self.buffers, memory: self.memory }
    }

    /// Reads the object of the row that was opened last in `table`.
    fn row<'de, A: MapAccess<'de>>(&mut self, table: usize, element: NodeId, map: A) -> Result<(), A::Error> {
        self.memory.supplied[table].fill(0);
        let (first, first_twin) = (self.memory.leftovers.len(), self.memory.twins.len());
        self.members(element, table, map)?;
        self.memory.take_twins(first_twin);
        if self.memory.leftovers.len() > first {
            self.write_leftovers(table, element, first);
        }
        let plan = self.plan;
        for (at, identity) in plan.tables[table].identities.iter().enumerate() {
            let supplied = self.memory.supplied[table][at];
            // An id beside a set counts if no source as good has an id.
            let better = if supplied == 0 { identity.sources.len() } else { supplied - 1 };
            let number = self.buffers.tables[table].numbers.last().map(|&number| usize::from(number));
            let sources =
                identity.sources[..better].iter().filter(|source| source.rows.is_none_or(|rows| Some(rows) == number));
            let mut outer = sources.filter_map(|source| source.outer);
            if outer.any(|column| self.buffers.text(table, column).is_some()) {
                return Err(not_plain());
            }
            if let (0, Some(column), Some(source)) = (supplied, identity.source, identity.bound_to(number)) {
                self.buffers.put_text(table, column, &identity.sources[source].name);
            }
        }
        Ok(())
    }

    fn members<'de, A: MapAccess<'de>>(&mut self, node: NodeId, table: usize, mut map: A) -> Result<(), A::Error> {
        let plan = self.plan;
        let object = plan.object(node);
        let (mut seen, mut seen_fields, mut before) = (0_u128, 0_u32, 0_usize);
        let (mut agent, mut other) = (false, false);
        let (mut unknown, mut later, mut sets) = (Vec::new(), Vec::new(), Vec::new());
        let place = object.identity;
        if let Some(place) = place {
            self.supply(table, place)?;
        }
        let fields: &[IdentityField] = match place {
            Some(place) => &plan.tables[table].identities[place.identity].fields,
            None => &[],
        };
        loop {
            let guess = usize::from(self.memory.successors[node][before]);
            let name = &mut self.memory.name;
            let Some(key) = map.next_key_seed(KeySeed { object, guess, fields, name })? else { break };
            match key {
                Key::Known(at) => {
                    if seen & (1 << at) != 0 {
                        return Err(not_plain());
                    }
                    seen |= 1 << at;
                    self.memory.successors[node][before] = u16::try_from(at).unwrap_or(0);
                    before = at + 1;
                    if object.endpoint.is_some() {
                        match object.members[at].name.as_str() {
                            "userAgent" => agent = true,
                            "@odata.type" => {}
                            _ => other = true,
                        }
                    }
                    let member = &object.members[at];
                    match &plan.nodes[member.node].kind {
                        Kind::Kept => self.leave(node, &member.name, leftover::value(&mut map)?, false),
                        Kind::Rows(rows) if rows.when == When::IfPreviousEmpty => {
                            later.push((member, leftover::value(&mut map)?));
                        }
                        Kind::Object(set) if set.may_be_a_twin() => {
                            sets.push((member.node, leftover::value(&mut map)?))
                        }
                        _ => map.next_value_seed(Value { node: member.node, table, context: self.reborrow() })?,
                    }
                }
                Key::Field(at) => {
                    if seen_fields & (1 << at) != 0 {
                        return Err(not_plain());
                    }
                    seen_fields |= 1 << at;
                    map.next_value_seed(Field { target: &fields[at].target, table, context: self.reborrow() })?;
                }
                Key::Ignored => {
                    leftover::value(&mut map)?;
                }
                Key::Unknown => {
                    other |= self.memory.name != "@odata.type";
                    match object.set {
                        Some(place) if self.is_twin(table, place) => {
                            let name = std::mem::take(&mut self.memory.name);
                            leftover::once(&mut unknown, &name)?;
                            self.twin(node, table, place, name, leftover::value(&mut map)?)?;
                        }
                        Some(place) if self.memory.name != "@odata.type" => {
                            map.next_value_seed(InSet { place, table, context: self.reborrow() })?;
                        }
                        _ => {
                            let name = std::mem::take(&mut self.memory.name);
                            leftover::once(&mut unknown, &name)?;
                            let is_drift = !plan.nodes[node].quiet && name != "@odata.type";
                            self.leave(node, &name, leftover::value(&mut map)?, is_drift);
                        }
                    }
                }
            }
        }
        for (member, value) in later {
            self.later(node, member, table, value)?;
        }
        for (set, value) in sets {
            self.set(set, table, value)?;
        }
        if let Some(column) = object.endpoint {
            let of_type = object.find("@odata.type").and_then(|at| match &plan.nodes[object.members[at].node].kind {
                Kind::Leaf(leaf) => self.buffers.text(table, leaf.targets[0].column),
                _ => None,
            });
            if let Some(kind) = endpoint_kind(of_type, agent, other) {
                self.buffers.put_text(table, column, kind);
            }
        }
        if let Some(place) = place {
            self.close_identity(table, place, None)?;
        }
        Ok(())
    }

    /// Reads a list of rows that counts only if the one before it gave no row.
    fn later<E: Error>(&mut self, object: NodeId, member: &Member, table: usize, value: &RawValue) -> Result<(), E> {
        let Kind::Rows(rows) = &self.plan.nodes[member.node].kind else { return Err(not_plain()) };
        if self.buffers.tables[rows.table].rows > self.memory.before[rows.table] {
            self.leave(object, &member.name, value, false);
            return Ok(());
        }
        let mut list = serde_json::Deserializer::from_str(value.get());
        let read = Value { node: member.node, table, context: self.reborrow() }.deserialize(&mut list);
        read.map_err(|_| not_plain())
    }

    /// Notes that a source supplies an identity; only one may.
    pub(super) fn supply<E: Error>(&mut self, table: usize, place: IdentityPlace) -> Result<(), E> {
        let slot = &mut self.memory.supplied[table][place.identity];
        if *slot != 0 {
            return Err(not_plain());
        }
        *slot = place.source + 1;
        Ok(())
    }

    pub(super) fn close_identity<E: Error>(
        &mut self,
        table: usize,
        place: IdentityPlace,
        kind: Option<&str>,
    ) -> Result<(), E> {
        let plan = self.plan;
        let identity = &plan.tables[table].identities[place.identity];
        if !identity.id().is_some_and(|column| self.buffers.is_written(table, column)) {
            return Err(not_plain());
        }
        if let Some(column) = identity.kind {
            let told = match kind {
                Some(kind) => Some(kind.to_owned()),
                None => told_kind(identity, |at| self.buffers.text(table, at)),
            };
            if let Some(kind) = told {
                self.buffers.put_text(table, column, &kind);
            }
        }
        if let Some(column) = identity.source {
            self.buffers.put_text(table, column, &identity.sources[place.source].name);
        }
        Ok(())
    }

    fn leaf<E: Error>(&mut self, node: NodeId, leaf: &Leaf, table: usize, scalar: Scalar) -> Result<(), E> {
        for target in &leaf.targets {
            let Scalar::Text(text) = scalar else {
                if target.rank > 0 {
                    return Err(not_plain());
                }
                self.target(target, table, scalar)?;
                continue;
            };
            let upper = leaf.call_id && (text.len() > 256 || text.bytes().any(|byte| byte.is_ascii_uppercase()));
            if upper || (target.rank > 0 && !text.is_empty()) {
                return Err(not_plain());
            }
            if self.target(target, table, scalar)? == Fit::NewMember {
                self.memory.new_members.push(node);
            }
        }
        Ok(())
    }

    pub(super) fn target<E: Error>(&mut self, target: &Target, table: usize, scalar: Scalar) -> Result<Fit, E> {
        match self.buffers.put(self.plan, table, target, scalar) {
            Fit::Misfit => Err(not_plain()),
            fit => Ok(fit),
        }
    }

    fn texts<'de, A: SeqAccess<'de>>(
        &mut self,
        node: NodeId,
        leaf: &Leaf,
        table: usize,
        mut list: A,
    ) -> Result<(), A::Error> {
        let [target] = leaf.targets.as_slice() else { return Err(not_plain()) };
        if target.data_type != Type::StringList || target.rank > 0 || self.buffers.is_written(table, target.column) {
            return Err(not_plain());
        }
        while let Some(()) =
            list.next_element_seed(Item { target, node, table, member: None, context: self.reborrow() })?
        {}
        let row = self.buffers.row(table);
        self.buffers.tables[table].columns[target.column].close_list(row);
        Ok(())
    }
}

/// `participant` or `service`, from the type or else from the members that an
/// endpoint has.
pub(crate) fn endpoint_kind(of_type: Option<&str>, agent: bool, other: bool) -> Option<&'static str> {
    match of_type {
        Some(name) if name.ends_with("participantEndpoint") => Some("participant"),
        Some(name) if name.ends_with("serviceEndpoint") => Some("service"),
        _ if other => Some("participant"),
        _ if agent => Some("service"),
        _ => None,
    }
}

/// The kind of an identity that stands alone, from its own members.
pub(crate) fn told_kind<'b>(identity: &IdentityPlan, text: impl Fn(usize) -> Option<&'b str>) -> Option<String> {
    let of = |member: &str| {
        let field = identity.fields.iter().find(|field| field.member == member)?;
        text(field.target.column)
    };
    let by_type = of("@odata.type").and_then(kind_of_type);
    by_type.or_else(|| of("userPrincipalName").map(|_| "user".to_owned()))
}

/// The value of a node.
pub(super) struct Value<'c> {
    pub(super) node: NodeId,
    pub(super) table: usize,
    pub(super) context: Context<'c>,
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Value<'_> {
    fn scalar<E: Error>(mut self, scalar: Scalar) -> Result<(), E> {
        match &self.context.plan.nodes[self.node].kind {
            Kind::Leaf(leaf) => self.context.leaf(self.node, leaf, self.table, scalar),
            _ if matches!(scalar, Scalar::Text("")) => Ok(()),
            _ => Err(not_plain()),
        }
    }
}

/// The visits of all scalars, for visitors that have `scalar`.
macro_rules! scalars {
    () => {
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a value of a call record")
        }

        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
            Ok(())
        }

        fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
            self.scalar(Scalar::Bool(value))
        }

        fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
            self.scalar(Scalar::Integer(value))
        }

        fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
            self.scalar(Scalar::Integer(i64::try_from(value).map_err(|_| not_plain())?))
        }

        fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
            self.scalar(Scalar::Float(value))
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
            self.scalar(Scalar::Text(text))
        }
    };
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = ();

    scalars!();

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        let plan = self.context.plan;
        match &plan.nodes[self.node].kind {
            Kind::Leaf(leaf) if leaf.targets.first().is_some_and(|target| target.data_type == Type::StringList) => {
                self.context.texts(self.node, leaf, self.table, list)
            }
            Kind::Rows(rows) => {
                let mut position = 0;
                while let Some(()) =
                    list.next_element_seed(Element { rows, position, context: self.context.reborrow() })?
                {
                    position += 1;
                }
                Ok(())
            }
            Kind::MemberList { member, target } => {
                let (table, node) = (self.table, self.node);
                while let Some(()) = list.next_element_seed(Item {
                    target,
                    node,
                    table,
                    member: Some(member),
                    context: self.context.reborrow(),
                })? {}
                let row = self.context.buffers.row(table);
                self.context.buffers.tables[table].columns[target.column].close_list(row);
                Ok(())
            }
            _ => Vacant::default().visit_seq(list),
        }
    }

    fn visit_map<A: MapAccess<'de>>(mut self, map: A) -> Result<(), A::Error> {
        let plan = self.context.plan;
        match &plan.nodes[self.node].kind {
            Kind::Object(_) => self.context.members(self.node, self.table, map),
            Kind::Map(rows) => entries(rows, self.context, map),
            _ => Vacant::default().visit_map(map),
        }
    }
}

pub(super) use scalars;

/// One element of a list of rows.
struct Element<'c> {
    rows: &'c RowList,
    position: usize,
    context: Context<'c>,
}

impl<'de> DeserializeSeed<'de> for Element<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Element<'_> {
    fn scalar<E: Error>(self, scalar: Scalar) -> Result<(), E> {
        if matches!(scalar, Scalar::Text("")) { Ok(()) } else { Err(not_plain()) }
    }
}

impl<'de> Visitor<'de> for Element<'_> {
    type Value = ();

    scalars!();

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<(), A::Error> {
        Vacant::default().visit_seq(list)
    }

    fn visit_map<A: MapAccess<'de>>(mut self, map: A) -> Result<(), A::Error> {
        let context = &mut self.context;
        context.buffers.open(context.plan, self.rows.table, self.rows.number, self.position);
        context.row(self.rows.table, self.rows.element, map)
    }
}
