//! What can be wrong with the answers about a record, by name, and which
//! records of a mix are struck.

use super::settings::Settings;
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// What is wrong with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// A status, perhaps with a `Retry-After`; `date` stands for a date.
    Status(u16, Option<&'static str>),
    /// The token is refused.
    Expired,
    /// A redirect with this status.
    Redirect(u16, Elsewhere),
    /// A page of a captive portal.
    Html,
    /// 200 with an error in it.
    ErrorIn200,
    /// 200 without a body.
    Empty,
    /// Plain text that claims to be gzip.
    WrongEncoding,
    /// An encoding that nobody asked for.
    OddEncoding,
    /// The connection is reset in place of an answer.
    Reset,
    /// The connection is reset within the body.
    ResetInBody,
    /// The connection ends within the body.
    Cut,
    /// `Content-Length` promises more than there is.
    LengthTooLong,
    /// `Content-Length` promises less than there is.
    LengthTooShort,
    /// The chunked encoding is broken.
    BrokenChunks,
    /// Bytes that are no HTTP.
    NoHttp,
    /// Nothing comes.
    Silent,
    /// One byte at a time.
    SlowBody,
    /// 10 GiB in 10 MB of gzip.
    Bomb,
    /// The same as the body of a 500.
    ErrorBomb,
    /// The same as the second page of a list.
    PageBomb,
    /// JSON that is 100,000 levels deep.
    Deep,
    /// The same as the second page of a list.
    DeepPage,
    /// A body over every limit.
    Giant,
    /// Another record.
    WrongId,
    /// A record without version.
    NoVersion,
    /// A record that began at no instant.
    NoStart,
    /// One of the two first answers has another version.
    OtherVersion,
    /// The version is another one after the last page.
    LaterVersion,
    /// A page begins with what the one before ended with.
    Overlap,
    /// A page without items that goes on.
    EmptyPage,
    /// Pages without items, and no end.
    EmptyPages,
    /// Pages with items, and no end.
    Endless,
    /// A next link to the page itself.
    Loop,
    /// A next link to a page that leads back.
    Cycle,
    /// A next link as the documentation prints it, with `$metadata#`.
    BrokenLink,
    /// A page without a list.
    NoList,
    /// A next link to another place.
    Link(Elsewhere),
}

/// Where a token must not go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Elsewhere {
    Host,
    Port,
    Scheme,
    UserInfo,
    NoScheme,
    TrailingDot,
    /// The address at which clouds tell secrets to their machines.
    MetadataService,
}

use Elsewhere::{Host, MetadataService, NoScheme, Port, Scheme, TrailingDot, UserInfo};
use Fault::{Link, Redirect, Status};

/// All faults by name; whether one may pass, so that the record comes in the end.
const ALL: [(&str, Fault, bool); 73] = [
    ("429-seconds", Status(429, Some("1")), true),
    ("429-fraction", Status(429, Some("0.128")), true),
    ("429-date", Status(429, Some("date")), true),
    ("429-zero", Status(429, Some("0")), true),
    ("429-negative", Status(429, Some("-7")), true),
    ("429-huge", Status(429, Some("1000000000")), true),
    ("429-garbage", Status(429, Some("soon")), true),
    ("429-missing", Status(429, None), true),
    ("500", Status(500, None), true),
    ("500-fraction", Status(500, Some("0.2")), true),
    ("502", Status(502, None), true),
    ("502-fraction", Status(502, Some("0.2")), true),
    ("503", Status(503, None), true),
    ("503-seconds", Status(503, Some("1")), true),
    ("503-date", Status(503, Some("date")), true),
    ("504", Status(504, None), true),
    ("504-fraction", Status(504, Some("0.2")), true),
    ("204", Status(204, None), true),
    ("206", Status(206, None), true),
    ("400", Status(400, None), false),
    ("403", Status(403, None), false),
    ("404", Status(404, None), false),
    ("409", Status(409, None), true),
    ("410", Status(410, None), false),
    ("423", Status(423, None), true),
    ("expired-token", Fault::Expired, true),
    ("redirect-301", Redirect(301, Host), true),
    ("redirect-302", Redirect(302, Host), true),
    ("redirect-303", Redirect(303, Host), true),
    ("redirect-307", Redirect(307, Host), true),
    ("redirect-308", Redirect(308, Host), true),
    ("redirect-port", Redirect(302, Port), true),
    ("redirect-no-scheme", Redirect(302, NoScheme), true),
    ("html", Fault::Html, true),
    ("error-in-200", Fault::ErrorIn200, true),
    ("empty", Fault::Empty, true),
    ("wrong-encoding", Fault::WrongEncoding, true),
    ("odd-encoding", Fault::OddEncoding, true),
    ("reset", Fault::Reset, true),
    ("reset-in-body", Fault::ResetInBody, true),
    ("cut", Fault::Cut, true),
    ("length-too-long", Fault::LengthTooLong, true),
    ("length-too-short", Fault::LengthTooShort, true),
    ("broken-chunks", Fault::BrokenChunks, true),
    ("no-http", Fault::NoHttp, true),
    ("silent", Fault::Silent, true),
    ("slow-body", Fault::SlowBody, true),
    ("bomb", Fault::Bomb, false),
    ("error-bomb", Fault::ErrorBomb, true),
    ("page-bomb", Fault::PageBomb, false),
    ("deep", Fault::Deep, false),
    ("deep-page", Fault::DeepPage, false),
    ("giant", Fault::Giant, false),
    ("wrong-id", Fault::WrongId, false),
    ("no-version", Fault::NoVersion, false),
    ("no-start", Fault::NoStart, false),
    ("other-version", Fault::OtherVersion, true),
    ("later-version", Fault::LaterVersion, true),
    ("overlap", Fault::Overlap, true),
    ("empty-page", Fault::EmptyPage, true),
    ("empty-pages", Fault::EmptyPages, true),
    ("endless", Fault::Endless, true),
    ("loop", Fault::Loop, true),
    ("cycle", Fault::Cycle, true),
    ("broken-link", Fault::BrokenLink, true),
    ("no-list", Fault::NoList, false),
    ("link-host", Link(Host), true),
    ("link-port", Link(Port), true),
    ("link-scheme", Link(Scheme), true),
    ("link-user-info", Link(UserInfo), true),
    ("link-no-scheme", Link(NoScheme), true),
    ("link-trailing-dot", Link(TrailingDot), true),
    ("link-metadata-service", Link(MetadataService), true),
];

