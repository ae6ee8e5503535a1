//! Made-up call records: deterministic, with the oddities of real ones.
//!
//! A record depends on seed, index, instant and shape alone, and its bytes are
//! the same on every machine. People, companies, numbers and addresses are from
//! the ranges that are reserved for examples.

mod endpoint;
mod media;
mod people;
mod quirks;
mod text;

use chrono::{DateTime, TimeDelta, Utc};
use people::Person;
use quirks::Quirks;
use rand::Rng;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use text::{Json, instant};

/// What records look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Sessions of the largest meeting.
    pub max_sessions: usize,
    /// Whether about one record in 500 has values of the wrong type.
    pub misfits: bool,
}

impl Default for Shape {
    fn default() -> Self {
        Self { max_sessions: 300, misfits: true }
    }
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its id: a GUID in lower case.
    pub id: String,
    /// Its version.
    pub version: i64,
    /// When the call began.
    pub start: DateTime<Utc>,
    /// When the call ended.
    pub end: DateTime<Utc>,
    /// The whole record on one line.
    pub json: String,
}

/// What kind of call it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    PeerToPeer,
    /// A telephone call with server legs: several segments in a session.
    Pstn,
    /// A peer-to-peer call that became a meeting.
    Escalated,
    Meeting,
}

/// Makes the record `index` of `seed`, of the 25 days before `now`.
#[must_use]
pub fn record(seed: u64, index: u64, now: DateTime<Utc>, shape: Shape) -> Record {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(index);
    let id = people::guid(&mut rng);
    let version = rng.random_range(1..=4_i64);
    let length = TimeDelta::seconds(rng.random_range(5..=5400));
    let start = now - TimeDelta::microseconds(rng.random_range(6 * 3_600_000_000_i64..=25 * 86_400_000_000));
    let end = start + length;
    let kind = match rng.random_range(0..100_u32) {
        0..30 => Kind::PeerToPeer,
        30..40 => Kind::Pstn,
        40..44 => Kind::Escalated,
        _ => Kind::Meeting,
    };
    let sessions = sessions(&mut rng, kind, shape.max_sessions);
    let quirks = Quirks::draw(&mut rng, shape.misfits);
    let people: Vec<Person> = (0..people_count(kind, sessions)).map(|n| Person::draw(&mut rng, n)).collect();
    let mut call = Call { rng, id, version, start, end, kind, quirks, people, json: Json::default() };
    call.write(sessions);
    Record { id: call.id, version, start, end, json: call.json.finish() }
}

/// Most meetings are small, some are large, a few are as large as they may be.
fn sessions(rng: &mut ChaCha8Rng, kind: Kind, most: usize) -> usize {
    let wanted = match kind {
        Kind::PeerToPeer | Kind::Pstn => 1,
        Kind::Escalated => rng.random_range(3..=5),
        Kind::Meeting => match rng.random_range(0..1000_u32) {
            0..840 => rng.random_range(2..=6),
            840..980 => rng.random_range(7..=16),
            980..996 => rng.random_range(17..=90),
            996..999 => rng.random_range(91..=200),
            _ => most,
        },
    };
    wanted.min(most.max(1))
}

const fn people_count(kind: Kind, sessions: usize) -> usize {
    match kind {
        Kind::PeerToPeer | Kind::Pstn => 2,
        // Some rejoin and have two sessions.
        _ => sessions - sessions / 8,
    }
}

/// A record in the making.
struct Call {
    rng: ChaCha8Rng,
    id: String,
    version: i64,
    start: DateTime<Utc>,
    end: DateTime<Utc>,
    kind: Kind,
    quirks: Quirks,
    people: Vec<Person>,
    json: Json,
}

/// Where a session begins and ends, and between whom.
struct Leg {
    id: String,
    start: DateTime<Utc>,
    end: DateTime<Utc>,
    caller: Option<usize>,
    callee: Option<usize>,
}

