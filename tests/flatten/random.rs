//! Random records, as JSON text, from the catalogue: every path of every table,
//! and what goes wrong around it. `Records::new(seed)` gives the same always.

use crate::leaves::steps;
use callrec::schema::{Catalogue, Source, Type};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::LazyLock;

/// What the catalogue knows below one path.
#[derive(Default)]
struct Known {
    members: BTreeMap<String, Known>,
    data_type: Option<Type>,
    members_of_enum: Vec<String>,
}

static ROOT: LazyLock<Known> = LazyLock::new(|| {
    let catalogue = Catalogue::embedded();
    let mut root = Known::default();
    for table in &catalogue.tables {
        for column in &table.columns {
            let Source::Value(paths) = &column.source else { continue };
            for (rows, path) in table.rows.iter().flat_map(|rows| paths.iter().map(move |path| (rows, path))) {
                let mut known = &mut root;
                let relative = if rows.path.ends_with("{}") { Vec::new() } else { steps(path) };
                if path == "key" {
                    continue;
                }
                for step in steps(&rows.path).into_iter().chain(relative) {
                    known = known.members.entry(step).or_default();
                }
                known.data_type = Some(column.data_type);
                known.members_of_enum =
                    column.enumeration.as_ref().map(|name| catalogue.enums[name].clone()).unwrap_or_default();
            }
        }
    }
    root
});

pub(crate) struct Records {
    random: ChaCha8Rng,
    number: u32,
    /// Share of members that are there.
    density: f64,
    /// Share of surprises.
    wildness: f64,
    /// Without deprecated twins and second kinds: what the fast path can take.
    modern: bool,
    out: String,
}

const UNKNOWN: [&str; 9] =
    ["zz", "newMember", "Ünï", "a/b", "q\\\"d", "", "@odata.type", "@microsoft.graph.tips", "\\ud800"];
const ANNOTATIONS: [&str; 3] = ["@odata.etag", "sessions@odata.context", "endDateTime@odata.type"];
const TEXTS: [&str; 22] = [
    "",
    "x",
    "u1",
    "u2",
    "ü😀",
    "quote\\\" back\\\\ slash\\/",
    "\\u0000\\u001f\\n",
    "\\ud83d\\ude00",
    "0001-01-01T00:00:00Z",
    "null",
    "#microsoft.graph.callRecords.participantEndpoint",
    "#microsoft.graph.callRecords.serviceEndpoint",
    "#microsoft.graph.callRecords.endpoint",
    "#microsoft.graph.userIdentity",
    "#microsoft.graph.communicationsGuestIdentity",
    "main-audio",
    "main-video",
    "applicationsharing-video",
    "DATA",
    "PT1S",
    "2020-01-01T00:00:00Z",
    " ",
];
const IDS: [&str; 5] = ["u1", "u2", "u3", "U1", ""];
const LABELS: [&str; 8] =
    ["main-audio", "main-video", "applicationsharing-video", "data", "Main-AUDIO", "x", "", "data2"];
const LINKS: [&str; 5] = [
    "https://teams.microsoft.com/l/meetup-join/19%3ameeting_NmE%40thread.v2/0?context=%7b%22Tid%22%3a%22t-1%22%2c%22Oid%22%3a%22o-1%22%7d",
    "https://teams.microsoft.com/l/meetup-join/19:a@thread.v2/0?x=1&context=%7b%22Oid%22%3anull%7d#y",
    "https://teams.microsoft.com/meet/123?p=x",
    "x?context=%7b",
    "/meetup-join//0?context=%ff",
];
const TOKENS: [&str; 5] = ["NoSound", "Echo", "Ünï", "a/b", ""];
const WILD: [&str; 24] = [
    "null",
    "true",
    "false",
    "0",
    "-0.0",
    "1e400",
    "9007199254740993",
    "23.0",
    "1e2",
    "1.5",
    "99999999999999999999",
    "{}",
    "[]",
    "[null]",
    "{\"a\":{\"b\":[1,\"\"]}}",
    "[{}]",
    "[1]",
    "[\"x\", 1]",
    "\"lone \\ud800\"",
    "\"\"",
    "\"soon\"",
    "{\"id\":\"u1\"}",
    "{\"@odata.etag\":1}",
    "[\"a\",null,\"\"]",
];
const INTEGERS: [&str; 12] =
    ["0", "1", "500", "501", "-7", "23.0", "1e2", "4294967295", "2147483647", "9007199254740993", "-0.0", "12e-1"];
