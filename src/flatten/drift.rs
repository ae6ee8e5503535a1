//! What records hold that the catalogue does not know, counted by path.

use std::collections::BTreeMap;

/// Counts by path (`sessions[].caller.userAgent.foo`). Paths are names of
/// members, never values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drift {
    /// Members with content that no column holds.
    pub unknown_members: BTreeMap<String, u64>,
    /// Texts that are no known member of their enum.
    pub unknown_enum_members: BTreeMap<String, u64>,
    /// Values that do not fit the type of their column.
    pub misfits: BTreeMap<String, u64>,
}

/// Distinct paths kept per kind; what comes after is counted under [`FURTHER`],
/// so that input cannot make the report grow without bound.
const MOST_PATHS: usize = 1_000;
const FURTHER: &str = "(further paths)";
/// What paths are counted under whose names are no identifiers: the report is
/// shown to everybody, and such a name may be text about somebody.
const ODD: &str = "(a name that is no identifier)";

/// Longest path that is kept, in bytes: names of members are input, too.
const LONGEST: usize = 512;

impl Drift {
    /// Whether nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.unknown_members.is_empty() && self.unknown_enum_members.is_empty() && self.misfits.is_empty()
    }

    /// All counts by path, whatever was strange there.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for (path, count) in self.unknown_members.iter().chain(&self.unknown_enum_members).chain(&self.misfits) {
            *counts.entry(path.clone()).or_default() += count;
        }
        counts
    }

    /// Adds the counts of `other`.
    pub fn merge(&mut self, other: Self) {
        for (into, from) in [
            (&mut self.unknown_members, other.unknown_members),
            (&mut self.unknown_enum_members, other.unknown_enum_members),
            (&mut self.misfits, other.misfits),
        ] {
            for (path, count) in from {
                add(into, path, count);
            }
        }
    }

    pub(crate) fn unknown_member(&mut self, path: String) {
        add(&mut self.unknown_members, path, 1);
    }

    pub(crate) fn unknown_enum_member(&mut self, path: &str) {
        add(&mut self.unknown_enum_members, path.to_owned(), 1);
    }

    pub(crate) fn misfit(&mut self, path: String) {
        add(&mut self.misfits, path, 1);
    }
}

/// Whether all names in a path could be Graph's: identifiers, and annotations of OData.
fn is_plain(path: &str) -> bool {
    let is_name = |name: &str| {
        let name = name.trim_end_matches("[]").trim_end_matches("{}");
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == '@')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '@' | '$'))
    };
    path.split('.').all(is_name) && path.split('@').skip(1).all(|rest| rest.starts_with("odata."))
}

fn add(counts: &mut BTreeMap<String, u64>, path: String, count: u64) {
    let path = if path == FURTHER || is_plain(&path) { path } else { ODD.to_owned() };
    let named = counts.len() - usize::from(counts.contains_key(FURTHER));
    let known = counts.contains_key(&path) || (path != FURTHER && named < MOST_PATHS && path.len() <= LONGEST);
    *counts.entry(if known { path } else { FURTHER.to_owned() }).or_default() += count;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_may_be_about_somebody_are_not_told() {
        let mut drift = Drift::default();
        for odd in ["jane.doe@contoso.example", "Jane Doe", "sessions[].+4915112345", "x.4915112345", "a@b", "", "a..b"]
        {
            drift.unknown_member(odd.to_owned());
        }
        for plain in ["sessions[].caller.fooBar", "ratings{}.x_1", "@odata.etag", "sessions@odata.count"] {
            drift.unknown_member(plain.to_owned());
        }
        assert_eq!(drift.unknown_members[ODD], 7);
        assert_eq!(drift.unknown_members.len(), 5);
    }

    #[test]
    fn counts_add_up_and_paths_are_bounded() {
        let mut drift = Drift::default();
        assert!(drift.is_empty());
        drift.misfit("x".repeat(LONGEST + 1));
        assert_eq!(drift.misfits.keys().collect::<Vec<_>>(), [FURTHER]);
        for number in 0..MOST_PATHS + 5 {
            drift.unknown_member(format!("x{number}"));
        }
        let mut sum = Drift::default();
        sum.merge(drift.clone());
        sum.merge(drift);
        assert_eq!(sum.unknown_members.len(), MOST_PATHS + 1);
        assert_eq!(sum.unknown_members["x1"], 2);
        assert_eq!(sum.unknown_members[FURTHER], 10);
    }
}
