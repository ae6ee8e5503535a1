//! Identities in careful mode: several sources, one set of columns, and what the
//! columns do not hold.

use super::drift::Drift;
use super::extra::{Extra, Members};
use super::identity_plan::IdentityPlan;
use super::plan::{IdentityPlace, Plan};
use super::raw::{self, Entry};
use super::rows::{Buffers, Fit};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// What the sources of the identities of one row hold.
#[derive(Debug, Default)]
pub(crate) struct Found<'a> {
    /// The known members of plain identity objects.
    pub(crate) objects: Vec<(IdentityPlace, Vec<Entry<'a>>)>,
    pub(crate) sets: Vec<(IdentityPlace, FoundSet<'a>)>,
}

/// The identities of a set, by kind.
#[derive(Debug, Default)]
pub(crate) struct FoundSet<'a> {
    pub(crate) kinds: Vec<Entry<'a>>,
    pub(crate) quiet: bool,
    pub(crate) path: String,
}

/// The kind that an `@odata.type` of an identity names:
/// `#microsoft.graph.communicationsGuestIdentity` is a `guest`.
pub(crate) fn kind_of_type(name: &str) -> Option<String> {
    let (_, name) = name.trim_start_matches('#').rsplit_once('.').unwrap_or(("", name));
    let name = name.strip_suffix("Identity")?;
    let name = name.strip_prefix("communications").unwrap_or(name);
    let mut characters = name.chars();
    let first = characters.next()?;
    Some(first.to_lowercase().chain(characters).collect())
}

fn value<'a>(entries: &[Entry<'a>], member: &str) -> Option<&'a RawValue> {
    let entry = entries.iter().find(|entry| entry.name.as_deref() == Some(member))?;
    (!raw::is_vacant(entry.value)).then_some(entry.value)
}

fn text_of<'a>(entries: &[Entry<'a>], member: &str) -> Option<Cow<'a, str>> {
    value(entries, member).and_then(raw::text)
}

/// One source, with what it has for the kind that was chosen.
struct Supply<'f, 'a> {
    object: Option<&'f Vec<Entry<'a>>>,
    set: Option<&'f FoundSet<'a>>,
    /// The members of the set's object of the kind.
    of_kind: Vec<Entry<'a>>,
    outer: Option<String>,
}

impl<'a> Supply<'_, 'a> {
    fn value(&self, member: &str) -> Option<&'a RawValue> {
        self.object.and_then(|object| value(object, member)).or_else(|| value(&self.of_kind, member))
    }
}

/// Where a column's value came from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// The member of that name of a source's identity.
    Member(usize),
    /// The id beside the set of a source.
    Outer(usize),
}

impl Origin {
    const fn source(self) -> usize {
        match self {
            Self::Member(source) | Self::Outer(source) => source,
        }
    }
}

/// Fills the columns of one identity of the current row, and adds to `extra`
/// what they do not hold.
pub(crate) fn resolve<'a>(
    plan: &Plan,
    (table, at): (usize, usize),
    found: &Found<'a>,
    buffers: &mut Buffers,
    extra: &mut Members<'a>,
    drift: &mut Drift,
) {
    let identity = &plan.tables[table].identities[at];
    let number = buffers.tables[table].numbers.last().map(|&number| usize::from(number));
    let mut supplies: Vec<Supply> = Vec::new();
    for (source, description) in identity.sources.iter().enumerate() {
        let applies = description.rows.is_none_or(|rows| Some(rows) == number);
        let place = IdentityPlace { identity: at, source };
        supplies.push(Supply {
            object: found.objects.iter().find(|(of, _)| *of == place).map(|(_, object)| object),
            set: found.sets.iter().find(|(of, _)| *of == place).map(|(_, set)| set),
            of_kind: Vec::new(),
            outer: description
                .outer
                .filter(|_| applies)
                .and_then(|column| buffers.text(table, column))
                .map(str::to_owned),
        });
    }
    let kind = kind(&supplies);
    for supply in &mut supplies {
        let of_kind =
            supply.set.and_then(|set| set.kinds.iter().find(|entry| entry.name.as_deref() == kind.as_deref()));
        supply.of_kind = of_kind.map(|entry| raw::entries(entry.value)).unwrap_or_default();
    }
    let origins: Vec<Option<Origin>> = identity
        .fields
        .iter()
        .map(|field| {
            supplies.iter().enumerate().find_map(|(source, supply)| {
                let fit = supply.value(&field.member).and_then(|value| {
                    raw::with_scalar(value, |scalar| buffers.put(plan, table, &field.target, scalar))
                });
                if matches!(fit, Some(Fit::Held | Fit::NewMember)) {
                    return Some(Origin::Member(source));
                }
                let outer = supply.outer.as_ref().filter(|_| field.member == "id")?;
                buffers.put_text(table, field.target.column, outer);
                Some(Origin::Outer(source))
            })
        })
        .collect();
    if let (Some(column), Some(kind)) = (identity.kind, &kind) {
        buffers.put_text(table, column, kind);
    }
    let id = identity.fields.iter().position(|field| field.member == "id").and_then(|at| origins[at]);
    let home = id.map(Origin::source).or_else(|| origins.iter().flatten().map(|origin| origin.source()).min());
    if let (Some(column), Some(named)) = (identity.source, home.or_else(|| identity.bound_to(number))) {
        buffers.put_text(table, column, &identity.sources[named].name);
    }
    keep(identity, &supplies, (kind.as_deref(), home), &origins, extra, drift);
}

