//! The records that the simulator has, by id.
//!
//! A record in a file may have the member `@callrec.simulator`, which is not
//! served: `{"status": 403}` refuses it, `{"fault": "reset"}` strikes it with that
//! fault, with `"times": 2` only so often at each of its URLs,
//! `{"available_at": "…"}` says from when on it is there, `{"raw_id": "…"}` under
//! which id it is served, and `{"start": "…"}` when it began if the record itself
//! does not tell.

use super::faults::Strike;
use super::generator;
use super::settings::Settings;
use super::subscriptions::Event;
use crate::clock::Clock;
use crate::error::{Class, Error, Result};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

const HINTS: &str = "@callrec.simulator";
const RETENTION: TimeDelta = TimeDelta::days(30);
/// After this a record gets a later version.
const LATER: TimeDelta = TimeDelta::hours(60);

/// One record.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) members: Arc<Map<String, Value>>,
    pub(super) version: i64,
    pub(super) start: DateTime<Utc>,
    pub(super) end: DateTime<Utc>,
    available_at: DateTime<Utc>,
    pub(super) status: Option<u16>,
    pub(super) strike: Option<Strike>,
}

impl Stored {
    fn new(mut members: Map<String, Value>) -> Option<(String, Self)> {
        let hints = members.remove(HINTS).unwrap_or_default();
        let instant = |value: Option<&Value>| value?.as_str()?.parse::<DateTime<Utc>>().ok();
        let start = instant(hints.get("start").or_else(|| members.get("startDateTime")))?;
        let end = instant(members.get("endDateTime")).unwrap_or(start);
        let id = hints.get("raw_id").or_else(|| members.get("id"))?.as_str()?.to_ascii_lowercase();
        let stored = Self {
            version: members.get("version").and_then(Value::as_i64).unwrap_or(1),
            available_at: instant(hints.get("available_at")).unwrap_or(end),
            status: hints.get("status").and_then(Value::as_u64).and_then(|s| u16::try_from(s).ok()),
            strike: strike(&hints),
            members: Arc::new(members),
            start,
            end,
        };
        Some((id, stored))
    }

    /// Whether Graph has it: generated, and not forgotten.
    pub(super) fn is_there(&self, now: DateTime<Utc>) -> bool {
        now >= self.available_at && now <= self.end + RETENTION
    }
}

fn strike(hints: &Value) -> Option<Strike> {
    let times = hints.get("times").and_then(Value::as_u64).and_then(|times| u32::try_from(times).ok());
    hints.get("fault").and_then(Value::as_str).and_then(|name| Strike::named(name, times))
}

/// What is known of a generated record before it is made.
#[derive(Clone, Copy, Debug)]
struct Brief {
    index: u64,
    version: i64,
    start: DateTime<Utc>,
    end: DateTime<Utc>,
}

impl Brief {
    /// When it gets a later version, if it does.
    fn later_version(&self, settings: &Settings) -> Option<DateTime<Utc>> {
        (self.index * 37 % 100 < settings.later_percent).then(|| self.end + LATER)
    }
}

/// All records.
#[derive(Debug, Default)]
pub(super) struct Store {
    records: BTreeMap<String, Stored>,
    generated: Option<(Settings, DateTime<Utc>, BTreeMap<String, Brief>)>,
}

impl Store {
    pub(super) fn open(settings: &Settings, clock: Clock) -> Result<Self> {
        let mut store = Self::default();
        if let Some(directory) = &settings.records {
            for path in crate::files::list(directory)? {
                for value in read(&path)? {
                    store.add(value)?;
                }
            }
            if store.records.is_empty() {
                return Err(Error::config(format!("{} holds no call record", directory.display()))
                    .hint("name a directory of .json or .ndjson files in [simulator] records"));
            }
        }
        if let Some(count) = settings.generate {
            let now = clock.now();
            let brief = |index| {
                let record = generated(settings, index, now);
                (record.id, Brief { index, version: record.version, start: record.start, end: record.end })
            };
            store.generated = Some((settings.clone(), now, (0..count).map(brief).collect()));
        }
        Ok(store)
    }

    /// Adds a record; a lower version than the present one is not served.
    ///
    /// # Errors
    /// By class usage when it names an unknown fault.
    pub(super) fn add(&mut self, value: Value) -> Result<()> {
        let Value::Object(members) = value else { return Ok(()) };
        let hints = members.get(HINTS).unwrap_or(&Value::Null);
        if hints.get("fault").is_some() && strike(hints).is_none() {
            let names: Vec<&str> = super::faults::fault_names().map(|(name, _)| name).collect();
            return Err(Error::usage(format!("A record names an unknown fault in {HINTS}"))
                .hint(format!("known faults are {}", names.join(", "))));
        }
        let Some((id, stored)) = Stored::new(members) else { return Ok(()) };
        match self.records.get(&id) {
            Some(present) if present.version > stored.version => {}
            _ => {
                self.records.insert(id, stored);
            }
        }
        Ok(())
    }

