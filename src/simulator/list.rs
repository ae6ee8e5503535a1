//! The list of call records: filters on start and participant, pages of 60.

use super::store::{Store, Stored};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

pub(super) const PAGE: usize = 60;

/// One condition of a filter.
#[derive(Clone, Debug, PartialEq)]
enum Condition {
    Start(Comparison, DateTime<Utc>),
    Participant(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Less,
    AtMost,
    More,
    AtLeast,
}

/// Reads a filter; `None` if Graph would refuse it.
fn conditions(filter: &str) -> Option<Vec<Condition>> {
    filter.split(" and ").map(str::trim).filter(|part| !part.is_empty()).map(condition).collect()
}

fn condition(text: &str) -> Option<Condition> {
    if let Some(rest) = text.strip_prefix("participants_v2/any(p:p/id eq '") {
        return Some(Condition::Participant(rest.strip_suffix("')")?.to_owned()));
    }
    let mut words = text.split_whitespace();
    if words.next()? != "startDateTime" {
        return None;
    }
    let comparison = match words.next()? {
        "lt" => Comparison::Less,
        "le" => Comparison::AtMost,
        "gt" => Comparison::More,
        "ge" => Comparison::AtLeast,
        _ => return None,
    };
    Some(Condition::Start(comparison, words.next()?.parse().ok()?))
}

impl Condition {
    fn holds(&self, start: DateTime<Utc>, record: impl Fn() -> Option<Stored>) -> bool {
        match self {
            Self::Start(Comparison::Less, at) => start < *at,
            Self::Start(Comparison::AtMost, at) => start <= *at,
            Self::Start(Comparison::More, at) => start > *at,
            Self::Start(Comparison::AtLeast, at) => start >= *at,
            Self::Participant(id) => record()
                .and_then(|record| record.members.get("participants_v2").and_then(Value::as_array).cloned())
                .is_some_and(|list| list.iter().any(|p| p["id"] == id.as_str())),
        }
    }
}

/// A page of the list; `None` for a filter that Graph would refuse.
pub(super) fn page(
    store: &Store,
    now: DateTime<Utc>,
    filter: &str,
    skip: usize,
    size: usize,
) -> Option<(Vec<Value>, bool)> {
    let conditions = conditions(filter)?;
    let holds = |id: &&String| {
        let start = store.start(id, now);
        start.is_some_and(|start| conditions.iter().all(|c| c.holds(start, || store.get(id, now))))
    };
    let ids = store.ids();
    let mut asked = ids.iter().filter(holds).skip(skip);
    let page: Vec<Stored> = asked.by_ref().take(size).filter_map(|id| store.get(id, now)).collect();
    let more = asked.next().is_some();
    let rows = page.into_iter().map(|record| {
        let mut members = (*record.members).clone();
        members.retain(|name, _| !name.starts_with("sessions") && !name.starts_with("participants_v2"));
        members.insert("participants".to_owned(), json!([]));
        Value::Object(members)
    });
    Some((rows.collect(), more))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_those_of_the_documentation() {
        assert_eq!(
            conditions("startDateTime ge 2026-11-01T00:00:00Z and startDateTime lt 2026-11-02T00:00:00Z")
                .unwrap()
                .len(),
            2
        );
        assert!(conditions("participants_v2/any(p:p/id eq 'x')").is_some());
        assert!(conditions("endDateTime lt 2026-11-01T00:00:00Z").is_none());
        assert!(conditions("version gt 1").is_none());
    }
}
