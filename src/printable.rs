//! Text for people and terminals: what could steer a terminal, forge a line or
//! turn the order of what is read is shown as its code instead.

use std::borrow::Cow;

/// Whether a character acts on what displays it, or hides.
fn acts(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// `text` with `\u001b` for an escape and so on, line ends included: one field.
#[must_use]
pub fn field(text: &str) -> Cow<'_, str> {
    escaped(text, |_| false)
}

/// As [`field`], but line feeds and tabs stay: whole output. In JSON the codes
/// stand for what they replace.
#[must_use]
pub fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, |character| matches!(character, '\n' | '\t'))
}

/// As [`lines`], and a terminal's colours stay.
#[must_use]
pub fn coloured(text: &str) -> Cow<'_, str> {
    let mut shown = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("\u{1b}[") {
        let (before, sequence) = rest.split_at(at);
        let length = sequence.find('m').map_or(0, |end| end + 1);
        let colour = length > 0 && sequence[2..length - 1].bytes().all(|b| b.is_ascii_digit() || b == b';');
        let take = if colour { length } else { 2 };
        shown.push_str(&field(before));
        shown.push_str(&if colour { Cow::Borrowed(&sequence[..take]) } else { field(&sequence[..take]) });
        rest = &sequence[take..];
    }
    shown.push_str(&field(rest));
    Cow::Owned(shown)
}

fn escaped(text: &str, stays: impl Fn(char) -> bool) -> Cow<'_, str> {
    use std::fmt::Write;
    let shown = |character: char| !acts(character) || stays(character);
    if text.chars().all(&shown) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if shown(character) {
            out.push(character);
        } else {
            // All of them have four digits, so that this is JSON's form too.
            let _ = write!(out, "\\u{:04x}", u32::from(character));
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_is_shown_as_its_code() {
        for (text, shown) in [
            ("events.jsonl", "events.jsonl"),
            ("Grüße, 名前 😀", "Grüße, 名前 😀"),
            ("\u{1b}]52;c;eA==\u{7}", r"\u001b]52;c;eA==\u0007"),
            ("a\r\nb", r"a\u000d\u000ab"),
            ("\u{9b}2J\u{7f}", r"\u009b2J\u007f"),
            ("\u{202e}gpj.exe\u{2069}\u{feff}", r"\u202egpj.exe\u2069\ufeff"),
        ] {
            assert_eq!(field(text), shown);
        }
        assert_eq!(lines("a\n\tb\r\u{1b}"), "a\n\tb\\u000d\\u001b");
    }

    #[test]
    fn only_colours_stay() {
        assert_eq!(coloured("\u{1b}[2mtime\u{1b}[0m x"), "\u{1b}[2mtime\u{1b}[0m x");
        assert_eq!(coloured("\u{1b}[2J\u{1b}[31;1mred\u{1b}]0;t\u{7}"), "\\u001b[2J\u{1b}[31;1mred\\u001b]0;t\\u0007");
        assert_eq!(coloured("\u{1b}["), "\\u001b[");
    }

    #[test]
    fn json_means_the_same_afterwards() {
        let value = "\u{202e}\u{85}\u{7f}\u{1b}";
        let json = serde_json::to_string(value).unwrap();
        assert_eq!(serde_json::from_str::<String>(&lines(&json)).unwrap(), value);
    }
}
