//! The catalogue, compiled once into one trie over all paths of all tables.
//!
//! Takes a [`Catalogue`], gives a [`Plan`]. Refuses paths that contradict each
//! other, and named functions that are not known.

use super::derive;
use super::finish;
use super::identity_plan::{self, IdentityField, IdentityPlan, SourcePlan};
use super::leftover::PLAN_DEPTH;
pub(crate) use super::object::{Member, Object};
use super::path::{Segment, Shape, segments};
use crate::arrow::datatypes::SchemaRef;
use crate::error::{Error, Result};
use crate::schema::{Catalogue, Identity, Source, Table, Type, When};

/// Number of a node of the trie; 0 is the record.
pub(crate) type NodeId = usize;

/// What the flattener does with each path, compiled from the catalogue.
#[derive(Debug)]
pub struct Plan {
    pub(crate) nodes: Vec<Node>,
    pub(crate) tables: Vec<TablePlan>,
    pub(crate) enums: Vec<Vec<String>>,
    /// The table whose rows are the records, and its columns of id and start.
    pub(crate) call: Call,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub(crate) table: usize,
    pub(crate) id: usize,
    pub(crate) start: usize,
}

#[derive(Debug)]
pub(crate) struct Node {
    /// Path from the record's root, for the drift report.
    pub(crate) path: String,
    /// Kept in `extra_json` by design: nothing below is drift.
    pub(crate) quiet: bool,
    pub(crate) kind: Kind,
}

#[derive(Debug)]
pub(crate) enum Kind {
    /// A scalar, or a list of texts, that columns hold.
    Leaf(Leaf),
    Object(Object),
    /// A list whose elements are rows.
    Rows(RowList),
    /// A map whose entries are rows.
    Map(RowMap),
    /// A list of objects of which one member goes to a list column.
    MemberList {
        member: String,
        target: Target,
    },
    /// Known, and left to `extra_json`.
    Kept,
}

#[derive(Debug, Default)]
pub(crate) struct Leaf {
    pub(crate) targets: Vec<Target>,
    /// The record's own id, which is lower-cased.
    pub(crate) call_id: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) column: usize,
    pub(crate) data_type: Type,
    pub(crate) enumeration: Option<usize>,
    /// Place of this path among the paths of the column.
    pub(crate) rank: usize,
    /// Whether the column has further paths.
    pub(crate) several: bool,
}

/// Which identity of the row's table an object feeds, and as which source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IdentityPlace {
    pub(crate) identity: usize,
    pub(crate) source: usize,
}

#[derive(Debug)]
pub(crate) struct RowList {
    pub(crate) table: usize,
    pub(crate) number: usize,
    pub(crate) when: When,
    pub(crate) element: NodeId,
}

#[derive(Debug)]
pub(crate) struct RowMap {
    pub(crate) table: usize,
    pub(crate) number: usize,
    pub(crate) key: Option<usize>,
    pub(crate) value: Option<Target>,
}

#[derive(Debug)]
pub(crate) struct TablePlan {
    pub(crate) name: String,
    pub(crate) schema: SchemaRef,
    pub(crate) types: Vec<Type>,
    /// Columns that are filled while a record is read.
    pub(crate) buffered: Vec<bool>,
    pub(crate) extra: Option<usize>,
    /// Number of the rows path that is the record itself; 0 if there is none.
    pub(crate) root: usize,
    /// For each column its paths, split, for columns of several paths.
    pub(crate) paths: Vec<Vec<Vec<String>>>,
    pub(crate) identities: Vec<IdentityPlan>,
    /// Tables above this one, outermost first.
    pub(crate) ancestors: Vec<usize>,
    /// For each rows path, which of the ancestors are above it.
    pub(crate) above: Vec<Vec<bool>>,
    pub(crate) finish: Vec<derive::Finish>,
    /// Order in which unbuffered columns are made.
    pub(crate) order: Vec<usize>,
}

impl Plan {
    /// Compiles the record tables of `catalogue`.
    ///
    /// # Errors
    /// Of class config: paths that contradict each other, a function or column
    /// that is not known, no table of whole records with `id` and
    /// `startDateTime`.
    pub fn compile(catalogue: &Catalogue) -> Result<Self> {
        let mut build = Build::new(catalogue);
        for (number, table) in catalogue.tables.iter().enumerate() {
            build.rows(number, table)?;
        }
        for number in 0..catalogue.tables.len() {
            let table = build.table(number)?;
            build.tables.push(table);
        }
        derive::check(catalogue, &build.tables)?;
        let plan = build.finish()?;
        finish::check(&plan)?;
        Ok(plan)
    }

    pub(crate) fn object(&self, node: NodeId) -> &Object {
        match &self.nodes[node].kind {
            Kind::Object(object) => object,
            _ => unreachable!("row elements are objects by construction"),
        }
    }

