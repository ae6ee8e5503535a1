//! Records, their lists in pages, and the list of records.

use super::answer;
use super::faults::{Fault, Strike};
use super::hostile;
use super::list;
use super::server::{ROOT, Shared, lock};
use super::store::Stored;
use axum::body::Body;
use axum::http::{HeaderMap, Response};
use reqwest::Url;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::atomic::Ordering;

const SESSIONS: usize = 60;
const PARTICIPANTS: usize = 130;

/// A request for a record or one of its lists.
pub(super) struct Asked<'a> {
    pub(super) id: &'a str,
    pub(super) query: &'a HashMap<String, String>,
    pub(super) headers: &'a HeaderMap,
    /// What strikes the record, and whether it strikes this attempt.
    pub(super) strike: Option<Strike>,
    pub(super) is_struck: bool,
    pub(super) url: &'a str,
}

impl Asked<'_> {
    fn skip(&self) -> usize {
        self.query.get("$skiptoken").and_then(|s| s.parse().ok()).unwrap_or(0)
    }

    /// Elements of a page of a list that has so many. What goes wrong between two
    /// pages needs two of them.
    fn size(&self, most: usize, all: usize) -> usize {
        if self.strike.is_some_and(|strike| strike.is_of_lists()) {
            return most.min(all / 2);
        }
        let preferences = self.headers.get_all("prefer").iter().filter_map(|v| v.to_str().ok());
        preferences
            .flat_map(|p| p.split(','))
            .filter_map(|p| p.trim().strip_prefix("odata.maxpagesize=")?.parse().ok())
            .find(|size| (1..=most).contains(size))
            .unwrap_or(most)
    }

    /// The fault of this answer.
    fn fault(&self) -> Option<Fault> {
        self.strike.filter(|_| self.is_struck).map(|strike| strike.fault)
    }

    /// The fault that no page of the list is spared.
    fn lasting(&self) -> Option<Fault> {
        self.strike.filter(|strike| strike.times.is_none()).map(|strike| strike.fault)
    }

    fn number(&self, name: &str) -> Option<usize> {
        self.query.get(name)?.parse().ok()
    }
}

impl Shared {
    fn stored(&self, asked: &Asked<'_>) -> Result<Stored, Refusal> {
        let now = self.now();
        let stored = lock(&self.store).get(asked.id, now);
        let stored = stored.filter(|stored| stored.is_there(now));
        let stored = stored.ok_or_else(|| Box::new(answer::error(404, "NotFound", asked.headers)))?;
        match stored.status {
            Some(status) => Err(boxed(status, "Refused", asked.headers)),
            None => Ok(stored),
        }
    }

    pub(super) fn record(&self, asked: &Asked<'_>) -> Result<Value, Refusal> {
        let stored = self.stored(asked)?;
        let mut members = (*stored.members).clone();
        let sessions = members.shift_remove("sessions");
        let participants = members.shift_remove("participants_v2");
        let context = format!("{}/v1.0/$metadata#communications/callRecords/$entity", self.base);
        members.shift_insert(0, "@odata.context".to_owned(), json!(context));
        let fault = asked.fault();
        match fault {
            Some(Fault::WrongId) => drop(members.insert("id".to_owned(), json!(uuid::Uuid::nil()))),
            Some(Fault::NoVersion) => drop(members.shift_remove("version")),
            Some(Fault::NoStart) => drop(members.insert("startDateTime".to_owned(), json!("no instant"))),
            _ => {}
        }
        if let Some(names) = asked.query.get("$select") {
            self.counters.selects.fetch_add(1, Ordering::Relaxed);
            if fault == Some(Fault::LaterVersion) {
                members.insert("version".to_owned(), json!(stored.version + 1));
            }
            answer::select(&mut members, names);
            return Ok(Value::Object(members));
        }
        self.counters.records.fetch_add(1, Ordering::Relaxed);
        let (name, list, size) = match asked.query.get("$expand").map(String::as_str) {
            None => return Ok(Value::Object(members)),
            Some("sessions($expand=segments)") => ("sessions", sessions, SESSIONS),
            Some("sessions") => ("sessions", sessions.map(without_segments), SESSIONS),
            Some("participants_v2") => ("participants_v2", participants, PARTICIPANTS),
            Some(_) => return Err(boxed(400, "BadRequest", asked.headers)),
        };
        if fault == Some(Fault::OtherVersion) && name == "sessions" {
            members.insert("version".to_owned(), json!(stored.version - 1));
        }
        let Some(Value::Array(list)) = list else {
            if let Some(other) = list {
                members.insert(name.to_owned(), other);
            }
            return Ok(Value::Object(members));
        };
        let size = asked.size(size, list.len());
        if list.len() > size {
            let link = self.link(asked, name, size, fault);
            members.insert(format!("{name}@odata.nextLink"), json!(link));
        }
        members.insert(format!("{name}@odata.context"), json!(format!("{}/v1.0/$metadata#{name}", self.base)));
        members.insert(name.to_owned(), list.into_iter().take(size).collect());
        Ok(Value::Object(members))
    }

