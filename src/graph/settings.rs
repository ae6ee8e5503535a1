//! What the client is told: where Graph is, how to prove who we are, how fast
//! to go and how much to take.
//!
//! Refuses end points that would carry a token in clear text over a network.

use super::auth::{Certificate, ManagedIdentity};
use super::throttle::AppLimit;
use crate::error::Error;
use reqwest::Url;
use secrecy::SecretString;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// How the client behaves. [`Settings::new`] gives the defaults.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Graph's root, without the version: `https://graph.microsoft.com`.
    pub endpoint: Url,
    /// How tokens are obtained.
    pub auth: Auth,
    /// Requests of this process in any 20 seconds.
    pub requests_per_20s: u32,
    /// What this client shares with those of the same app in other tenants.
    pub app_limit: Option<AppLimit>,
    /// Requests about one record in any 20 seconds.
    pub requests_per_record_per_20s: u32,
    /// Most records worth fetching side by side.
    pub max_concurrency: usize,
    /// Limit for one request, from sending it to the last byte of its body.
    pub request_timeout: Duration,
    /// Attempts per request before the record is left for a later run; at least 1.
    pub tries: u32,
    /// First step of the exponential back-off; doubled by each attempt up to a minute.
    pub backoff_base: Duration,
    /// Limit of one body, in bytes after decompression.
    pub max_body_bytes: usize,
    /// Limit of one assembled record, in bytes.
    pub max_record_bytes: usize,
    /// The `User-Agent` header.
    pub user_agent: String,
}

impl Settings {
    /// The defaults for `endpoint`: the published limit of 1,500 requests in 20
    /// seconds per app and tenant, and 10 per record, which is below all limits
    /// that were ever published for one record.
    #[must_use]
    pub fn new(endpoint: Url, auth: Auth) -> Self {
        Self {
            endpoint,
            auth,
            requests_per_20s: 1500,
            app_limit: None,
            requests_per_record_per_20s: 10,
            max_concurrency: 32,
            request_timeout: Duration::from_secs(100),
            tries: 6,
            backoff_base: Duration::from_millis(500),
            max_body_bytes: 32 << 20,
            max_record_bytes: 256 << 20,
            user_agent: concat!("callrec/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }

    /// The OAuth scope of a Graph root: the root and `/.default`.
    #[must_use]
    pub fn default_scope(endpoint: &Url) -> String {
        format!("{}/.default", endpoint.as_str().trim_end_matches('/'))
    }

    /// Whether a server is to be reached by https.
    pub(super) fn needs_tls(&self) -> bool {
        let authority = match &self.auth {
            Auth::Bearer(_) | Auth::ManagedIdentity(_) => None,
            Auth::App(app) => Some(&app.authority),
        };
        [Some(&self.endpoint), authority].into_iter().flatten().any(|url| url.scheme() == "https")
    }

    /// Checks what can be checked without a request.
    ///
    /// # Errors
    /// By class configuration, naming the key.
    pub fn validate(&self) -> Result<(), Error> {
        refuse_clear_text(&self.endpoint, "[graph] endpoint")?;
        if self.endpoint.query().is_some() || self.endpoint.fragment().is_some() {
            return Err(Error::config("[graph] endpoint has a query or a fragment").hint(ROOT_HINT));
        }
        if self.endpoint.path_segments().into_iter().flatten().any(|s| s == "v1.0" || s == "beta") {
            return Err(Error::config("[graph] endpoint holds a version").hint(ROOT_HINT));
        }
        if let Auth::ManagedIdentity(identity) = &self.auth {
            identity.validate()?;
        }
        if let Auth::App(App { authority, tenant_id, client_id, .. }) = &self.auth {
            refuse_clear_text(authority, "[graph.auth] authority")?;
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
            if tenant_id.is_empty()
                || !tenant_id.starts_with(|c: char| c.is_ascii_alphanumeric())
                || !tenant_id.chars().all(plain)
            {
                return Err(Error::config("[graph.auth] tenant_id is neither a GUID nor a domain")
                    .hint("take it from the overview page of the app registration"));
            }
            if client_id.is_empty() {
                return Err(Error::config("[graph.auth] client_id is empty")
                    .hint("take it from the overview page of the app registration"));
            }
        }
        for (name, value) in [
            ("requests_per_20s", u64::from(self.requests_per_20s)),
            ("requests_per_record_per_20s", u64::from(self.requests_per_record_per_20s)),
            ("max_concurrency", self.max_concurrency as u64),
            ("tries", u64::from(self.tries)),
        ] {
            if value == 0 {
                return Err(Error::config(format!("[graph] {name} is 0")).hint("give at least 1"));
            }
        }
        Ok(())
    }
}

const ROOT_HINT: &str = "give the root alone, such as https://graph.microsoft.com";

/// How tokens are obtained.
#[derive(Clone, Debug)]
pub enum Auth {
    /// A token that was obtained elsewhere; it cannot be refreshed.
    Bearer(SecretString),
    /// OAuth client credentials of an app registration.
    App(App),
    /// The identity that the platform gives to this machine or app.
    ManagedIdentity(ManagedIdentity),
}

impl Auth {
    /// What to do when Graph answers 403.
    #[must_use]
    pub const fn permission_hint(&self) -> &'static str {
        match self {
            Self::Bearer(_) | Self::App(_) => {
                "grant the application permission CallRecords.Read.All with admin consent, then wait some minutes"
            }
            Self::ManagedIdentity(_) => {
                "assign the app role CallRecords.Read.All of Microsoft Graph to the service principal of the managed identity (an app-role assignment by Graph or PowerShell; the portal's API permissions do not offer it). The platform keeps tokens for up to a day, so that a role granted just now can take that long"
            }
        }
    }
}

/// An app registration that proves who it is.
#[derive(Clone, Debug)]
pub struct App {
    /// Root of the token service: `https://login.microsoftonline.com`.
    pub authority: Url,
    /// GUID or domain of the tenant.
    pub tenant_id: String,
    /// Application (client) id.
    pub client_id: String,
    /// As [`Settings::default_scope`] gives it.
    pub scope: String,
    /// How it proves it.
    pub proof: Proof,
}

/// What an app proves itself with.
#[derive(Clone, Debug)]
pub enum Proof {
    /// A client secret.
    Secret(SecretString),
    /// A certificate that is known to the app registration.
    Certificate {
        /// The certificate and its key.
        certificate: Certificate,
        /// Whether the chain is sent too, for apps that trust a subject and issuer.
        send_chain: bool,
    },
    /// A file with a token of an issuer that the app registration trusts; read
    /// anew for each request.
    FederatedToken(PathBuf),
}

/// Only TLS, or a server on this machine, may see a token or a secret.
fn refuse_clear_text(url: &Url, what: &str) -> Result<(), Error> {
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Error::config(format!("{what} holds a user name or password")).hint("remove it"));
    }
    if is_sheltered(url) {
        return Ok(());
    }
    Err(Error::config(format!("{what} is neither https nor http on loopback"))
        .hint("use https: a token in clear text can be read on the way"))
}

