//! Careful mode: the walk for records that are not plain. Every leaf is first
//! taken as raw text, and what no column holds goes to `extra_json`.
//!
//! Takes the text of a record, checked for depth and UTF-8. Refuses what is no
//! record.

use super::drift::Drift;
use super::extra::{Elements, Extra, Members};
use super::head::{Members as HeadMembers, Refused};
use super::identity::{self, Found, FoundSet};
use super::plan::{Kind, Leaf, NodeId, Plan, RowList, RowMap, Target};
use super::raw::{self, Entry};
use super::rows::{Buffers, Fit, Scalar};
use super::seed::{endpoint_kind, is_ignored};
use crate::schema::{Type, When};
use serde_json::value::RawValue;

/// Reads one record into new rows.
///
/// # Errors
/// Why the record is refused; the caller rolls back.
pub(crate) fn record(text: &str, plan: &Plan, buffers: &mut Buffers, drift: &mut Drift) -> Result<(), Refused> {
    let raw: &RawValue = serde_json::from_str(text).map_err(|_| Refused::NotJson)?;
    if !raw::is_object(raw) {
        return Err(Refused::NotARecord);
    }
    let all = raw::all_entries(raw);
    let first = head_members(all.iter());
    let entries = raw::last_of_each(all);
    let head = head_members(entries.iter()).head();
    if first.head() != head {
        return Err(Refused::Ambiguous);
    }
    head?;
    let mark = buffers.mark();
    let table = plan.call.table;
    let number = plan.tables[table].root;
    buffers.open(plan, table, number, 0);
    Walk { plan, buffers, drift, mark }.row(table, 0, entries);
    Ok(())
}

fn head_members<'e, 'a: 'e>(entries: impl Iterator<Item = &'e Entry<'a>>) -> HeadMembers<'a> {
    let mut members = HeadMembers::default();
    for entry in entries {
        let slot = match entry.name.as_deref() {
            Some("id") => &mut members.id,
            Some("version") => &mut members.version,
            Some("startDateTime") => &mut members.start,
            _ => continue,
        };
        slot.get_or_insert(entry.value);
    }
    members
}

struct Walk<'w> {
    plan: &'w Plan,
    buffers: &'w mut Buffers,
    drift: &'w mut Drift,
    /// Rows per table before this record.
    mark: Vec<usize>,
}

/// The row whose object is being read.
struct Frame<'a> {
    table: usize,
    /// Leaves of columns that have several paths.
    several: Vec<(Target, NodeId, &'a RawValue)>,
    found: Found<'a>,
}

