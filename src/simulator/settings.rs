//! What the simulator serves and how.

use super::faults::TokenFault;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use std::path::PathBuf;
use uuid::Uuid;

/// The settings of a simulator; `[simulator]` in a config.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// A directory of records: `.json` files with a record or a list of records,
    /// `.ndjson` files with one a line. Of records with one id the highest
    /// version is served.
    pub records: Option<PathBuf>,
    /// So many generated records.
    pub generate: Option<u64>,
    /// The seed of generator and faults.
    pub seed: u64,
    /// The instant at which simulator and job stand still.
    pub now: Option<DateTime<Utc>>,
    /// Milliseconds before every answer.
    pub latency_ms: u64,
    /// Whether one record in three has a fault that passes after one or two attempts.
    pub faults: bool,
    /// Whether half of those, and records with faults that never pass, never
    /// come right.
    pub lasting_faults: bool,
    /// What is wrong with the token service.
    pub token_fault: Option<TokenFault>,
    /// Whether the published limits are kept.
    pub throttle: bool,
    /// The port on loopback; 0 is a free one.
    pub port: u16,
    /// Serve https, and HTTP/2 to those who speak it; otherwise http.
    #[serde(skip)]
    pub tls: Option<Tls>,
    /// Whether each answer is made once and kept, so that a client is measured
    /// and not the simulator. What changes with time, such as the age of a
    /// record, does not change an answer that is kept.
    #[serde(skip)]
    pub keep_answers: bool,
    /// The tenant of the records.
    pub tenant_id: Uuid,
    /// The client that gets a token.
    pub client_id: Uuid,
    /// Its secret.
    pub client_secret: String,
    /// The state that notifications carry.
    pub client_state: String,
    /// The largest generated meeting.
    pub max_sessions: usize,
    /// Rows of the log of PSTN calls.
    pub pstn_calls: u64,
    /// Rows of the log of direct routing.
    pub direct_routing_calls: u64,
    /// Rows of the log of text messages.
    pub sms: u64,
    /// Calls that the dial-out report adds up.
    pub dialout_calls: u64,
    /// Days of the longest window of a log that is answered.
    pub log_window_days: u32,
    /// Days that the rows of logs are spread over.
    pub log_days: u32,
    /// Whether a few generated records have values of the wrong type.
    pub misfits: bool,
}

/// What a server for https needs. The certificate is to be valid for 127.0.0.1.
#[derive(Clone, Debug)]
pub struct Tls {
    /// A file with the certificate, and those that lead to its root, as PEM.
    pub certificate: PathBuf,
    /// A file with its private key, as PEM.
    pub key: PathBuf,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            records: None,
            generate: None,
            seed: 1,
            now: None,
            latency_ms: 0,
            faults: false,
            lasting_faults: false,
            token_fault: None,
            throttle: true,
            port: 0,
            tls: None,
            keep_answers: false,
            tenant_id: Uuid::from_u128(0x1111_1111_1111_4111_8111_1111_1111_1111),
            client_id: Uuid::from_u128(0x2222_2222_2222_4222_8222_2222_2222_2222),
            client_secret: "sample-secret-not-real".to_owned(),
            client_state: "sample-client-state".to_owned(),
            max_sessions: 300,
            pstn_calls: 0,
            direct_routing_calls: 0,
            sms: 0,
            dialout_calls: 0,
            log_window_days: 90,
            log_days: 30,
            misfits: true,
        }
    }
}