    /// The path of a member of an object, from the record's root.
    pub(crate) fn below(&self, object: NodeId, name: &str) -> String {
        let above = &self.nodes[object].path;
        if above.is_empty() { name.to_owned() } else { format!("{above}.{name}") }
    }

    pub(crate) fn is_member(&self, enumeration: usize, text: &str) -> bool {
        self.enums[enumeration].iter().any(|member| member == text)
    }
}

struct Build<'c> {
    catalogue: &'c Catalogue,
    nodes: Vec<Node>,
    tables: Vec<TablePlan>,
    enums: Vec<String>,
    /// For each table and rows path, where its rows are.
    places: Vec<Vec<Place>>,
}

#[derive(Clone, Copy)]
enum Place {
    Element(NodeId),
    Map(NodeId),
}

impl<'c> Build<'c> {
    fn new(catalogue: &'c Catalogue) -> Self {
        let root = Node { path: String::new(), quiet: false, kind: Kind::Object(Object::default()) };
        Self { catalogue, nodes: vec![root], tables: Vec::new(), enums: Vec::new(), places: Vec::new() }
    }

    fn add(&mut self, path: String, kind: Kind) -> NodeId {
        self.nodes.push(Node { path, quiet: false, kind });
        self.nodes.len() - 1
    }

    /// The node of a member of an object, made with `kind` if it is new.
    fn member(&mut self, parent: NodeId, segment: &Segment, kind: impl FnOnce() -> Kind) -> Result<(NodeId, bool)> {
        let above = &self.nodes[parent].path;
        let path = if above.is_empty() { segment.to_string() } else { format!("{above}.{segment}") };
        let next = self.nodes.len();
        let Kind::Object(object) = &mut self.nodes[parent].kind else {
            return Err(Error::config(format!("the path {path} goes through a path that a column holds")));
        };
        if let Some(at) = object.find(&segment.name) {
            return Ok((object.members[at].node, false));
        }
        object.add(segment.name.clone(), next);
        Ok((self.add(path, kind()), true))
    }

    /// The object at `path` below `from`; lists on the way must be row lists.
    fn object(&mut self, from: NodeId, path: &[Segment]) -> Result<NodeId> {
        let mut at = from;
        for segment in path {
            let (node, _) = self.member(at, segment, || Kind::Object(Object::default()))?;
            at = match (&self.nodes[node].kind, segment.shape) {
                (Kind::Object(_), Shape::Plain) => node,
                (Kind::Rows(list), Shape::List) => list.element,
                _ => return Err(Error::config(format!("the path {} is read in two ways", self.nodes[node].path))),
            };
        }
        Ok(at)
    }

    fn rows(&mut self, table: usize, description: &Table) -> Result<()> {
        let mut places = Vec::new();
        for (number, rows) in description.rows.iter().enumerate() {
            let path = segments(&rows.path);
            let Some((last, before)) = path.split_last() else {
                places.push(Place::Element(0));
                continue;
            };
            let parent = self.object(0, before)?;
            let element = self.add(rows.path.clone(), Kind::Object(Object::default()));
            let kind = match last.shape {
                Shape::List => Kind::Rows(RowList { table, number, when: rows.when, element }),
                Shape::Map => Kind::Map(RowMap { table, number, key: None, value: None }),
                Shape::Plain => return Err(Error::config(format!("the rows {} are neither list nor map", rows.path))),
            };
            let (node, new) = self.member(parent, last, || kind)?;
            if !new {
                return Err(Error::config(format!("two tables take their rows from {}", rows.path)));
            }
            if rows.when == When::IfPreviousEmpty && parent != 0 {
                return Err(Error::config(format!(
                    "the rows {} depend on others, which only lists of the record itself can",
                    rows.path
                )));
            }
            places.push(if last.shape == Shape::Map { Place::Map(node) } else { Place::Element(element) });
        }
        self.places.push(places);
        Ok(())
    }

