//! The paths of the catalogue, split into members.

use std::fmt;

/// What stands behind a member's name in a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Plain,
    /// `[]`: the elements of a list.
    List,
    /// `{}`: the entries of a map.
    Map,
}

/// One member of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) name: String,
    pub(crate) shape: Shape,
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shape = match self.shape {
            Shape::Plain => "",
            Shape::List => "[]",
            Shape::Map => "{}",
        };
        write!(f, "{}{shape}", self.name)
    }
}

/// Splits at the dots, but not inside `@odata.type`. The empty path has none.
pub(crate) fn segments(path: &str) -> Vec<Segment> {
    let mut names: Vec<String> = Vec::new();
    for part in path.split('.').filter(|part| !part.is_empty()) {
        match names.last_mut() {
            Some(name) if name.ends_with("@odata") => {
                name.push('.');
                name.push_str(part);
            }
            _ => names.push(part.to_owned()),
        }
    }
    let segment = |name: String| {
        let (plain, shape) = if let Some(plain) = name.strip_suffix("[]") {
            (plain, Shape::List)
        } else if let Some(plain) = name.strip_suffix("{}") {
            (plain, Shape::Map)
        } else {
            (name.as_str(), Shape::Plain)
        };
        Segment { name: plain.to_owned(), shape }
    };
    names.into_iter().map(segment).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_are_one_member() {
        let shown = |path| segments(path).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(shown("a[].b.@odata.type"), ["a[]", "b", "@odata.type"]);
        assert_eq!(shown("caller.feedback.tokens{}"), ["caller", "feedback", "tokens{}"]);
        assert!(shown("").is_empty());
    }
}
