//! The id of a call record, as collected from logs and command lines.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

/// The id of a call record: a GUID, compared and written in lower case.
///
/// Graph names records by GUIDs; anything else is refused before it can reach a
/// URL or a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CallId(Uuid);

impl CallId {
    /// What no call has.
    pub const NONE: Self = Self(Uuid::from_u128(0x0000_0000_0000_4000_8000_0000_0000_0000));
}

/// The text is not a GUID in its usual form of 36 characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a call id is a GUID of 36 characters")]
pub struct NotACallId;

impl FromStr for CallId {
    type Err = NotACallId;

    fn from_str(text: &str) -> Result<Self, NotACallId> {
        if text.len() != 36 {
            return Err(NotACallId);
        }
        Uuid::try_parse(text).map(Self).map_err(|_| NotACallId)
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_case_is_one_id() {
        let id: CallId = "E523D2ED-2966-4B6B-925B-754A88034CC5".parse().expect("a GUID");
        assert_eq!(id.to_string(), "e523d2ed-2966-4b6b-925b-754a88034cc5");
    }

    #[test]
    fn nothing_but_a_guid_is_taken() {
        for text in
            ["", "NA", "../../etc/passwd", "{e523d2ed-2966-4b6b-925b-754a88034cc5}", "e523d2ed29664b6b925b754a88034cc5"]
        {
            assert!(text.parse::<CallId>().is_err(), "{text}");
        }
    }
}
