//! Microsoft Graph: call ids in, whole JSON records out.
//!
//! Each record is read with the two documented requests and all their pages, at
//! one version. Graph's limits are kept, its waits are honoured, and a token is
//! sent to no other place than the configured endpoint: redirects and foreign
//! next links are refused before anything is sent.

mod assemble;
mod auth;
mod body;
mod call_record;
mod client;
mod link;
mod list;
mod logs;
mod page;
mod probe;
mod request;
mod retry;
mod room;
mod settings;
mod subscriptions;
mod throttle;

#[cfg(test)]
mod tests;

pub use auth::{Certificate, CertificateFiles, IdentityService, ManagedIdentity};
pub use client::{Client, Counts};
pub use list::{Listed, Lister, Listing};
pub use logs::{LogOutcome, LogReader, LogWindow};
pub use reqwest::Url;
pub use room::Room;
pub use secrecy::SecretString;
pub use settings::{App, Auth, Proof, Settings, is_sheltered};
pub use subscriptions::{Created, LONGEST_LIFE, Subscription, Wanted};
pub use throttle::AppLimit;

/// What became of a record that was asked for.
#[derive(Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was served whole.
    Record {
        /// The record as one line of JSON without line end; values as served.
        bytes: Vec<u8>,
        /// Graph's version of it.
        version: i64,
    },
    /// Graph has none under this id (404, 410): not yet, or no longer.
    NotFound,
    /// Graph refuses this one (403).
    Forbidden,
    /// Not now. The id stays pending.
    Unavailable {
        /// A stable code: `http-503`, `timeout`, `reset`, `connect`, `truncated`, `not-json`,
        /// `error-in-200`, `redirect`, `changing`, `throttled`, `deadline`.
        reason: String,
    },
    /// It was served, and cannot be taken.
    Unusable {
        /// A stable code: `wrong-id`, `no-version`, `too-large`, `too-deep`, `foreign-next-link`,
        /// `page-loop`, `page-without-list`, `http-400`.
        reason: String,
        /// What was served, for quarantine; its first 16 KiB.
        bytes: Vec<u8>,
    },
}

impl std::fmt::Debug for Outcome {
    /// Shows no content of a record.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Record { bytes, version } => write!(f, "Record({} bytes, version {version})", bytes.len()),
            Self::NotFound => f.write_str("NotFound"),
            Self::Forbidden => f.write_str("Forbidden"),
            Self::Unavailable { reason } => write!(f, "Unavailable({reason})"),
            Self::Unusable { reason, bytes } => write!(f, "Unusable({reason}, {} bytes)", bytes.len()),
        }
    }
}