/// Whether nobody on the way reads what is sent there: https, or http on this machine.
#[must_use]
pub fn is_sheltered(url: &Url) -> bool {
    url.scheme() == "https" || (url.scheme() == "http" && is_loopback(url))
}

/// Whether the host of `url` is this machine: `localhost`, 127.0.0.0/8 or `::1`.
pub(super) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_endpoint(endpoint: &str) -> Result<(), Error> {
        let url = Url::parse(endpoint).expect("a URL");
        Settings::new(url, Auth::Bearer("t".into())).validate()
    }

    #[test]
    fn clear_text_is_for_loopback_only() {
        for good in [
            "https://graph.microsoft.com",
            "http://127.0.0.1:1",
            "http://127.9.9.9",
            "http://[::1]:8080/",
            "http://localhost:5",
        ] {
            assert!(with_endpoint(good).is_ok(), "{good}");
        }
        for bad in [
            "http://graph.microsoft.com",
            "http://10.0.0.1",
            "http://localhost.example.com",
            "ftp://127.0.0.1",
            "https://me@graph.microsoft.com",
            "https://graph.microsoft.com/v1.0",
            "https://graph.microsoft.com/?a=b",
        ] {
            assert_eq!(with_endpoint(bad).expect_err(bad).class(), crate::error::Class::Config, "{bad}");
        }
    }

    #[test]
    fn a_tenant_cannot_reach_out_of_the_token_path() {
        let endpoint = Url::parse("https://graph.microsoft.com").expect("a URL");
        for (tenant, good) in
            [("contoso.onmicrosoft.com", true), ("..", false), ("a/b", false), ("", false), ("a?b", false)]
        {
            let auth = Auth::App(App {
                authority: Url::parse("https://login.microsoftonline.com").expect("a URL"),
                tenant_id: tenant.to_owned(),
                client_id: "app".to_owned(),
                scope: Settings::default_scope(&endpoint),
                proof: Proof::Secret("s".into()),
            });
            assert_eq!(Settings::new(endpoint.clone(), auth).validate().is_ok(), good, "{tenant}");
        }
    }
}
