//! A small JSON reader that keeps order, the text of numbers, and halves of
//! surrogate pairs. Of a repeated member the first place and the last value stay.

use crate::leaves::Leaf;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    /// As written.
    Number(String),
    /// Half of a surrogate pair is `HALF` and four hex digits.
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
    /// A value that comes from a cell: only in records that were built again.
    Cell(Leaf),
}

/// Stands before the hex digits of half a surrogate pair. No test text holds it.
pub(crate) const HALF: char = '\u{10FFFF}';

impl Json {
    pub(crate) fn parse(text: &str) -> Self {
        let mut reader = Reader { text, bytes: text.as_bytes(), at: 0 };
        let json = reader.value();
        reader.blank();
        assert_eq!(reader.at, text.len(), "one JSON value");
        json
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object(members) => members.iter().find(|(known, _)| known == name).map(|(_, value)| value),
            _ => None,
        }
    }

    pub(crate) fn members(&self) -> &[(String, Self)] {
        match self {
            Self::Object(members) => members,
            _ => &[],
        }
    }

    pub(crate) fn elements(&self) -> &[Self] {
        match self {
            Self::List(elements) => elements,
            _ => &[],
        }
    }

    pub(crate) const fn is_object(&self) -> bool {
        matches!(self, Self::Object(_))
    }

    /// A text without halves of surrogate pairs.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) if !text.contains(HALF) => Some(text),
            _ => None,
        }
    }

    /// Null, empty text, and lists and objects of these.
    pub(crate) fn is_vacant(&self) -> bool {
        match self {
            Self::Null => true,
            Self::Text(text) => text.is_empty(),
            Self::List(elements) => elements.iter().all(Self::is_vacant),
            Self::Object(members) => members.iter().all(|(_, value)| value.is_vacant()),
            _ => false,
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn blank(&mut self) {
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
    }

    fn peek(&mut self) -> u8 {
        self.blank();
        self.bytes[self.at]
    }

    fn take(&mut self, byte: u8) {
        assert_eq!(self.peek(), byte, "at byte {}", self.at);
        self.at += 1;
    }

    fn word(&mut self, word: &str, value: Json) -> Json {
        assert!(self.bytes[self.at..].starts_with(word.as_bytes()));
        self.at += word.len();
        value
    }

    fn value(&mut self) -> Json {
        match self.peek() {
            b'n' => self.word("null", Json::Null),
            b't' => self.word("true", Json::Bool(true)),
            b'f' => self.word("false", Json::Bool(false)),
            b'"' => Json::Text(self.text()),
            b'[' => self.list(),
            b'{' => self.object(),
            _ => {
                let start = self.at;
                while self.bytes.get(self.at).is_some_and(|byte| b"+-.eE0123456789".contains(byte)) {
                    self.at += 1;
                }
                assert!(self.at > start, "a value at byte {start}");
                Json::Number(String::from_utf8(self.bytes[start..self.at].to_vec()).unwrap())
            }
        }
    }

    fn list(&mut self) -> Json {
        self.take(b'[');
        let mut elements = Vec::new();
        while self.peek() != b']' {
            elements.push(self.value());
            if self.peek() != b']' {
                self.take(b',');
            }
        }
        self.take(b']');
        Json::List(elements)
    }

    fn object(&mut self) -> Json {
        self.take(b'{');
        let mut members: Vec<(String, Json)> = Vec::new();
        while self.peek() != b'}' {
            self.blank();
            let name = self.text();
            self.take(b':');
            let value = self.value();
            match members.iter_mut().find(|(known, _)| *known == name) {
                Some(member) => member.1 = value,
                None => members.push((name, value)),
            }
            if self.peek() != b'}' {
                self.take(b',');
            }
        }
        self.take(b'}');
        Json::Object(members)
    }

    fn text(&mut self) -> String {
        self.take(b'"');
        let mut units: Vec<u16> = Vec::new();
        loop {
            let rest = &self.text[self.at..];
            let character = rest.chars().next().expect("an end of the text");
            self.at += character.len_utf8();
            match character {
                '"' => break,
                '\\' => {
                    let escape = self.bytes[self.at];
                    self.at += 1;
                    units.push(match escape {
                        b'n' => 10,
                        b't' => 9,
                        b'r' => 13,
                        b'b' => 8,
                        b'f' => 12,
                        b'u' => {
                            let digits = std::str::from_utf8(&self.bytes[self.at..self.at + 4]).unwrap();
                            self.at += 4;
                            u16::from_str_radix(digits, 16).unwrap()
                        }
                        other => u16::from(other),
                    });
                }
                other => units.extend(other.encode_utf16(&mut [0; 2]).iter()),
            }
        }
        let mut text = String::new();
        for unit in char::decode_utf16(units) {
            match unit {
                Ok(character) => text.push(character),
                Err(half) => text.push_str(&format!("{HALF}{:04x}", half.unpaired_surrogate())),
            }
        }
        text
    }
}

#[test]
fn the_reader_keeps_what_matters() {
    let json = Json::parse(r#" {"a": [1e2, -0.0, "\u00fc\ud83d\ude00\ud800"], "b": null, "\u0061": true} "#);
    assert_eq!(json, Json::Object(vec![("a".into(), Json::Bool(true)), ("b".into(), Json::Null)]));
    let text = Json::parse(r#""\u00fc\ud83d\ude00\ud800""#);
    assert_eq!(text, Json::Text(format!("ü😀{HALF}d800")));
    assert_eq!(text.text(), None);
    assert_eq!(Json::parse("[1e2]"), Json::List(vec![Json::Number("1e2".into())]));
}