/// A fault by name, and how often it strikes each URL of its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strike {
    /// The name, such as `429-date`.
    pub name: &'static str,
    /// Attempts at each URL that are struck; for ever if `None`.
    pub times: Option<u32>,
    pub(super) fault: Fault,
    /// How often a token must have been used before it ends early. A run ends
    /// when a token that was issued just now is refused.
    pub(super) uses: u64,
}

impl Strike {
    /// The fault `name`, for so many attempts at each URL.
    #[must_use]
    pub(super) fn named(name: &str, times: Option<u32>) -> Option<Self> {
        ALL.iter().find(|(known, ..)| *known == name).map(|&(name, fault, _)| Self { name, times, fault, uses: 0 })
    }

    /// Whether it is the pages of a list that are wrong.
    #[must_use]
    pub const fn is_of_lists(&self) -> bool {
        use Fault::{
            BrokenLink, Cycle, DeepPage, EmptyPage, EmptyPages, Endless, LaterVersion, Loop, NoList, Overlap, PageBomb,
        };
        matches!(
            self.fault,
            BrokenLink
                | Cycle
                | DeepPage
                | EmptyPage
                | EmptyPages
                | Endless
                | LaterVersion
                | Link(_)
                | Loop
                | NoList
                | Overlap
                | PageBomb
        )
    }

    /// Whether attempt `attempt` (from 0) at a URL is struck.
    pub(super) fn strikes(&self, attempt: u32) -> bool {
        self.times.is_none_or(|times| attempt < times)
    }
}

/// The names of all faults; whether one may pass, so that its record comes in the end.
pub fn fault_names() -> impl Iterator<Item = (&'static str, bool)> {
    ALL.iter().map(|&(name, _, passes)| (name, passes))
}

/// What strikes the record `id` in the mix of the settings.
///
/// One record in three is struck. Without lasting faults every fault is gone
/// after one or two attempts at each URL, so that a job that does not give up
/// gets every record; with them, half of the struck records never come right.
pub(super) fn of_record(settings: &Settings, id: &str) -> Option<Strike> {
    if !settings.faults && !settings.lasting_faults {
        return None;
    }
    let dice: [u8; 32] = Sha256::new().chain_update(settings.seed.to_le_bytes()).chain_update(id).finalize().into();
    if u16::from(dice[0]) * 100 >= 256 * 30 {
        return None;
    }
    let pool: Vec<_> = ALL.iter().filter(|(_, _, passes)| *passes || settings.lasting_faults).collect();
    let &&(name, fault, passes) = pool.get(usize::from(u16::from_le_bytes([dice[1], dice[2]])) % pool.len())?;
    // A token that never works ends the run, and a window holds all records up.
    let of_the_run = matches!(fault, Fault::Expired | Status(_, Some("1" | "0.2" | "0.128" | "date")));
    let lasts = !passes || settings.lasting_faults && dice[3].is_multiple_of(2) && !of_the_run;
    let once = fault == Fault::Expired || dice[4].is_multiple_of(2);
    let times = if lasts { None } else { Some(if once { 1 } else { 2 }) };
    Some(Strike { name, fault, times, uses: 200 })
}

/// What is wrong with the token service, as long as the simulator runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TokenFault {
    /// 503.
    Down,
    /// A page of a captive portal.
    Html,
    /// Nothing comes.
    Silent,
    /// The connection is reset.
    Reset,
    /// `invalid_client`.
    InvalidClient,
    /// 10 GiB in 10 MB of gzip.
    Bomb,
    /// JSON that is 100,000 levels deep.
    Deep,
    /// A redirect to another host.
    Redirect,
    /// Tokens that Graph does not take.
    Useless,
    /// Tokens of an app without the permission: Graph answers 403.
    NoRole,
}