fn kind(supplies: &[Supply]) -> Option<String> {
    let objects = || supplies.iter().filter_map(|supply| supply.object);
    let kinds = || supplies.iter().filter_map(|supply| supply.set).map(|set| &set.kinds);
    let owned = |entry: &Entry| entry.name.as_deref().map(str::to_owned);
    if let Some(id) = objects().find_map(|object| text_of(object, "id")) {
        let same = |entry: &&Entry| text_of(&raw::entries(entry.value), "id").is_some_and(|other| other == id);
        if let Some(entry) = kinds().find_map(|kinds| kinds.iter().find(same)) {
            return owned(entry);
        }
    }
    if let Some(entry) = kinds().find_map(|kinds| kinds.first()) {
        return owned(entry);
    }
    let by_type = objects().find_map(|object| kind_of_type(&text_of(object, "@odata.type")?));
    by_type.or_else(|| objects().find_map(|object| text_of(object, "userPrincipalName")).map(|_| "user".to_owned()))
}

/// Adds to `extra` all leaves that the columns do not stand for.
fn keep<'a>(
    identity: &IdentityPlan,
    supplies: &[Supply<'_, 'a>],
    (kind, home): (Option<&str>, Option<usize>),
    origins: &[Option<Origin>],
    extra: &mut Members<'a>,
    drift: &mut Drift,
) {
    let is_held = |member: &str, source: usize| {
        let field = identity.fields.iter().position(|field| field.member == member);
        field.is_some_and(|field| origins[field] == Some(Origin::Member(source)))
    };
    for (source, supply) in supplies.iter().enumerate() {
        let description = &identity.sources[source];
        let is_home = home == Some(source);
        if let (Some(object), Some(path)) = (supply.object, &description.object) {
            for entry in object.iter().filter(|entry| !raw::is_vacant(entry.value)) {
                let Some(name) = entry.name.as_deref() else { continue };
                if !(is_home && is_held(name, source)) {
                    extra.insert(&below(path, &[name]), Extra::Raw(entry.value.get()));
                    if !is_held(name, source) && home.is_none_or(|home| home == source) {
                        drift.misfit(below(path, &[name]).join("."));
                    }
                }
            }
        }
        let (Some(set), Some(path)) = (supply.set, &description.set) else { continue };
        for entry in set.kinds.iter().filter(|entry| !raw::is_vacant(entry.value)) {
            let Some(name) = entry.name.as_deref() else { continue };
            if !is_home || Some(name) != kind {
                extra.insert(&below(path, &[name]), Extra::Raw(entry.value.get()));
                continue;
            }
            for member in &supply.of_kind {
                let Some(known) = member.name.as_deref() else {
                    extra.object_at(&below(path, &[name])).add(member.quoted(), Extra::Raw(member.value.get()));
                    continue;
                };
                if raw::is_vacant(member.value) || super::seed::is_ignored(known) || is_held(known, source) {
                    continue;
                }
                extra.insert(&below(path, &[name, known]), Extra::Raw(member.value.get()));
                if identity.fields.iter().any(|field| field.member == known) {
                    drift.misfit(format!("{}.{name}.{known}", set.path));
                } else if !set.quiet && known != "@odata.type" {
                    drift.unknown_member(format!("{}.{name}.{known}", set.path));
                }
            }
        }
    }
    let Some(home) = home else { return };
    let description = &identity.sources[home];
    let path = match (&description.object, &description.set, kind) {
        (Some(path), _, _) => path.clone(),
        (None, Some(path), Some(kind)) => below(path, &[kind]),
        _ => return,
    };
    for (field, origin) in std::iter::zip(&identity.fields, origins) {
        let path = below(&path, &[field.member.as_str()]);
        if origin.is_some_and(|origin| origin != Origin::Member(home)) && !extra.has(&path) {
            extra.insert(&path, Extra::Null);
        }
    }
}

fn below(path: &[String], names: &[&str]) -> Vec<String> {
    path.iter().cloned().chain(names.iter().map(|&name| name.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_names_the_kind() {
        let cases = [
            ("#microsoft.graph.userIdentity", Some("user")),
            ("#microsoft.graph.callRecords.userIdentity", Some("user")),
            ("#microsoft.graph.communicationsGuestIdentity", Some("guest")),
            ("#microsoft.graph.communicationsApplicationInstanceIdentity", Some("applicationInstance")),
            ("#microsoft.graph.azureCommunicationServicesUserIdentity", Some("azureCommunicationServicesUser")),
            ("#microsoft.graph.identity", None),
            ("#microsoft.graph.Identity", None),
            ("", None),
        ];
        for (name, kind) in cases {
            assert_eq!(kind_of_type(name).as_deref(), kind, "{name}");
        }
    }
}
