//! What the simulator serves and how.

use super::faults::TokenFault;
use super::tenants::Trouble;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
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
    /// The instant as of which is served at first, if it is another: the time goes on
    /// when it is told to.
    #[serde(skip)]
    pub begins: Option<DateTime<Utc>>,
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
    /// Of a hundred generated records so many get a later version, days after the first.
    pub later_percent: u64,
    /// Of a hundred notifications so many are never sent …
    pub withhold_percent: u64,
    /// … and of the others so many twice.
    pub repeat_percent: u64,
    /// How many tenants there are, each with records of its own …
    pub tenants: u32,
    /// … and what is wrong with some; the first has the number 1.
    #[serde(skip)]
    pub troubles: BTreeMap<u32, Trouble>,
    /// Whether all requests are answered with 429.
    #[serde(skip)]
    pub refuses_all: bool,
    /// Requests of the app in any 20 seconds, in all tenants.
    pub app_limit: usize,
    /// The tenant of the records; of several the first, and the next have the next ids.
    pub tenant_id: Uuid,
    /// The client that gets a token.
    pub client_id: Uuid,
    /// Its secret.
    pub client_secret: String,
    /// The certificate that is known to the app registration, as PEM.
    pub certificate: Option<PathBuf>,
    /// The certificate whose key signs federated tokens, as PEM.
    pub federated_issuer: Option<PathBuf>,
    /// The subject of the app's federated credential.
    pub federated_subject: String,
    /// What callers of the App Service's identity end point know.
    pub identity_header: String,
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

impl Settings {
    /// Takes relative paths as relative to `base`.
    pub fn resolve(&mut self, base: &Path) {
        for path in [&mut self.records, &mut self.certificate, &mut self.federated_issuer].into_iter().flatten() {
            *path = base.join(&*path);
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            records: None,
            generate: None,
            seed: 1,
            now: None,
            begins: None,
            latency_ms: 0,
            faults: false,
            lasting_faults: false,
            token_fault: None,
            throttle: true,
            port: 0,
            tls: None,
            keep_answers: false,
            later_percent: 0,
            withhold_percent: 0,
            repeat_percent: 0,
            tenants: 1,
            troubles: BTreeMap::new(),
            refuses_all: false,
            app_limit: 15_000,
            tenant_id: Uuid::from_u128(0x1111_1111_1111_4111_8111_1111_1111_1111),
            client_id: Uuid::from_u128(0x2222_2222_2222_4222_8222_2222_2222_2222),
            client_secret: "sample-secret-not-real".to_owned(),
            certificate: None,
            federated_issuer: None,
            federated_subject: "system:serviceaccount:default:callrec".to_owned(),
            identity_header: "sample-identity-header".to_owned(),
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
