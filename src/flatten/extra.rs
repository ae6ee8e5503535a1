//! What a row has beside its columns, as the tree that `extra_json` holds.

use super::raw::quoted;
use std::borrow::Cow;

/// A part of `extra_json`.
#[derive(Clone, Debug)]
pub(crate) enum Extra<'a> {
    /// As served.
    Raw(&'a str),
    /// "The column's value did not come from here."
    Null,
    Object(Members<'a>),
    /// Leftover of elements at their positions.
    List(Vec<Option<Extra<'a>>>),
}

/// Members by their names as JSON text.
#[derive(Clone, Debug, Default)]
pub(crate) struct Members<'a>(Vec<(Cow<'a, str>, Extra<'a>)>);

impl<'a> Members<'a> {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a member that is not there yet, by its name as JSON text.
    pub(crate) fn add(&mut self, name: Cow<'a, str>, extra: Extra<'a>) {
        self.0.push((name, extra));
    }

    /// Adds at a path of member names, beside what is there.
    pub(crate) fn insert<S: AsRef<str>>(&mut self, path: &[S], extra: Extra<'a>) {
        let Some((last, above)) = path.split_last() else { return };
        let name = quoted(last.as_ref());
        let members = self.object_at(above);
        match members.0.iter().position(|(known, _)| *known == name) {
            Some(at) => members.0[at].1 = extra,
            None => members.0.push((name.into(), extra)),
        }
    }

    /// The object at a path of member names, made where it is not there.
    pub(crate) fn object_at<S: AsRef<str>>(&mut self, path: &[S]) -> &mut Self {
        let Some((first, rest)) = path.split_first() else { return self };
        let name = quoted(first.as_ref());
        let at = self.0.iter().position(|(known, _)| *known == name).unwrap_or_else(|| {
            self.0.push((name.into(), Extra::Object(Members::default())));
            self.0.len() - 1
        });
        let extra = &mut self.0[at].1;
        if !matches!(extra, Extra::Object(_)) {
            *extra = Extra::Object(Members::default());
        }
        match extra {
            Extra::Object(members) => members.object_at(rest),
            _ => unreachable!("made an object above"),
        }
    }

    /// Whether something stands at a path, or replaces an object on the way to it.
    pub(crate) fn has<S: AsRef<str>>(&self, path: &[S]) -> bool {
        let Some((first, rest)) = path.split_first() else { return false };
        let name = quoted(first.as_ref());
        self.0.iter().any(|(known, extra)| {
            *known == name
                && match extra {
                    Extra::Object(members) if !rest.is_empty() => members.has(rest),
                    _ => true,
                }
        })
    }

    pub(crate) fn into_extra(self) -> Option<Extra<'a>> {
        (!self.is_empty()).then_some(Extra::Object(self))
    }

    pub(crate) fn write(&self, out: &mut String) {
        out.push('{');
        for (at, (name, extra)) in self.0.iter().enumerate() {
            if at > 0 {
                out.push(',');
            }
            out.push_str(name);
            out.push(':');
            extra.write(out);
        }
        out.push('}');
    }
}

impl Extra<'_> {
    fn write(&self, out: &mut String) {
        match self {
            Self::Raw(text) => compact(text, out),
            Self::Null => out.push_str("null"),
            Self::Object(members) => members.write(out),
            Self::List(elements) => {
                out.push('[');
                for (at, element) in elements.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    match element {
                        Some(element) => element.write(out),
                        None => out.push_str("null"),
                    }
                }
                out.push(']');
            }
        }
    }
}

/// Leftover of the elements of a list, padded up to their positions.
#[derive(Debug, Default)]
pub(crate) struct Elements<'a>(Vec<Option<Extra<'a>>>);

impl<'a> Elements<'a> {
    pub(crate) fn put(&mut self, position: usize, extra: Extra<'a>) {
        self.0.resize(position, None);
        self.0.push(Some(extra));
    }

    pub(crate) fn into_extra(self) -> Option<Extra<'a>> {
        (!self.0.is_empty()).then_some(Extra::List(self.0))
    }
}

/// JSON text without the white space between its tokens.
fn compact(text: &str, out: &mut String) {
    let (mut in_string, mut escaped) = (false, false);
    for character in text.chars() {
        if in_string {
            in_string = escaped || character != '"';
            escaped = !escaped && character == '\\';
        } else if character.is_ascii_whitespace() {
            continue;
        } else {
            in_string = character == '"';
        }
        out.push(character);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_put_at_their_paths() {
        let mut members = Members::default();
        members.add("\"caller\"".into(), Extra::Object(Members::default()));
        members.insert(&["caller", "identity", "user"], Extra::Raw(r#"{ "id" : "a\" b" }"#));
        members.insert(&["caller", "identity", "phone"], Extra::Null);
        let mut list = Elements::default();
        list.put(1, Extra::Raw("5"));
        members.add("\"sessions\"".into(), list.into_extra().expect("an element"));
        let mut text = String::new();
        members.write(&mut text);
        assert_eq!(text, r#"{"caller":{"identity":{"user":{"id":"a\" b"},"phone":null}},"sessions":[null,5]}"#);
        assert!(members.has(&["caller", "identity"]) && !members.has(&["caller", "name"]));
        assert!(members.has(&["sessions", "inside"]), "a list replaces what would stand below it");
    }
}
