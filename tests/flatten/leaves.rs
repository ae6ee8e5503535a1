//! The normal form: what a record holds, path by path.
//!
//! Null, missing, `""` and the year 1 are the same; numbers count by value,
//! durations as float64 milliseconds, instants to the microsecond; of a
//! repeated member the last counts; empty lists and objects hold nothing;
//! annotations other than `@odata.type` are ignored.

use crate::json::Json;
use crate::values;
use callrec::schema::{Catalogue, Source, Type};
use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Leaf {
    Text(String),
    Bool(bool),
    /// Sign, digits, power of ten.
    Number(bool, String, i64),
    /// Bits of a float64 number at the path of one.
    Float(u64),
    /// Bits of float64 milliseconds.
    Milliseconds(u64),
    /// Microseconds since the epoch.
    Instant(i64),
}

pub(crate) type Leaves = BTreeMap<String, Leaf>;

/// Between the members and positions of a path; no test name holds it.
pub(crate) const BETWEEN: char = '\u{1}';

pub(crate) fn is_ignored(name: &str) -> bool {
    name.contains("@odata.") && name != "@odata.type"
}

/// The steps of a path of the catalogue.
pub(crate) fn steps(path: &str) -> Vec<String> {
    let path = path.replace("@odata.type", "@odata\u{2}type").replace("[]", ".[]").replace("{}", ".{}");
    path.split('.').filter(|step| !step.is_empty()).map(|step| step.replace('\u{2}', ".")).collect()
}

pub(crate) fn below(path: &str, step: &str) -> String {
    format!("{path}{BETWEEN}{step}")
}

pub(crate) fn path_below(path: &str, more: &[String]) -> String {
    more.iter().fold(path.to_owned(), |path, step| below(&path, step))
}

/// The types of the catalogue's paths, positions as `[]`.
static TYPES: LazyLock<HashMap<String, Type>> = LazyLock::new(|| {
    let mut types = HashMap::new();
    for table in &Catalogue::embedded().tables {
        for column in &table.columns {
            let Source::Value(paths) = &column.source else { continue };
            for (rows, path) in table.rows.iter().flat_map(|rows| paths.iter().map(move |path| (rows, path))) {
                let steps: Vec<_> = steps(&rows.path).into_iter().chain(steps(path)).collect();
                let before = types.insert(path_below("", &steps), column.data_type);
                assert!(before.is_none_or(|before| before == column.data_type), "{path} has one type");
            }
        }
    }
    types
});

/// What `json` holds, by path below it. `place` is its own path in the record,
/// with `[]` for positions.
pub(crate) fn leaves(json: &Json, place: &[String]) -> Leaves {
    let mut leaves = Leaves::new();
    walk(json, &mut String::new(), &mut path_below("", place), &mut leaves);
    leaves
}

fn walk(json: &Json, path: &mut String, pattern: &mut String, into: &mut Leaves) {
    let lengths = (path.len(), pattern.len());
    match json {
        Json::Object(members) => {
            for (name, value) in members.iter().filter(|(name, _)| !is_ignored(name)) {
                (*path, *pattern) = (below(path, name), below(pattern, name));
                walk(value, path, pattern, into);
                path.truncate(lengths.0);
                pattern.truncate(lengths.1);
            }
        }
        Json::List(elements) => {
            for (position, element) in elements.iter().enumerate() {
                (*path, *pattern) = (below(path, &format!("#{position}")), below(pattern, "[]"));
                walk(element, path, pattern, into);
                path.truncate(lengths.0);
                pattern.truncate(lengths.1);
            }
        }
        leaf => {
            if let Some(leaf) = normal(leaf, TYPES.get(pattern.as_str()).copied()) {
                into.insert(path.clone(), leaf);
            }
        }
    }
}

fn normal(json: &Json, data_type: Option<Type>) -> Option<Leaf> {
    Some(match json {
        Json::Text(text) if text.is_empty() || text == "0001-01-01T00:00:00Z" => return None,
        Json::Text(text) => {
            let text = || Leaf::Text(text.clone());
            match (data_type, json.text()) {
                (Some(Type::Timestamp), Some(plain)) => match values::instant(plain) {
                    Some(values::YEAR_ONE) => return None,
                    instant => instant.map_or_else(text, Leaf::Instant),
                },
                (Some(Type::DurationMs), Some(plain)) => {
                    values::duration_ms(plain).map_or_else(text, |ms| Leaf::Milliseconds(ms.to_bits()))
                }
                _ => text(),
            }
        }
        Json::Bool(value) => Leaf::Bool(*value),
        Json::Number(raw) => match values::float(raw).filter(|_| data_type == Some(Type::Float64)) {
            Some(value) => Leaf::Float(value.to_bits()),
            None => number(raw),
        },
        Json::Cell(leaf) => leaf.clone(),
        Json::Null | Json::List(_) | Json::Object(_) => return None,
    })
}

pub(crate) fn number(raw: &str) -> Leaf {
    let (negative, digits, power) = values::decimal(raw);
    Leaf::Number(negative, digits, power)
}

/// For the message of a failed comparison.
pub(crate) fn difference(left: &Leaves, right: &Leaves) -> Option<String> {
    let missing = left.iter().filter(|(path, leaf)| right.get(*path) != Some(leaf));
    let added = right.iter().filter(|(path, leaf)| left.get(*path) != Some(leaf));
    let lines: Vec<_> = missing
        .map(|(path, leaf)| format!("- {} = {leaf:?}", path.replace(BETWEEN, "/")))
        .chain(added.map(|(path, leaf)| format!("+ {} = {leaf:?}", path.replace(BETWEEN, "/"))))
        .collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

#[test]
fn equal_records_have_equal_leaves() {
    let one = r#"{"startDateTime":"2020-01-01T00:00:00.1234567Z","version":23.0,"x":null,"y":[],"type":"a","type":"b","a@odata.b":1,
        "sessions":[{"segments":[{"media":[{"streams":[{"averageJitter":"PT60S","maxPacketLossRate":1}]}]}]}]}"#;
    let other = r#"{"startDateTime":"2020-01-01T01:00:00.123456+01:00","version":23,"endDateTime":"0001-01-01T00:00:00.0Z","type":"b","joinWebUrl":"",
        "sessions":[{"segments":[{"media":[{"streams":[{"averageJitter":"PT1M","maxPacketLossRate":1.0e0}]}]}]}]}"#;
    let leaves_of = |text| leaves(&Json::parse(text), &[]);
    assert_eq!(leaves_of(one), leaves_of(other));
    assert_eq!(leaves_of(one).len(), 5);
    assert_ne!(leaves_of(r#"{"a":[1,2]}"#), leaves_of(r#"{"a":[2,1]}"#));
    assert_ne!(leaves_of(r#"{"a":"PT60S"}"#), leaves_of(r#"{"a":"PT1M"}"#));
    assert!(difference(&leaves_of(one), &leaves_of(other)).is_none());
}
