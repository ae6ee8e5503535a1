//! A mix of faults that pass: every one is gone after a few attempts at the
//! same URL, so that a job that does not give up gets every record.

use sha2::{Digest, Sha256};

/// What is wrong with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// 429 with whole seconds.
    RetrySeconds,
    /// 429 with a fraction of a second.
    RetryFraction,
    /// 503 with a date.
    RetryDate,
    /// A status without a word when to come back.
    Status(u16),
    /// The connection ends within the body.
    Cut,
    /// A page of a captive portal.
    Html,
    /// 200 with an error in it.
    ErrorIn200,
    /// The token is refused once.
    Expired,
    /// The first answer has another version than the other one.
    OtherVersion,
    /// The page begins with what the one before ended with.
    Overlap,
    /// A page without items that goes on.
    EmptyPage,
    /// A next link as the documentation prints it, with `$metadata#`.
    BrokenLink,
    /// A next link to the page itself.
    Loop,
    /// A next link to another host.
    ForeignLink,
    /// A redirect to another host.
    Redirect,
}

const TRANSIENT: [Fault; 11] = [
    Fault::RetryFraction,
    Fault::Status(500),
    Fault::Cut,
    Fault::Status(502),
    Fault::Html,
    Fault::Status(504),
    Fault::RetrySeconds,
    Fault::ErrorIn200,
    Fault::Status(503),
    Fault::RetryDate,
    Fault::Expired,
];
const OF_LISTS: [Fault; 6] =
    [Fault::Overlap, Fault::EmptyPage, Fault::BrokenLink, Fault::Loop, Fault::ForeignLink, Fault::OtherVersion];

/// The fault of attempt `attempt` (from 0) at a URL.
pub(super) fn transient(seed: u64, url: &str, attempt: u32) -> Option<Fault> {
    if attempt > 1 {
        return None;
    }
    let dice = dice(seed, "transient", url, attempt);
    if dice[0].is_multiple_of(8) {
        return Some(if dice[1] == 0 { Fault::Redirect } else { TRANSIENT[usize::from(dice[1]) % TRANSIENT.len()] });
    }
    None
}

/// How the lists of a record are spoilt at the first attempt.
pub(super) fn of_list(seed: u64, url: &str, attempt: u32) -> Option<Fault> {
    let dice = dice(seed, "list", url, 0);
    (attempt == 0 && dice[0].is_multiple_of(6)).then(|| OF_LISTS[usize::from(dice[1]) % OF_LISTS.len()])
}

fn dice(seed: u64, kind: &str, url: &str, attempt: u32) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(seed.to_le_bytes());
    hasher.update(kind);
    hasher.update(url);
    hasher.update(attempt.to_le_bytes());
    hasher.finalize().into()
}
