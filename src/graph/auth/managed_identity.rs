//! Tokens from the platform that the program runs on: a virtual machine's
//! metadata service, or the one beside an App Service, Function or Container App.
//!
//! Refuses to ask anything but this machine: no proxy, no redirect, no address
//! that is not loopback or link-local.

use super::answer::DeniedIdentity;
use crate::error::Error;
use crate::graph::settings::is_loopback;
use reqwest::redirect::Policy;
use reqwest::{StatusCode, Url};
use secrecy::{ExposeSecret as _, SecretString};
use std::net::IpAddr;
use std::time::Duration;

/// Where the metadata service of a virtual machine is.
const IMDS: &str = "http://169.254.169.254/";
const IMDS_PATH: &str = "metadata/identity/oauth2/token";
const IMDS_VERSION: &str = "2018-02-01";
const APP_SERVICE_VERSION: &str = "2019-08-01";

/// Where there is no service, its address often leads nowhere, without a word.
const CONNECT: Duration = Duration::from_secs(3);

/// Attempts at a service that cannot be reached.
const TRIES_TO_REACH: u32 = 3;
/// Attempts at one that answers 404, 429 or 5xx: with back-offs of 0, 2, 6, 14 and 30 seconds.
const TRIES: u32 = 6;
/// Attempts at one that is being set up (410): it is ready within 70 seconds.
const TRIES_GONE: u32 = 8;

/// The managed identity that asks, and whom.
#[derive(Clone, Debug)]
pub struct ManagedIdentity {
    /// The service that knows the identity.
    pub service: IdentityService,
    /// Which identity, if it is user-assigned.
    pub client_id: Option<String>,
    /// Whom the token is for: Graph's root.
    pub resource: String,
}

/// A service of the platform that gives tokens.
#[derive(Clone, Debug)]
pub enum IdentityService {
    /// The metadata service of virtual machines and scale sets.
    Imds {
        /// Its root.
        root: Url,
    },
    /// App Service, Functions, Container Apps.
    AppService {
        /// `IDENTITY_ENDPOINT`.
        endpoint: Url,
        /// `IDENTITY_HEADER`: shows that the caller runs on the platform.
        header: SecretString,
    },
}

impl IdentityService {
    /// The metadata service, at `root` or where it always is.
    ///
    /// # Errors
    /// Config: `root` is no URL.
    pub fn imds(root: Option<&str>) -> Result<Self, Error> {
        let root = Url::parse(root.unwrap_or(IMDS)).map_err(|e| {
            Error::config("AZURE_POD_IDENTITY_AUTHORITY_HOST is no URL").hint("leave it out").because(e)
        })?;
        Ok(Self::Imds { root })
    }

    /// How messages call it.
    fn name(&self) -> &'static str {
        match self {
            Self::Imds { .. } => "the metadata service (IMDS)",
            Self::AppService { .. } => "the identity service at IDENTITY_ENDPOINT",
        }
    }
}

impl ManagedIdentity {
    /// Checks that what would be asked is this machine.
    ///
    /// # Errors
    /// Config: it is not.
    pub(in crate::graph) fn validate(&self) -> Result<(), Error> {
        let (url, variable) = match &self.service {
            IdentityService::Imds { root } => (root, "AZURE_POD_IDENTITY_AUTHORITY_HOST"),
            IdentityService::AppService { endpoint, .. } => (endpoint, "IDENTITY_ENDPOINT"),
        };
        if url.scheme() == "http" && is_of_this_machine(url) && url.username().is_empty() && url.password().is_none() {
            return Ok(());
        }
        Err(Error::config(format!("{variable} is no http address of this machine"))
            .hint("only loopback and link-local addresses are asked for the token of a managed identity"))
    }

    /// A client that goes straight to the service.
    pub(super) fn http(user_agent: &str) -> Result<reqwest::Client, Error> {
        reqwest::Client::builder()
            .no_proxy()
            .redirect(Policy::none())
            .referer(false)
            .user_agent(user_agent)
            .connect_timeout(CONNECT)
            .pool_max_idle_per_host(0)
            .tls_built_in_root_certs(false)
            .build()
            .map_err(|error| Error::config("cannot set up the HTTP client").because(error))
    }