    /// The record as it is at `now`.
    pub(super) fn get(&self, id: &str, now: DateTime<Utc>) -> Option<Stored> {
        let id = id.to_ascii_lowercase();
        if let Some(stored) = self.records.get(&id) {
            return Some(stored.clone());
        }
        let (settings, begun, ids) = self.generated.as_ref()?;
        let brief = ids.get(&id)?;
        let record = generated(settings, brief.index, *begun);
        let mut stored = match serde_json::from_str(&record.json) {
            Ok(Value::Object(members)) => Stored::new(members).map(|(_, stored)| stored)?,
            _ => return None,
        };
        if let Some(at) = brief.later_version(settings).filter(|at| *at <= now) {
            stored.version += 1;
            let members = Arc::make_mut(&mut stored.members);
            members.insert("version".to_owned(), stored.version.into());
            members.insert(
                "lastModifiedDateTime".to_owned(),
                at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true).into(),
            );
        }
        Some(stored)
    }

    /// When the record began, if it is there at `now`.
    pub(super) fn start(&self, id: &str, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        if let Some(stored) = self.records.get(id) {
            return Some(stored.start).filter(|_| stored.is_there(now));
        }
        let brief = self.generated.as_ref().and_then(|(_, _, ids)| ids.get(id))?;
        Some(brief.start).filter(|_| now >= brief.end && now <= brief.end + RETENTION)
    }

    /// What is to be announced of the generated records: each version that appears
    /// after `from` and until `to`.
    pub(super) fn events(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> Vec<Event> {
        let Some((settings, _, ids)) = &self.generated else { return Vec::new() };
        let mut events = Vec::new();
        for (id, brief) in ids {
            let versions = [(Some(brief.end), brief.version), (brief.later_version(settings), brief.version + 1)];
            for (at, version) in versions {
                if let Some(at) = at.filter(|at| *at > from && *at <= to) {
                    events.push((at, Event { id: id.clone(), version }));
                }
            }
        }
        events.sort_by(|a, b| (a.0, &a.1.id).cmp(&(b.0, &b.1.id)));
        events.into_iter().map(|(_, event)| event).collect()
    }

    pub(super) fn ids(&self) -> Vec<String> {
        let generated = self.generated.iter().flat_map(|(_, _, ids)| ids.keys());
        let mut ids: Vec<String> = self.records.keys().chain(generated).cloned().collect();
        ids.sort();
        ids.dedup();
        ids
    }
}

fn generated(settings: &Settings, index: u64, now: DateTime<Utc>) -> generator::Record {
    let shape = generator::Shape { max_sessions: settings.max_sessions, misfits: settings.misfits };
    generator::record(settings.seed, index, now, shape)
}

fn read(path: &Path) -> Result<Vec<Value>> {
    let lines = match path.extension().and_then(|e| e.to_str()) {
        Some("json") => false,
        Some("ndjson" | "jsonl") => true,
        _ => return Ok(Vec::new()),
    };
    let text = std::fs::read_to_string(path).map_err(|e| Error::io("read", path, e))?;
    let damaged = |e| Error::config(format!("{} is not JSON", path.display())).because(e);
    let mut values = Vec::new();
    if lines {
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            values.push(serde_json::from_str(line).map_err(damaged)?);
        }
    } else {
        match serde_json::from_str(&text).map_err(damaged)? {
            Value::Array(list) => values.extend(list),
            one => values.push(one),
        }
    }
    Ok(values)
}

/// Writes generated records as NDJSON: `settings.generate` of them.
///
/// # Errors
/// Any failure of the file system, by class I/O.
pub fn write_records(settings: &Settings, path: &Path, clock: Clock) -> Result<u64> {
    let now = settings.now.unwrap_or_else(|| clock.now());
    let count = settings.generate.unwrap_or(0);
    let file = crate::files::create_file(path, crate::files::PRIVATE)?;
    let mut writer = std::io::BufWriter::with_capacity(1 << 20, file);
    for index in 0..count {
        let record = generated(settings, index, now);
        writer
            .write_all(record.json.as_bytes())
            .and_then(|()| writer.write_all(b"\n"))
            .map_err(|e| Error::io("write", path, e))?;
    }
    writer.flush().map_err(|e| Error::new(Class::Io, format!("Cannot write {}", path.display())).because(e))?;
    Ok(count)
}