const FLOATS: [&str; 17] = [
    "0",
    "0.1",
    "0.11",
    "0.15",
    "0.16",
    "2",
    "1.9",
    "7",
    "6.9",
    "50",
    "50.1",
    "-0.0",
    "1e2",
    "1e400",
    "9007199254740993",
    "0.30000000000000004",
    "1e-400",
];
const DURATIONS: [&str; 18] = [
    "PT0.03S",
    "PT0.031S",
    "PT0.5S",
    "PT0.501S",
    "PT0S",
    "PT1M",
    "P1DT2H3M4.5S",
    "-PT1.5S",
    "P2D",
    "PT0.000000001S",
    "PT1H4S",
    "PT0.016S",
    "PT0.0000000001S",
    "P",
    "PT",
    "P1Y",
    "PT1.S",
    "PT1M1H",
];
const INSTANTS: [&str; 12] = [
    "0001-01-01T00:00:00Z",
    "2020-02-25T18:52:21Z",
    "2020-02-25T18:52:21.2Z",
    "2020-02-25T18:52:21.2169889Z",
    "2020-02-25T18:52:21.123456789-05:30",
    "2020-02-25T20:52:21+02:00",
    "1969-12-31T23:59:59.9999999Z",
    "0001-01-01T00:00:00.0Z",
    "2020-02-30T00:00:00Z",
    "yesterday",
    "2020-02-25",
    "2020-02-25T18:52:21.1234567890Z",
];