    pub(super) fn request(&self, http: &reqwest::Client) -> reqwest::RequestBuilder {
        let of_version = |version| [("api-version", version), ("resource", self.resource.as_str())];
        let request = match &self.service {
            IdentityService::Imds { root } => {
                let mut url = root.clone();
                url.set_path(IMDS_PATH);
                http.get(url).query(&of_version(IMDS_VERSION)).header("Metadata", "true")
            }
            IdentityService::AppService { endpoint, header } => http
                .get(endpoint.clone())
                .query(&of_version(APP_SERVICE_VERSION))
                .header("X-IDENTITY-HEADER", header.expose_secret()),
        };
        match &self.client_id {
            Some(client_id) => request.query(&[("client_id", client_id)]),
            None => request,
        }
    }

    pub(super) fn is_passing(status: StatusCode) -> bool {
        status.is_server_error()
            || matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE | StatusCode::TOO_MANY_REQUESTS)
    }

    /// How long to wait after the `failures`th failure, as the service's
    /// documentation asks; `None` when enough was tried. `base` is a quarter of
    /// the first wait.
    pub(super) fn wait(status: Option<StatusCode>, failures: u32, base: Duration) -> Option<Duration> {
        let (tries, units) = match status {
            None => (TRIES_TO_REACH, 4),
            Some(StatusCode::GONE) => (TRIES_GONE, 20),
            Some(_) => (TRIES, 4 * ((1 << (failures.min(6) - 1)) - 1)),
        };
        (failures < tries).then(|| base.saturating_mul(units))
    }

    /// What to say after the last attempt.
    pub(super) fn given_up(&self, status: Option<StatusCode>, code: &str) -> Error {
        let name = self.service.name();
        match (status, &self.service) {
            (None, IdentityService::Imds { .. }) => Error::access(format!(
                "no managed identity here: {name} does not answer ({code})"
            ))
            .hint("this machine is no Azure machine, or its firewall blocks 169.254.169.254; elsewhere use [graph.auth] method certificate or workload-identity"),
            (Some(StatusCode::NOT_FOUND), IdentityService::Imds { .. }) => {
                Error::access(format!("{name} knows no managed identity (http-404)"))
                    .hint("turn on the system-assigned identity of this machine, or assign one to it")
            }
            _ => Error::temporary(format!("{name} does not issue a token ({code})")).hint("run again"),
        }
    }

    /// The service said no.
    pub(super) fn refused(&self, status: StatusCode, denied: Option<&DeniedIdentity>) -> Error {
        let name = self.service.name();
        let code = denied.and_then(DeniedIdentity::code).map_or_else(String::new, |code| format!(", {code}"));
        let hint = match (&self.service, &self.client_id) {
            (IdentityService::AppService { .. }, _) if status == StatusCode::UNAUTHORIZED => {
                "IDENTITY_HEADER is not the one of this instance: start callrec with the environment that the platform gives"
            }
            (_, Some(_)) => {
                "client_id must be that of a user-assigned identity that is assigned to this machine or app; without it the system-assigned one is taken"
            }
            (_, None) => {
                "turn on the system-assigned identity, or name the user-assigned one in [graph.auth] client_id"
            }
        };
        Error::access(format!("{name} refuses a token (http-{}{code})", status.as_u16())).hint(hint)
    }
}

fn is_of_this_machine(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    is_loopback(url)
        || host.parse::<IpAddr>().is_ok_and(|ip| match ip {
            IpAddr::V4(ip) => ip.is_link_local(),
            IpAddr::V6(ip) => ip.is_unicast_link_local(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_asked() {
        for (root, good) in [
            (None, true),
            (Some("http://127.0.0.1:4"), true),
            (Some("http://[::1]:4"), true),
            (Some("http://169.254.1.1"), true),
            (Some("http://169.255.169.254"), false),
            (Some("http://169.254.169.254.example.com"), false),
            (Some("http://10.0.0.1"), false),
            (Some("https://127.0.0.1"), false),
            (Some("http://me@127.0.0.1"), false),
        ] {
            let service = IdentityService::imds(root).expect("a URL");
            let identity = ManagedIdentity { service, client_id: None, resource: "r".to_owned() };
            assert_eq!(identity.validate().is_ok(), good, "{root:?}");
        }
    }

    #[test]
    fn waits_are_those_of_the_documentation() {
        let base = Duration::from_millis(500);
        let waits = |status: Option<u16>| -> Vec<u64> {
            let status = status.map(|s| StatusCode::from_u16(s).expect("a status"));
            (1..).map_while(|n| ManagedIdentity::wait(status, n, base)).map(|wait| wait.as_secs()).collect()
        };
        assert_eq!(waits(Some(404)), [0, 2, 6, 14, 30]);
        assert_eq!(waits(Some(429)), waits(Some(500)));
        assert_eq!(waits(Some(410)), [10; 7]);
        assert_eq!(waits(None), [2; 2]);
    }
}