    fn table(&mut self, number: usize) -> Result<TablePlan> {
        let table = &self.catalogue.tables[number];
        let mut buffered = vec![false; table.columns.len()];
        let identities: Vec<IdentityPlan> = table
            .identities
            .iter()
            .map(|identity| self.identity(table, identity, &mut buffered))
            .collect::<Result<_>>()?;
        let of_identity = buffered.clone();
        let mut paths = Vec::new();
        for (at, column) in table.columns.iter().enumerate() {
            let mut split = Vec::new();
            if let Source::Value(values) = &column.source
                && !of_identity[at]
            {
                buffered[at] = true;
                for (rank, value) in values.iter().enumerate() {
                    let mut target = self.target(table, at);
                    (target.rank, target.several) = (rank, values.len() > 1);
                    self.value(number, value, &target)?;
                    split.push(segments(value).into_iter().map(|segment| segment.name).collect());
                }
            }
            paths.push(split);
        }
        let extra = table.columns.iter().position(|column| column.source == Source::ExtraJson);
        let Some(at) = extra else {
            return Err(Error::config(format!(
                "the table {} has no column for what its other columns do not hold",
                table.name
            )));
        };
        buffered[at] = true;
        for at in 0..self.places[number].len() {
            self.places(number, at, &mut buffered)?;
        }
        let (ancestors, above) = self.ancestors(number);
        let finish = derive::compile(self.catalogue, number, &buffered)?;
        let order = derive::order(table, &finish)?;
        Ok(TablePlan {
            name: table.name.clone(),
            schema: table.arrow_schema(),
            types: table.columns.iter().map(|column| column.data_type).collect(),
            buffered,
            extra,
            root: table.rows.iter().position(|rows| rows.path.is_empty()).unwrap_or(0),
            paths,
            identities,
            ancestors,
            above,
            finish,
            order,
        })
    }

    fn target(&mut self, table: &Table, column: usize) -> Target {
        let enumeration =
            table.columns[column].enumeration.as_ref().filter(|name| self.catalogue.enums.contains_key(*name));
        let enumeration = enumeration.map(|name| {
            self.enums.iter().position(|known| known == name).unwrap_or_else(|| {
                self.enums.push(name.clone());
                self.enums.len() - 1
            })
        });
        Target { column, data_type: table.columns[column].data_type, enumeration, rank: 0, several: false }
    }

    /// Adds a value path of a column below all rows paths of the table.
    fn value(&mut self, table: usize, path: &str, target: &Target) -> Result<()> {
        let wrong = |why: &str| {
            Error::config(format!("the path {path} of a column of {} {why}", self.catalogue.tables[table].name))
        };
        if target.several && target.data_type == Type::StringList {
            return Err(wrong("is one of several for a list"));
        }
        if target.data_type == Type::Decimal {
            return Err(wrong("is a decimal, which call records do not have"));
        }
        for place in self.places[table].clone() {
            let element = match place {
                Place::Element(element) => element,
                Place::Map(node) => {
                    let Kind::Map(map) = &mut self.nodes[node].kind else { continue };
                    match path {
                        "key" => map.key = Some(target.column),
                        "value" => map.value = Some(target.clone()),
                        _ => return Err(wrong("is neither key nor value of a map")),
                    }
                    continue;
                }
            };
            let mut path = segments(path);
            let Some(last) = path.pop() else { return Err(wrong("is empty")) };
            if path.last().is_some_and(|segment| segment.shape == Shape::List) && target.data_type == Type::StringList {
                let Some(list) = path.pop() else { continue };
                let parent = self.object(element, &path)?;
                let kind = || Kind::MemberList { member: last.name.clone(), target: target.clone() };
                if !self.member(parent, &list, kind)?.1 {
                    return Err(wrong("reads a list that is read already"));
                }
                continue;
            }
            let parent = self.object(element, &path)?;
            let call_id = parent == 0 && last.name == "id";
            let (node, _) = self.member(parent, &last, || Kind::Leaf(Leaf { targets: Vec::new(), call_id }))?;
            match &mut self.nodes[node].kind {
                Kind::Leaf(leaf) => leaf.targets.push(target.clone()),
                _ => return Err(wrong("is the path of an object or list")),
            }
        }
        Ok(())
    }

    /// Marks endpoints, identities and kept paths below one rows path.
    fn places(&mut self, number: usize, at: usize, buffered: &mut [bool]) -> Result<()> {
        let table = &self.catalogue.tables[number];
        let Place::Element(element) = self.places[number][at] else { return Ok(()) };
        for endpoint in &table.endpoints {
            let column = table.column(&endpoint.column).ok_or_else(|| no_column(table, &endpoint.column))?;
            buffered[column] = true;
            let node = self.object(element, &segments(&endpoint.path))?;
            if let Kind::Object(object) = &mut self.nodes[node].kind {
                object.endpoint = Some(column);
            }
        }
        for (identity, description) in table.identities.iter().enumerate() {
            for (source, from) in description.sources.iter().enumerate() {
                if from.rows.is_some_and(|rows| rows != at) {
                    continue;
                }
                let place = IdentityPlace { identity, source };
                for (path, is_set) in [(&from.object, false), (&from.set, true)] {
                    let Some(path) = path else { continue };
                    let node = self.object(element, &segments(path))?;
                    if let Kind::Object(object) = &mut self.nodes[node].kind {
                        let slot = if is_set { &mut object.set } else { &mut object.identity };
                        if slot.replace(place).is_some() {
                            return Err(Error::config(format!(
                                "two identities of {} are read from {path}",
                                table.name
                            )));
                        }
                    }
                }
            }
        }
        for path in &table.kept {
            let mut path = segments(path);
            let Some(last) = path.pop() else { continue };
            let parent = self.object(element, &path)?;
            let (node, _) = self.member(parent, &last, || Kind::Kept)?;
            self.nodes[node].quiet = true;
        }
        Ok(())
    }

