//! JSON text, written as it goes.

use chrono::{DateTime, Utc};
use std::fmt::Write;

/// A JSON document in the making; values are written in order.
#[derive(Debug, Default)]
pub(super) struct Json {
    text: String,
    needs_comma: bool,
}

impl Json {
    pub(super) fn finish(self) -> String {
        self.text
    }

    fn comma(&mut self) {
        if self.needs_comma {
            self.text.push(',');
        }
        self.needs_comma = true;
    }

    fn name(&mut self, name: &str) {
        self.comma();
        self.quoted(name);
        self.text.push(':');
    }

    fn quoted(&mut self, text: &str) {
        self.text.push('"');
        for character in text.chars() {
            match character {
                '"' | '\\' => self.text.extend(['\\', character]),
                c if u32::from(c) < 0x20 => {
                    let _ = write!(self.text, "\\u{:04x}", u32::from(c));
                }
                c => self.text.push(c),
            }
        }
        self.text.push('"');
    }

    fn open(&mut self, bracket: char) {
        self.text.push(bracket);
        self.needs_comma = false;
    }

    fn close(&mut self, bracket: char) {
        self.text.push(bracket);
        self.needs_comma = true;
    }

    pub(super) fn open_object(&mut self) {
        self.comma();
        self.open('{');
    }

    pub(super) fn open_object_named(&mut self, name: &str) {
        self.name(name);
        self.open('{');
    }

    pub(super) fn close_object(&mut self) {
        self.close('}');
    }

    pub(super) fn open_list_named(&mut self, name: &str) {
        self.name(name);
        self.open('[');
    }

    pub(super) fn close_list(&mut self) {
        self.close(']');
    }

    pub(super) fn item(&mut self, text: &str) {
        self.comma();
        self.quoted(text);
    }

    pub(super) fn text(&mut self, name: &str, text: &str) {
        self.name(name);
        self.quoted(text);
    }

    pub(super) fn number(&mut self, name: &str, number: impl std::fmt::Display) {
        self.name(name);
        let _ = write!(self.text, "{number}");
    }

    /// `number` millionths, without trailing zeros.
    pub(super) fn millionths(&mut self, name: &str, number: i64) {
        let text = format!("{}.{:06}", number / 1_000_000, (number % 1_000_000).abs());
        let text = text.trim_end_matches('0').trim_end_matches('.').to_owned();
        self.number(name, text);
    }

    pub(super) fn boolean(&mut self, name: &str, value: bool) {
        self.number(name, value);
    }

    pub(super) fn null(&mut self, name: &str) {
        self.number(name, "null");
    }
}

/// An instant in UTC with so many digits behind the second, as Graph writes it.
pub(super) fn instant(at: DateTime<Utc>, digits: usize) -> String {
    let whole = at.format("%Y-%m-%dT%H:%M:%S");
    if digits == 0 {
        return format!("{whole}Z");
    }
    let fraction = format!("{:09}", at.timestamp_subsec_nanos());
    format!("{whole}.{}Z", &fraction[..digits.min(9)])
}

/// A length of so many microseconds as Graph writes it.
pub(super) fn duration(micros: i64) -> String {
    let (minutes, rest) = (micros / 60_000_000, micros % 60_000_000);
    let seconds = format!("{}.{:06}", rest / 1_000_000, rest % 1_000_000);
    let seconds = seconds.trim_end_matches('0').trim_end_matches('.');
    if minutes > 0 { format!("PT{minutes}M{seconds}S") } else { format!("PT{seconds}S") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_instants_are_written_as_graph_writes_them() {
        assert_eq!(duration(16_000), "PT0.016S");
        assert_eq!(duration(0), "PT0S");
        assert_eq!(duration(62_500_000), "PT1M2.5S");
        let at = DateTime::from_timestamp(0, 120_000_000).unwrap();
        assert_eq!(instant(at, 7), "1970-01-01T00:00:00.1200000Z");
        assert_eq!(instant(at, 0), "1970-01-01T00:00:00Z");
    }
}