impl Call {
    /// True in `percent` of cases.
    fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_range(0..100_u32) < percent
    }

    fn write(&mut self, sessions: usize) {
        let (start, end) = (self.start, self.end);
        let digits = self.rng.random_range(0..=7_usize);
        self.json.open_object();
        self.json.text("id", &self.id.clone());
        self.json.number("version", self.version);
        let group = matches!(self.kind, Kind::Meeting | Kind::Escalated);
        let unknown = self.quirks.unknown_enum_members;
        self.json.text(
            "type",
            if unknown {
                "broadcast"
            } else if group {
                "groupCall"
            } else {
                "peerToPeer"
            },
        );
        self.modalities(group);
        self.json.text("startDateTime", &instant(start, digits));
        self.json.text("endDateTime", &instant(end, digits));
        let lag = TimeDelta::minutes(self.rng.random_range(7..=140));
        self.json.text("lastModifiedDateTime", &instant(end + lag, 7));
        self.join_web_url(group);
        if self.quirks.deprecated || self.quirks.old {
            self.deprecated_sets();
        }
        self.json.text("organizer_v2@odata.context", "https://graph.microsoft.com/v1.0/$metadata#organizer");
        if self.quirks.old {
            self.json.null("organizer_v2");
        } else {
            self.participant("organizer_v2", 0);
            self.json.open_list_named("participants_v2");
            for number in 0..self.people.len() {
                self.participant("", number);
            }
            self.json.close_list();
        }
        if self.quirks.unknown_members {
            self.json.open_object_named("recordingInfo");
            self.json.text("state", "recorded");
            self.json.close_object();
        }
        self.json.open_list_named("sessions");
        for number in 0..sessions {
            self.session(number, group);
        }
        self.json.close_list();
        self.json.close_object();
    }

    fn modalities(&mut self, group: bool) {
        self.json.open_list_named("modalities");
        self.json.item("audio");
        if group && self.chance(60) {
            self.json.item("video");
        }
        if group && self.chance(30) {
            self.json.item("videoBasedScreenSharing");
        }
        self.json.close_list();
    }

    fn join_web_url(&mut self, group: bool) {
        if !group {
            match self.rng.random_range(0..3_u32) {
                0 => self.json.null("joinWebUrl"),
                1 => self.json.text("joinWebUrl", ""),
                _ => {}
            }
            return;
        }
        let thread = people::hex(&mut self.rng, 32);
        let organizer = self.people.first().map(|p| p.id.clone()).unwrap_or_default();
        let url = format!(
            "https://teams.microsoft.com/l/meetup-join/19%3ameeting_{thread}%40thread.v2/0?context=%7b%22Tid%22%3a%22{}%22%2c%22Oid%22%3a%22{organizer}%22%7d",
            people::TENANT
        );
        self.json.text("joinWebUrl", &url);
    }

    fn deprecated_sets(&mut self) {
        self.json.open_object_named("organizer");
        self.people[0].write_set(&mut self.json, false);
        self.json.close_object();
        self.json.open_list_named("participants");
        for number in 0..self.people.len().min(130) {
            self.json.open_object();
            self.people[number].write_set(&mut self.json, false);
            self.json.close_object();
        }
        self.json.close_list();
    }

    fn participant(&mut self, name: &str, number: usize) {
        if name.is_empty() {
            self.json.open_object();
        } else {
            self.json.open_object_named(name);
        }
        let nulls = self.chance(50);
        let person = &self.people[number];
        self.json.text("id", &person.id);
        self.json.open_object_named("identity");
        if nulls {
            self.json.null("endpointType");
        }
        person.write_set(&mut self.json, nulls);
        self.json.close_object();
        if number.is_multiple_of(9) {
            self.json.open_list_named("administrativeUnitInfos");
            self.json.open_object();
            self.json.text("id", people::ADMINISTRATIVE_UNIT);
            self.json.close_object();
            self.json.close_list();
        }
        self.json.close_object();
    }

    fn leg(&mut self, number: usize, group: bool) -> Leg {
        let is_ring = self.kind == Kind::Escalated && number == 0;
        let span = (self.end - self.start).num_seconds().max(1);
        let from = if group { self.rng.random_range(0..span) } else { 0 };
        let until = if is_ring {
            from
        } else if group {
            self.rng.random_range(from..=span)
        } else {
            span
        };
        let id = if !group || is_ring { self.id.clone() } else { people::guid(&mut self.rng) };
        let people = self.people.len();
        let caller = Some(number % people);
        let callee = if group && !is_ring { None } else { Some((number + 1) % people) };
        Leg {
            id,
            start: self.start + TimeDelta::seconds(from),
            end: self.start + TimeDelta::seconds(until),
            caller,
            callee,
        }
    }

    fn session(&mut self, number: usize, group: bool) {
        let leg = self.leg(number, group);
        let is_ring = leg.start == leg.end;
        self.json.open_object();
        self.json.text("id", &leg.id);
        self.modalities(group);
        self.json.text("startDateTime", &instant(leg.start, 7));
        self.json.text("endDateTime", &instant(leg.end, 6));
        if !self.quirks.old {
            let test = self.chance(1);
            self.json.boolean("isTest", test);
        }
        self.failure(is_ring);
        self.endpoint("caller", leg.caller);
        self.endpoint("callee", leg.callee);
        self.json.text("segments@odata.context", "https://graph.microsoft.com/v1.0/$metadata#segments");
        self.json.open_list_named("segments");
        let segments = match self.kind {
            Kind::Pstn => 1 + number % 2 + self.rng.random_range(1..=3_usize),
            _ if is_ring => 1,
            _ => 1 + usize::from(self.chance(5)),
        };
        let copies = self.chance(40);
        for segment in 0..segments {
            self.segment(&leg, segment, segments, copies, is_ring);
        }
        self.json.close_list();
        self.json.close_object();
    }

    fn segment(&mut self, leg: &Leg, number: usize, of: usize, copies: bool, is_ring: bool) {
        let span = (leg.end - leg.start) / i32::try_from(of).unwrap_or(1);
        let start = leg.start + span * i32::try_from(number).unwrap_or(0);
        self.json.open_object();
        self.json.text("id", &leg.id);
        self.json.text("startDateTime", &instant(start, 7));
        self.json.text("endDateTime", &instant(start + span, 7));
        if of > 1 || copies {
            let service_leg = self.kind == Kind::Pstn && number > 0;
            self.endpoint("caller", if service_leg { None } else { leg.caller });
            self.endpoint("callee", leg.callee);
        }
        if is_ring {
            self.json.open_list_named("media");
            self.json.close_list();
        } else {
            self.media_of_segment();
        }
        self.json.close_object();
    }

    fn failure(&mut self, is_ring: bool) {
        if !self.chance(3) && !is_ring {
            if self.chance(30) {
                self.json.null("failureInfo");
            }
            return;
        }
        self.json.open_object_named("failureInfo");
        self.json.text("stage", if is_ring { "callSetup" } else { "midcall" });
        self.json.text("reason", "The endpoint left without a word.");
        self.json.close_object();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn now() -> DateTime<Utc> {
        "2026-11-20T00:00:00Z".parse().unwrap()
    }

    #[test]
    fn a_record_depends_on_its_arguments_alone() {
        let shape = Shape::default();
        assert_eq!(record(1, 5, now(), shape), record(1, 5, now(), shape));
        assert_ne!(record(1, 5, now(), shape).json, record(1, 6, now(), shape).json);
        assert_ne!(record(1, 5, now(), shape).json, record(2, 5, now(), shape).json);
    }

    #[test]
    fn records_are_records_and_have_the_oddities() {
        let mut ids = HashSet::new();
        let mut all = String::new();
        let mut bytes = 0;
        for index in 0..600 {
            let record = record(3, index, now(), Shape::default());
            let head = crate::flatten::head(record.json.as_bytes()).unwrap();
            assert_eq!((&head.call_id, head.version), (&record.id, record.version));
            assert!(ids.insert(record.id));
            bytes += record.json.len();
            all.push_str(&record.json);
        }
        assert!((20_000..120_000).contains(&(bytes / 600)), "mean of {} bytes", bytes / 600);
        for oddity in [
            "recordingInfo",
            "broadcast",
            "teamsvisitor:",
            "azureCommunicationServicesUser",
            "\"phone\":{",
            "\"guest\":{",
            "applicationInstance",
            "traceRouteHops\":[{",
            "tokens",
            "\"failureInfo\":{",
            "\"participants\":[{",
            "\"organizer_v2\":null",
            "4294967295",
            "applicationsharing-video",
            "\"packetUtilization\":0",
            "\"media\":[]",
            "joinWebUrl\":\"\"",
            "serviceUserAgent",
            "\"isTest\":true",
            "administrativeUnitInfos",
            "PT0.016S",
        ] {
            assert!(all.contains(oddity), "{oddity}");
        }
    }

    #[test]
    fn the_largest_meeting_has_as_many_sessions_as_it_may() {
        let largest = (0..3000)
            .map(|index| record(1, index, now(), Shape { max_sessions: 80, misfits: false }))
            .map(|r| r.json.matches("segments@odata.context").count())
            .max();
        assert_eq!(largest, Some(80));
    }
}