impl Walk<'_> {
    /// Reads the object of the row that was opened last in `table`.
    fn row(&mut self, table: usize, element: NodeId, entries: Vec<Entry<'_>>) {
        let mut frame = Frame { table, several: Vec::new(), found: Found::default() };
        let mut extra = self.object(element, entries, false, &mut frame);
        self.several(table, &frame.several, &mut extra);
        for at in 0..self.plan.tables[table].identities.len() {
            identity::resolve(self.plan, (table, at), &frame.found, self.buffers, &mut extra, self.drift);
        }
        self.write_extra(table, &extra);
    }

    fn write_extra(&mut self, table: usize, extra: &Members<'_>) {
        if let (Some(column), false) = (self.plan.tables[table].extra, extra.is_empty()) {
            let mut text = String::new();
            extra.write(&mut text);
            self.buffers.put_text(table, column, &text);
        }
    }

    /// Reads an object; gives what no column holds of it.
    fn object<'a>(&mut self, node: NodeId, entries: Vec<Entry<'a>>, quiet: bool, frame: &mut Frame<'a>) -> Members<'a> {
        let plan = self.plan;
        let object = plan.object(node);
        if let Some(column) = object.endpoint {
            self.endpoint(column, &entries, frame.table);
        }
        let fields = object.identity.map(|place| &plan.tables[frame.table].identities[place.identity].fields);
        let (mut extra, mut identity) = (Members::default(), Vec::new());
        let mut set = FoundSet { kinds: Vec::new(), quiet, path: plan.nodes[node].path.clone() };
        let mut later = Vec::new();
        for entry in entries {
            let name = entry.name.as_deref();
            let known = name.and_then(|name| object.find(name)).map(|at| object.members[at].node);
            if let Some(known) = known {
                match &plan.nodes[known].kind {
                    Kind::Rows(list) if list.when == When::IfPreviousEmpty => later.push((known, entry)),
                    _ => {
                        if let Some(left) = self.value(known, entry.value, quiet, frame) {
                            extra.add(entry.quoted(), left);
                        }
                    }
                }
            } else if name.is_some_and(is_ignored) || raw::is_vacant(entry.value) && object.set.is_none() {
            } else if object.set.is_some()
                && name.is_some_and(|name| name != "@odata.type")
                && raw::is_object(entry.value)
            {
                set.kinds.push(entry);
            } else if fields.is_some_and(|fields| fields.iter().any(|field| Some(field.member.as_str()) == name)) {
                identity.push(entry);
            } else if !raw::is_vacant(entry.value) {
                self.unknown(node, &entry, quiet);
                extra.add(entry.quoted(), Extra::Raw(entry.value.get()));
            }
        }
        for (known, entry) in later {
            if let Some(left) = self.value(known, entry.value, quiet, frame) {
                extra.add(entry.quoted(), left);
            }
        }
        if let Some(place) = object.identity {
            frame.found.objects.push((place, identity));
        }
        if let Some(place) = object.set {
            frame.found.sets.push((place, set));
        }
        extra
    }

    fn unknown(&mut self, node: NodeId, entry: &Entry<'_>, quiet: bool) {
        let name = entry.name.as_deref().unwrap_or("(undecodable)");
        if quiet || name == "@odata.type" {
            return;
        }
        self.drift.unknown_member(self.plan.below(node, name));
    }

    fn misfit(&mut self, node: NodeId, quiet: bool) {
        if !quiet {
            self.drift.misfit(self.plan.nodes[node].path.clone());
        }
    }

    fn endpoint(&mut self, column: usize, entries: &[Entry<'_>], table: usize) {
        let (mut of_type, mut agent, mut other) = (None, false, false);
        for entry in entries {
            match entry.name.as_deref() {
                Some("@odata.type") => of_type = raw::text(entry.value),
                Some("userAgent") => agent = true,
                Some(name) if is_ignored(name) => {}
                _ => other = true,
            }
        }
        let of_type = of_type.filter(|name| !name.is_empty());
        if let Some(kind) = endpoint_kind(of_type.as_deref(), agent, other) {
            self.buffers.put_text(table, column, kind);
        }
    }

    /// Reads the value of a node; gives what no column holds of it.
    fn value<'a>(
        &mut self,
        node: NodeId,
        value: &'a RawValue,
        quiet: bool,
        frame: &mut Frame<'a>,
    ) -> Option<Extra<'a>> {
        let plan = self.plan;
        let quiet = quiet || plan.nodes[node].quiet;
        match &plan.nodes[node].kind {
            Kind::Leaf(leaf) => self.leaf(node, leaf, value, quiet, frame),
            Kind::Object(_) if raw::is_object(value) => {
                self.object(node, raw::entries(value), quiet, frame).into_extra()
            }
            Kind::Rows(list) if raw::is_list(value) => self.rows(node, list, value, quiet),
            Kind::Map(map) if raw::is_object(value) => self.entries(node, map, value, quiet),
            Kind::MemberList { member, target } if raw::is_list(value) => {
                self.members_of(node, member, target, value, quiet, frame.table)
            }
            Kind::Kept => (!raw::is_vacant(value)).then_some(Extra::Raw(value.get())),
            _ if raw::is_vacant(value) => None,
            _ => {
                self.misfit(node, quiet);
                Some(Extra::Raw(value.get()))
            }
        }
    }

    fn leaf<'a>(
        &mut self,
        node: NodeId,
        leaf: &Leaf,
        value: &'a RawValue,
        quiet: bool,
        frame: &mut Frame<'a>,
    ) -> Option<Extra<'a>> {
        let mut left = false;
        let mut misfit = false;
        for target in &leaf.targets {
            if target.data_type == Type::StringList && raw::is_list(value) {
                misfit |= !self.texts(node, target, value, frame.table);
            } else if raw::is_vacant(value) {
            } else if target.several {
                frame.several.push((target.clone(), node, value));
            } else if leaf.call_id {
                let id = raw::text(value).unwrap_or_default();
                let lower = id.to_ascii_lowercase();
                left |= lower != id;
                self.buffers.put(self.plan, frame.table, target, Scalar::Text(&lower));
            } else {
                misfit |= self.cell(node, target, value, frame.table) == Fit::Misfit;
            }
        }
        if misfit && !raw::is_vacant(value) {
            self.misfit(node, quiet);
            left = true;
        }
        left.then_some(Extra::Raw(value.get()))
    }

    fn cell(&mut self, node: NodeId, target: &Target, value: &RawValue, table: usize) -> Fit {
        let fit = raw::with_scalar(value, |scalar| self.buffers.put(self.plan, table, target, scalar));
        let fit = fit.unwrap_or(Fit::Misfit);
        if fit == Fit::NewMember {
            self.drift.unknown_enum_member(&self.plan.nodes[node].path);
        }
        fit
    }

    /// Writes a list of texts, if it is one.
    fn texts(&mut self, node: NodeId, target: &Target, value: &RawValue, table: usize) -> bool {
        let text = |element: &'_ RawValue| match element.get() {
            "null" => Some(None),
            _ => raw::text(element).map(|text| Some(text.into_owned())),
        };
        let texts: Option<Vec<_>> = raw::elements(value).into_iter().map(text).collect();
        let Some(texts) = texts else { return false };
        self.list(node, target, &texts, table);
        true
    }

    fn list(&mut self, node: NodeId, target: &Target, texts: &[Option<String>], table: usize) {
        let row = self.buffers.row(table);
        let column = &mut self.buffers.tables[table].columns[target.column];
        if column.is_written(row) {
            return;
        }
        for text in texts {
            let text = text.as_deref().filter(|text| !text.is_empty());
            if let (Some(text), Some(known)) = (text, target.enumeration)
                && !self.plan.is_member(known, text)
            {
                self.drift.unknown_enum_member(&self.plan.nodes[node].path);
            }
            column.add_item(text);
        }
        column.close_list(row);
    }

    fn members_of<'a>(
        &mut self,
        node: NodeId,
        member: &str,
        target: &Target,
        value: &'a RawValue,
        quiet: bool,
        table: usize,
    ) -> Option<Extra<'a>> {
        let (mut texts, mut left) = (Vec::new(), Elements::default());
        for (position, element) in raw::elements(value).into_iter().enumerate() {
            texts.push(None);
            if raw::is_vacant(element) {
                continue;
            }
            if !raw::is_object(element) {
                self.misfit(node, quiet);
                left.put(position, Extra::Raw(element.get()));
                continue;
            }
            let mut extra = Members::default();
            for entry in raw::entries(element) {
                let name = entry.name.as_deref();
                if raw::is_vacant(entry.value) || name.is_some_and(is_ignored) {
                    continue;
                }
                if name == Some(member) {
                    if let Some(text) = raw::text(entry.value) {
                        texts[position] = Some(text.into_owned());
                        continue;
                    }
                    self.misfit(node, quiet);
                } else {
                    self.unknown(node, &entry, quiet);
                }
                extra.add(entry.quoted(), Extra::Raw(entry.value.get()));
            }
            if let Some(extra) = extra.into_extra() {
                left.put(position, extra);
            }
        }
        self.list(node, target, &texts, table);
        left.into_extra()
    }

    fn rows<'a>(&mut self, node: NodeId, list: &RowList, value: &'a RawValue, quiet: bool) -> Option<Extra<'a>> {
        if list.when == When::IfPreviousEmpty && self.buffers.tables[list.table].rows > self.mark[list.table] {
            return (!raw::is_vacant(value)).then_some(Extra::Raw(value.get()));
        }
        let mut left = Elements::default();
        for (position, element) in raw::elements(value).into_iter().enumerate() {
            if raw::is_object(element) {
                self.buffers.open(self.plan, list.table, list.number, position);
                self.row(list.table, list.element, raw::entries(element));
            } else if !raw::is_vacant(element) {
                self.misfit(node, quiet);
                left.put(position, Extra::Raw(element.get()));
            }
        }
        left.into_extra()
    }

    fn entries<'a>(&mut self, node: NodeId, map: &RowMap, value: &'a RawValue, quiet: bool) -> Option<Extra<'a>> {
        let (key, target) = (map.key?, map.value.as_ref()?);
        let mut left = Members::default();
        let mut position = 0;
        for entry in raw::entries(value) {
            let name = entry.name.as_deref().unwrap_or_default();
            if is_ignored(name) || raw::is_vacant(entry.value) {
                continue;
            }
            if name.is_empty() || name == "@odata.type" {
                self.unknown(node, &entry, quiet);
                left.add(entry.quoted(), Extra::Raw(entry.value.get()));
                continue;
            }
            self.buffers.open(self.plan, map.table, map.number, position);
            self.buffers.put_text(map.table, key, name);
            position += 1;
            if self.cell(node, target, entry.value, map.table) == Fit::Misfit {
                self.misfit(node, quiet);
                let mut extra = Members::default();
                extra.add("\"value\"".into(), Extra::Raw(entry.value.get()));
                self.write_extra(map.table, &extra);
            }
        }
        left.into_extra()
    }

    /// Columns of several paths: the first that is not null counts.
    fn several<'a>(&mut self, table: usize, found: &[(Target, NodeId, &'a RawValue)], extra: &mut Members<'a>) {
        let mut found: Vec<_> = found.iter().collect();
        found.sort_by_key(|(target, ..)| (target.column, target.rank));
        for group in found.chunk_by(|a, b| a.0.column == b.0.column) {
            let paths = &self.plan.tables[table].paths[group[0].0.column];
            let mut taken = None;
            for (target, node, value) in group {
                let fit = if taken.is_some() { Fit::Misfit } else { self.cell(*node, target, value, table) };
                match fit {
                    Fit::Held | Fit::NewMember => {
                        taken = Some(target.rank);
                        if target.rank > 0 {
                            extra.insert(&paths[target.rank], Extra::Raw(value.get()));
                        }
                    }
                    Fit::Null => {}
                    Fit::Misfit => {
                        if taken.is_none() {
                            self.misfit(*node, self.plan.nodes[*node].quiet);
                        }
                        extra.insert(&paths[target.rank], Extra::Raw(value.get()));
                    }
                }
            }
            if taken.is_some_and(|rank| rank > 0) && !extra.has(&paths[0]) {
                extra.insert(&paths[0], Extra::Null);
            }
        }
    }
}
