//! The names of the log's files, which sort by the time of their making.

use chrono::{DateTime, NaiveDate, Utc};
use std::path::Path;

const BEFORE: &str = "notifications-";
const AFTER: &str = ".jsonl";
const STAMP: &str = "%Y%m%dT%H%M%SZ";
/// Length of a stamp as text.
const STAMP_LENGTH: usize = 16;

/// The name of one file: the second of its making, and a number that tells apart
/// those of one second.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    stamp: String,
    number: u32,
}

impl Name {
    /// A name after `newest`, also where the clock was set back.
    pub(super) fn next(newest: Option<&Self>, now: DateTime<Utc>) -> Self {
        let stamp = now.format(STAMP).to_string();
        match newest {
            Some(newest) if newest.stamp >= stamp => Self { stamp: newest.stamp.clone(), number: newest.number + 1 },
            _ => Self { stamp, number: 0 },
        }
    }

    /// The name of a file, also of one that was compressed; `None` if it is not
    /// of this log.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?.strip_prefix(BEFORE)?;
        let (stem, _) = name.split_once(AFTER)?;
        let (stamp, number) = stem.split_at_checked(STAMP_LENGTH)?;
        chrono::NaiveDateTime::parse_from_str(stamp, STAMP).ok()?;
        Some(Self { stamp: stamp.to_owned(), number: number.strip_prefix('-')?.parse().ok()? })
    }

    /// Whether the name ends as it was given.
    pub(super) fn is_plain(path: &Path) -> bool {
        path.extension().is_some_and(|ending| ending == "jsonl") && Self::of(path).is_some()
    }

    /// The name as text.
    pub(super) fn file_name(&self) -> String {
        format!("{BEFORE}{}-{:06}{AFTER}", self.stamp, self.number)
    }

    /// The day of the stamp.
    pub(super) fn day(&self) -> Option<NaiveDate> {
        chrono::NaiveDateTime::parse_from_str(&self.stamp, STAMP).ok().map(|at| at.date())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;

    #[test]
    fn names_sort_by_time_and_never_come_again() {
        let start = DateTime::from_timestamp(1_764_115_199, 0).unwrap();
        let mut newest: Option<Name> = None;
        let mut names = Vec::new();
        for seconds in [0, 0, 1, -3600, -86_400, 1, 2, 90_000] {
            let name = Name::next(newest.as_ref(), start + TimeDelta::seconds(seconds));
            names.push(name.file_name());
            newest = Some(name);
        }
        let mut sorted = names.clone();
        sorted.sort();
        sorted.dedup();
        assert_eq!(names, sorted);
        assert_eq!(names[0], "notifications-20251125T235959Z-000000.jsonl");
        assert_eq!(newest.unwrap().day(), NaiveDate::from_ymd_opt(2025, 11, 27));
    }

    #[test]
    fn only_own_names_are_read() {
        for name in ["notifications-20251125T235959Z-000007.jsonl", "notifications-20251125T235959Z-000007.jsonl.gz"] {
            let read = Name::of(Path::new("/log").join(name).as_path()).unwrap();
            assert_eq!((read.stamp.as_str(), read.number), ("20251125T235959Z", 7));
            assert_eq!(Name::is_plain(Path::new(name)), !name.ends_with("gz"));
        }
        for name in [
            "events.jsonl",
            "notifications-.jsonl",
            "notifications-20251125T235959Z.jsonl",
            "notifications-20251325T235959Z-000001.jsonl",
            "notifications-20251125T235959Z-x.jsonl",
        ] {
            assert_eq!(Name::of(Path::new(name)), None, "{name}");
        }
    }
}