    fn identity(&mut self, table: &Table, identity: &Identity, buffered: &mut [bool]) -> Result<IdentityPlan> {
        let mut column = |suffix: &str| {
            let found = table.column(&format!("{}_{suffix}", identity.prefix));
            if let Some(at) = found {
                buffered[at] = true;
            }
            found
        };
        let (kind, source) = (column("kind"), column("source"));
        let columns: Vec<_> =
            identity_plan::FIELDS.iter().filter_map(|(suffix, member)| Some((*member, column(suffix)?))).collect();
        let fields = columns
            .into_iter()
            .map(|(member, at)| IdentityField { member: member.to_owned(), target: self.target(table, at) })
            .collect();
        let names = |path: &Option<String>| {
            path.as_ref().map(|path| segments(path).into_iter().map(|segment| segment.name).collect::<Vec<_>>())
        };
        let sources = identity.sources.iter().map(|from| {
            let outer = from.outer_id.as_ref().map(|path| {
                let holds = |column: &crate::schema::Column| matches!(&column.source, Source::Value(paths) if paths.len() == 1 && paths[0] == *path);
                table.columns.iter().position(holds).ok_or_else(|| no_column(table, path))
            });
            Ok(SourcePlan {
                name: from.name.clone(),
                rows: from.rows,
                object: names(&from.object),
                set: names(&from.set),
                outer: outer.transpose()?,
            })
        });
        Ok(IdentityPlan { kind, source, fields, sources: sources.collect::<Result<_>>()? })
    }

    fn ancestors(&self, number: usize) -> (Vec<usize>, Vec<Vec<bool>>) {
        let tables = &self.catalogue.tables;
        let is_above = |above: &Table, path: &str| {
            above.rows.iter().any(|rows| {
                let rest = path.strip_prefix(rows.path.as_str());
                !path.is_empty() && rest.is_some_and(|rest| rows.path.is_empty() || rest.starts_with('.'))
            })
        };
        let paths: Vec<&str> = tables[number].rows.iter().map(|rows| rows.path.as_str()).collect();
        let ancestors: Vec<usize> = (0..tables.len())
            .filter(|&at| at != number && paths.iter().any(|path| is_above(&tables[at], path)))
            .collect();
        let above =
            paths.iter().map(|path| ancestors.iter().map(|&at| is_above(&tables[at], path)).collect()).collect();
        (ancestors, above)
    }

    fn finish(mut self) -> Result<Plan> {
        // What is below an object that is kept is kept too.
        for at in 0..self.nodes.len() {
            let Node { quiet: true, kind: Kind::Object(object), .. } = &self.nodes[at] else { continue };
            let below: Vec<NodeId> = object.members.iter().map(|member| member.node).collect();
            below.into_iter().for_each(|node| self.nodes[node].quiet = true);
        }
        let levels = |path: &str| segments(path).len() + path.matches("[]").count();
        if let Some(node) = self.nodes.iter().find(|node| levels(&node.path) >= PLAN_DEPTH) {
            return Err(Error::config(format!("the path {} has more than {PLAN_DEPTH} levels", node.path)));
        }
        let wide =
            self.nodes.iter().find(|node| matches!(&node.kind, Kind::Object(object) if object.members.len() > 128));
        if let Some(node) = wide {
            return Err(Error::config(format!("the object {} has more than 128 known members", node.path)));
        }
        let root = |name: &str| {
            let Kind::Object(object) = &self.nodes[0].kind else { return None };
            let node = object.members[object.find(name)?].node;
            match &self.nodes[node].kind {
                Kind::Leaf(leaf) => Some(leaf.targets.first()?.column),
                _ => None,
            }
        };
        let table = self.catalogue.tables.iter().position(|table| table.rows.iter().any(|rows| rows.path.is_empty()));
        let (Some(table), Some(id), Some(start)) = (table, root("id"), root("startDateTime")) else {
            return Err(Error::config("no table holds whole records with their id and startDateTime"));
        };
        let enums = self.enums.iter().map(|name| self.catalogue.enums.get(name).cloned().unwrap_or_default()).collect();
        Ok(Plan { nodes: self.nodes, tables: self.tables, enums, call: Call { table, id, start } })
    }
}

pub(crate) fn no_column(table: &Table, name: &str) -> Error {
    Error::config(format!("the table {} has no column {name}", table.name))
}