    fn link(&self, asked: &Asked<'_>, name: &str, skip: usize, fault: Option<Fault>) -> String {
        let expand = if name == "sessions" { "$expand=segments&" } else { "" };
        let path = format!("{ROOT}/{}/{name}", asked.id);
        let on = |query: &str, skip: usize| format!("{}{path}?{expand}{query}$skiptoken={skip}", self.base);
        match fault {
            Some(Fault::BrokenLink) => {
                format!("{}/v1.0/$metadata#communications/callRecords('{}')/{name}?$skiptoken=abc", self.base, asked.id)
            }
            Some(Fault::Loop) => format!("{}{}", self.base, asked.url),
            Some(Fault::Cycle) => {
                let back = if asked.url.contains("$expand=sessions(") || asked.url.contains("$expand=participants") {
                    "back=record&"
                } else {
                    "back=list&"
                };
                on(back, skip)
            }
            Some(Fault::Link(to)) => self.elsewhere(to, &format!("{path}?{expand}$skiptoken={skip}")),
            Some(Fault::Overlap) => on("", skip.saturating_sub(1)),
            Some(Fault::EmptyPage) => on("empty=0&", skip),
            Some(Fault::EmptyPages) => on("empty=1&", skip),
            Some(Fault::Endless) => on("endless=1&", skip),
            _ => on("", skip),
        }
    }

    pub(super) fn sub_collection(&self, asked: &Asked<'_>, name: &str) -> Result<Value, Refusal> {
        self.counters.pages.fetch_add(1, Ordering::Relaxed);
        let stored = self.stored(asked)?;
        let size = if name == "sessions" { SESSIONS } else { PARTICIPANTS };
        let mut page = json!({"@odata.context": format!("{}/v1.0/$metadata#communications/callRecords('{}')/{name}", self.base, asked.id)});
        let list = stored.members.get(name).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let with_segments = name != "sessions" || asked.query.contains_key("$expand");
        let served = |elements: &[Value]| {
            let elements = Value::Array(elements.to_vec());
            if with_segments { elements } else { without_segments(elements) }
        };
        let (skip, size) = (asked.skip(), asked.size(size, list.len()).max(1));
        let is_first = !asked.query.contains_key("$skiptoken");
        match asked.lasting() {
            Some(Fault::PageBomb) => return Err(Box::new(hostile::bomb(200))),
            Some(Fault::DeepPage) => return Err(Box::new(hostile::json_text(hostile::deep()))),
            Some(Fault::NoList) => return Ok(page),
            _ => {}
        }
        let onward =
            |more: &str| self.link(asked, name, skip, None).replace("$skiptoken", &format!("{more}$skiptoken"));
        if let Some(number) = asked.number("empty") {
            let more = if number == 0 { String::new() } else { format!("empty={}&", number + 1) };
            page["value"] = json!([]);
            page["@odata.nextLink"] = json!(onward(&more));
            return Ok(page);
        }
        if let Some(number) = asked.number("endless") {
            let one = number % list.len().max(1);
            page["value"] = served(list.get(one..=one).unwrap_or_default());
            page["@odata.nextLink"] = json!(onward(&format!("endless={}&", number + 1)));
            return Ok(page);
        }
        let fault = asked.lasting().filter(|_| is_first);
        if let Some(back) = asked.query.get("back") {
            let query = match (back.as_str(), name) {
                ("record", "sessions") => "?$expand=sessions($expand=segments)",
                ("record", _) => "?$expand=participants_v2",
                (_, "sessions") => "/sessions?$expand=segments",
                _ => "/participants_v2",
            };
            page["@odata.nextLink"] = json!(format!("{}{ROOT}/{}{query}", self.base, asked.id));
        } else if list.len() > skip + size || fault.is_some_and(|_| !list.is_empty()) {
            page["@odata.nextLink"] = json!(self.link(asked, name, skip + size, fault));
        }
        page["value"] = served(list.get(skip..list.len().min(skip + size)).unwrap_or_default());
        Ok(page)
    }

    pub(super) fn list(&self, query: &HashMap<String, String>, headers: &HeaderMap) -> Result<Value, Refusal> {
        self.counters.lists.fetch_add(1, Ordering::Relaxed);
        let filter = query.get("$filter").map(String::as_str).unwrap_or_default();
        let skip = query.get("$skiptoken").and_then(|s| s.parse().ok()).unwrap_or(0);
        let page = list::page(&lock(&self.store), self.now(), filter, skip, list::PAGE);
        let Some((mut rows, more)) = page else { return Err(boxed(400, "BadRequest", headers)) };
        if let Some(names) = query.get("$select") {
            rows.iter_mut().filter_map(Value::as_object_mut).for_each(|row| answer::select(row, names));
        }
        let mut body = json!({"@odata.context": format!("{}/v1.0/$metadata#communications/callRecords", self.base), "value": rows});
        if more {
            let mut link = Url::parse(&format!("{}{ROOT}", self.base)).map_err(|_| boxed(500, "Link", headers))?;
            link.query_pairs_mut()
                .append_pair("$filter", filter)
                .append_pair("$skiptoken", &(skip + list::PAGE).to_string());
            body["@odata.nextLink"] = json!(link.as_str());
        }
        Ok(body)
    }
}

/// An answer that is not the record.
pub(super) type Refusal = Box<Response<Body>>;

pub(super) fn boxed(status: u16, code: &str, headers: &HeaderMap) -> Refusal {
    Box::new(answer::error(status, code, headers))
}

fn without_segments(mut sessions: Value) -> Value {
    for session in sessions.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        session.retain(|name, _| !name.starts_with("segments"));
    }
    sessions
}