impl Records {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            random: ChaCha8Rng::seed_from_u64(seed),
            number: 0,
            density: 0.0,
            wildness: 0.0,
            modern: false,
            out: String::new(),
        }
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.random.next_u64() % limit as u64) as usize
    }

    fn chance(&mut self, share: f64) -> bool {
        ((self.random.next_u64() >> 11) as f64) < share * (1_u64 << 53) as f64
    }

    fn surprise(&mut self, factor: f64) -> bool {
        self.chance(self.wildness * factor)
    }

    fn one_of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.below(all.len())]
    }

    /// The next record. Its id, start and version are usable and there once.
    pub(crate) fn next_record(&mut self) -> String {
        self.number += 1;
        self.density = [0.1, 0.2, 0.4, 0.9][[0, 0, 0, 0, 1, 1, 1, 2, 2, 3][self.below(10)]];
        self.wildness = [0.0, 0.0, 0.02, 0.1, 0.3][self.below(5)];
        self.modern = self.wildness == 0.0 && self.chance(0.7);
        self.out.clear();
        self.object(&ROOT, "", 0);
        self.out.clone()
    }

    /// Appends text of which `write` makes a piece, and gives the piece alone.
    fn piece(&mut self, write: impl FnOnce(&mut Self)) -> String {
        let before = std::mem::take(&mut self.out);
        write(self);
        std::mem::replace(&mut self.out, before)
    }

    fn object(&mut self, known: &'static Known, path: &str, depth: usize) {
        let mut members: Vec<(String, String)> = Vec::new();
        let head = ["id", "startDateTime", "version"];
        let identities = known.members.contains_key("spoolUser");
        let only_kind = self.below(known.members.len().max(1));
        for (at, (name, below)) in known.members.iter().enumerate() {
            let is_head = depth == 0 && head.contains(&name.as_str());
            let is_container = below.data_type.is_none();
            let share = match () {
                () if identities && is_container => 0.1,
                () if is_container => 0.75,
                () => self.density,
            };
            let twin = match name.as_str() {
                "organizer" | "participants" => depth == 0,
                _ if path.ends_with(".participants_v2") => {
                    !["id", "identity", "administrativeUnitInfos"].contains(&name.as_str())
                }
                "identity" => known.members.contains_key("associatedIdentity"),
                _ => identities && is_container && at != only_kind,
            };
            let share = if self.modern && identities && is_container { 0.8 } else { share };
            if is_head || self.modern && twin || !self.chance(share) {
                continue;
            }
            let times = if self.surprise(0.2) { 2 } else { 1 };
            let mut text = String::new();
            for time in 0..times {
                if time == 0 || self.chance(0.7) {
                    let place = format!("{path}.{name}");
                    text = self.piece(|this| this.value(below, &place, name, depth + 1));
                }
                members.push((name.clone(), text.clone()));
            }
        }
        while self.surprise(0.3) {
            let name = self.one_of(&UNKNOWN).to_owned();
            let value = self.one_of(&WILD).to_owned();
            if !members.iter().any(|(known, _)| *known == name) {
                members.push((name, value));
            }
        }
        if self.surprise(0.2) {
            members.push((self.one_of(&ANNOTATIONS).to_owned(), self.one_of(&WILD).to_owned()));
        }
        if self.chance(0.3) {
            for last in (1..members.len()).rev() {
                let other = self.below(last + 1);
                members.swap(last, other);
            }
        }
        if depth == 0 {
            let upper = self.surprise(0.3);
            let id = format!("\"{}{:06}\"", if upper { "A" } else { "a" }, self.number);
            let at = self.below(members.len() + 1);
            members.insert(at, ("id".into(), id));
            let start = self.below(7);
            members.insert(at, ("startDateTime".into(), format!("\"{}\"", INSTANTS[1 + start % 6])));
            if !self.surprise(0.1) {
                let version =
                    ["1", "2.0", "\"3\"", "9007199254740993"][if self.surprise(1.0) { self.below(4) } else { 0 }];
                members.push(("version".into(), version.into()));
            }
        }
        self.out.push('{');
        for (at, (name, value)) in members.iter().enumerate() {
            if at > 0 {
                self.out.push(',');
            }
            self.blank();
            match name.chars().next() {
                Some(first) if first.is_ascii_alphabetic() && self.surprise(0.03) => {
                    write!(self.out, "\"\\u{:04x}{}\"", u32::from(first), &name[1..]).unwrap();
                }
                _ => write!(self.out, "\"{name}\"").unwrap(),
            }
            self.blank();
            self.out.push(':');
            self.blank();
            self.out.push_str(value);
        }
        self.blank();
        self.out.push('}');
    }

    fn blank(&mut self) {
        if self.surprise(0.1) {
            let blank = self.one_of(&[" ", "\n", "\t ", "\r\n"]);
            self.out.push_str(blank);
        }
    }

    fn value(&mut self, known: &'static Known, path: &str, name: &str, depth: usize) {
        if self.surprise(0.15) {
            let wild = self.one_of(&WILD);
            self.out.push_str(wild);
        } else if self.chance(0.05) {
            self.out.push_str("null");
        } else if let Some(elements) = known.members.get("[]") {
            self.list(elements, path, depth);
        } else if let Some(value) = known.members.get("{}") {
            self.map(value, path, depth);
        } else if known.data_type.is_none() {
            self.object(known, path, depth);
        } else {
            self.leaf(known, name);
        }
    }

    fn list(&mut self, known: &'static Known, path: &str, depth: usize) {
        let length = [0, 0, 1, 1, 1, 1, 2, 2, 2, 3][self.below(10)];
        self.out.push('[');
        for at in 0..length {
            if at > 0 {
                self.out.push(',');
            }
            if self.surprise(0.15) {
                let wild = self.one_of(&WILD);
                self.out.push_str(wild);
            } else {
                self.object(known, path, depth + 1);
            }
        }
        self.out.push(']');
    }

    fn map(&mut self, known: &'static Known, path: &str, depth: usize) {
        self.out.push('{');
        for at in 0..self.below(4) {
            if at > 0 {
                self.out.push(',');
            }
            let wild = self.surprise(1.0);
            let name = if wild { self.below(TOKENS.len()) } else { at % 2 };
            let name = if wild && self.chance(0.1) { "@odata.type" } else { TOKENS[name] };
            write!(self.out, "\"{name}\":").unwrap();
            self.value(known, path, "value", depth + 1);
        }
        self.out.push('}');
    }

    fn leaf(&mut self, known: &'static Known, name: &str) {
        let plain = self.wildness == 0.0;
        let text = match known.data_type.expect("a leaf") {
            Type::Boolean => self.one_of(&["true", "false"]).to_owned(),
            Type::Int32 | Type::Int64 | Type::Decimal => {
                self.one_of(&INTEGERS[..if plain { 5 } else { INTEGERS.len() }]).to_owned()
            }
            Type::Float64 => self.one_of(&FLOATS[..if plain { 11 } else { FLOATS.len() }]).to_owned(),
            Type::Timestamp => format!("\"{}\"", self.one_of(&INSTANTS[..if plain { 7 } else { INSTANTS.len() }])),
            Type::DurationMs => format!("\"{}\"", self.one_of(&DURATIONS[..if plain { 12 } else { DURATIONS.len() }])),
            Type::StringList => {
                let texts: Vec<_> = (0..self.below(4)).map(|_| self.item(known)).collect();
                format!("[{}]", texts.join(", "))
            }
            Type::Int64List => unreachable!("no record table holds such"),
            Type::String => self.text(known, name),
        };
        self.out.push_str(&text);
    }

    fn item(&mut self, known: &'static Known) -> String {
        if self.surprise(0.3) { self.one_of(&["null", "\"\"", "\"new\""]).to_owned() } else { self.text(known, "") }
    }

    fn text(&mut self, known: &'static Known, name: &str) -> String {
        let text = match name {
            "id" => self.one_of(&IDS),
            "label" => self.one_of(&LABELS),
            "joinWebUrl" => self.one_of(&LINKS),
            "@odata.type" => self.one_of(&TEXTS[10..15]),
            _ if !known.members_of_enum.is_empty() && !self.surprise(0.3) => {
                let at = self.below(known.members_of_enum.len());
                return format!("\"{}\"", known.members_of_enum[at]);
            }
            _ => self.one_of(&TEXTS),
        };
        format!("\"{text}\"")
    }
}

#[test]
fn records_are_json_and_the_same_for_a_seed() {
    let (mut one, mut other) = (Records::new(1), Records::new(1));
    for _ in 0..200 {
        let text = one.next_record();
        assert_eq!(text, other.next_record());
        serde_json::from_str::<&serde_json::value::RawValue>(&text).expect("JSON");
    }
}
