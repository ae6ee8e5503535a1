//! `[graph.auth]` and the variables that Azure's own tools read: which method,
//! and from where.

use super::cloud::Cloud;
use super::{Secret, required, secret, url};
use crate::error::{Error, Result};
use crate::graph::{App, Auth, Certificate, CertificateFiles, IdentityService, ManagedIdentity, Proof};
use secrecy::SecretString;
use serde::Deserialize;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const METHODS: &str = "auto, client-secret, certificate, workload-identity, managed-identity or bearer";

const TENANT: &str = "AZURE_TENANT_ID";
const CLIENT: &str = "AZURE_CLIENT_ID";
const SECRET: &str = "AZURE_CLIENT_SECRET";
const CERTIFICATE: &str = "AZURE_CLIENT_CERTIFICATE_PATH";
const PASSWORD: &str = "AZURE_CLIENT_CERTIFICATE_PASSWORD";
const SEND_CHAIN: &str = "AZURE_CLIENT_SEND_CERTIFICATE_CHAIN";
const FEDERATED: &str = "AZURE_FEDERATED_TOKEN_FILE";
const AUTHORITY: &str = "AZURE_AUTHORITY_HOST";
const IMDS: &str = "AZURE_POD_IDENTITY_AUTHORITY_HOST";
const ENDPOINT: &str = "IDENTITY_ENDPOINT";
const HEADER: &str = "IDENTITY_HEADER";

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct AuthSection {
    pub(super) method: Option<String>,
    authority: Option<String>,
    pub(super) tenant_id: Option<String>,
    pub(super) client_id: Option<String>,
    client_secret: Option<Secret>,
    client_secret_file: Option<PathBuf>,
    certificate_file: Option<PathBuf>,
    certificate_key_file: Option<PathBuf>,
    certificate_password: Option<Secret>,
    certificate_password_file: Option<PathBuf>,
    send_certificate_chain: Option<bool>,
    federated_token_file: Option<PathBuf>,
    token: Option<Secret>,
    token_file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    ClientSecret,
    Certificate,
    WorkloadIdentity,
    ManagedIdentity,
    Bearer,
}

impl Method {
    fn named(name: &str) -> Result<Option<Self>> {
        Ok(Some(match name {
            "auto" => return Ok(None),
            "client-secret" => Self::ClientSecret,
            "certificate" => Self::Certificate,
            "workload-identity" => Self::WorkloadIdentity,
            "managed-identity" => Self::ManagedIdentity,
            "bearer" => Self::Bearer,
            other => {
                return Err(
                    Error::config(format!("[graph.auth] method {other} is not known")).hint(format!("use {METHODS}"))
                );
            }
        }))
    }

    const fn name(self) -> &'static str {
        match self {
            Self::ClientSecret => "client-secret",
            Self::Certificate => "certificate",
            Self::WorkloadIdentity => "workload-identity",
            Self::ManagedIdentity => "managed-identity",
            Self::Bearer => "bearer",
        }
    }
}

/// The way to authenticate, and in words which it is and who named it.
pub(super) struct Chosen {
    pub(super) auth: Auth,
    pub(super) method: String,
}

/// The environment, and which of its variables were taken.
pub(super) struct Environment<'a> {
    get: &'a dyn Fn(&str) -> Option<String>,
    taken: RefCell<BTreeSet<&'static str>>,
}

impl<'a> Environment<'a> {
    pub(super) fn new(get: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { get, taken: RefCell::default() }
    }

    fn has(&self, name: &str) -> bool {
        (self.get)(name).is_some()
    }

    fn take(&self, name: &'static str) -> Option<String> {
        let value = (self.get)(name)?;
        self.taken.borrow_mut().insert(name);
        Some(value)
    }

    /// What a config leaves out is taken from the variable `name`.
    pub(super) fn or(&self, value: Option<&String>, name: &'static str) -> Option<String> {
        value.cloned().or_else(|| self.take(name))
    }
}

impl AuthSection {
    pub(super) fn tenant(&self, environment: &Environment<'_>) -> Option<String> {
        environment.or(self.tenant_id.as_ref(), TENANT)
    }

    pub(super) fn client(&self, environment: &Environment<'_>) -> Option<String> {
        environment.or(self.client_id.as_ref(), CLIENT)
    }

    pub(super) fn client_secret(&self, base: &Path, environment: &Environment<'_>) -> Result<Option<SecretString>> {
        let own = secret(self.client_secret.as_ref(), self.client_secret_file.as_deref(), base)?;
        Ok(own.or_else(|| environment.take(SECRET).map(SecretString::from)))
    }

    /// Whether the config or a variable names a way to authenticate.
    pub(super) fn names_a_way(&self, environment: &Environment<'_>) -> bool {
        self.method.as_deref().is_some_and(|method| method != "auto")
            || self.client_secret.is_some()
            || self.client_secret_file.is_some()
            || self.certificate_file.is_some()
            || self.federated_token_file.is_some()
            || self.token.is_some()
            || self.token_file.is_some()
            || [SECRET, CERTIFICATE, FEDERATED].iter().any(|name| environment.has(name))
    }

    /// What is named when nothing names a method: first by the config, then by the
    /// variables, in the order of Azure's own tools.
    fn method(&self, environment: &Environment<'_>) -> Method {
        if self.client_secret.is_some() || self.client_secret_file.is_some() {
            Method::ClientSecret
        } else if self.certificate_file.is_some() {
            Method::Certificate
        } else if self.federated_token_file.is_some() {
            Method::WorkloadIdentity
        } else if self.token.is_some() || self.token_file.is_some() {
            Method::Bearer
        } else if environment.has(SECRET) {
            Method::ClientSecret
        } else if environment.has(CERTIFICATE) {
            Method::Certificate
        } else if environment.has(FEDERATED) {
            Method::WorkloadIdentity
        } else {
            Method::ClientSecret
        }
    }

    /// Chooses and checks.
    ///
    /// # Errors
    /// Config, naming what is missing and where it can be given.
    pub(super) fn chosen(&self, cloud: &Cloud, base: &Path, environment: &Environment<'_>) -> Result<Chosen> {
        let named = self.method.as_deref().map(Method::named).transpose()?.flatten();
        let method = named.unwrap_or_else(|| self.method(environment));
        let auth = match method {
            Method::Bearer => Auth::Bearer(required(
                secret(self.token.as_ref(), self.token_file.as_deref(), base)?,
                "token or token_file",
                "CALLREC_GRAPH__AUTH__TOKEN",
            )?),
            Method::ManagedIdentity => Auth::ManagedIdentity(self.managed_identity(cloud, environment)?),
            Method::ClientSecret => {
                let secret = self.client_secret(base, environment)?;
                let app = self.app(cloud, environment, Proof::Secret(SecretString::from("")))?;
                let secret = required(secret, "client_secret or client_secret_file", SECRET);
                let secret = secret.map_err(|error| match named {
                    Some(_) => error,
                    None => Error::config("The configuration names no way to authenticate").hint(format!(
                        "give [graph.auth] client_secret_file, certificate_file or federated_token_file, or one of the variables {SECRET}, {CERTIFICATE} and {FEDERATED}; a managed identity only with method = \"managed-identity\""
                    )),
                })?;
                Auth::App(App { proof: Proof::Secret(secret), ..app })
            }
            Method::Certificate => Auth::App(self.app(cloud, environment, self.certificate(base, environment)?)?),
            Method::WorkloadIdentity => {
                let file = self.federated_token_file.as_ref().map(|file| base.join(file));
                let file = file.or_else(|| environment.take(FEDERATED).map(PathBuf::from));
                let proof = Proof::FederatedToken(required(file, "federated_token_file", FEDERATED)?);
                Auth::App(self.app(cloud, environment, proof)?)
            }
        };
        let taken = environment.taken.borrow();
        let variables = taken.iter().copied().collect::<Vec<_>>().join(", ");
        let from = if taken.is_empty() { "the configuration".to_owned() } else { variables };
        let by = if named.is_some() { "as configured" } else { "chosen by what is set" };
        Ok(Chosen { auth, method: format!("{}, {by}; from {from}", method.name()) })
    }

    fn app(&self, cloud: &Cloud, environment: &Environment<'_>, proof: Proof) -> Result<App> {
        let authority = environment.or(self.authority.as_ref(), AUTHORITY);
        let authority = authority.map_or_else(|| cloud.login.to_owned(), with_scheme);
        let authority = url("[graph.auth] authority", &authority)?;
        cloud.check("[graph.auth] authority", &authority)?;
        Ok(App {
            authority,
            tenant_id: required(self.tenant(environment), "tenant_id", TENANT)?,
            client_id: required(self.client(environment), "client_id", CLIENT)?,
            scope: format!("{}/.default", cloud.graph),
            proof,
        })
    }

    fn certificate(&self, base: &Path, environment: &Environment<'_>) -> Result<Proof> {
        let file = self.certificate_file.as_ref().map(|file| base.join(file));
        let file = file.or_else(|| environment.take(CERTIFICATE).map(PathBuf::from));
        let password = secret(self.certificate_password.as_ref(), self.certificate_password_file.as_deref(), base)?;
        let files = CertificateFiles {
            certificate: required(file, "certificate_file", CERTIFICATE)?,
            key: self.certificate_key_file.as_ref().map(|file| base.join(file)),
            password: password.or_else(|| environment.take(PASSWORD).map(SecretString::from)),
        };
        let send_chain = match self.send_certificate_chain {
            Some(send) => send,
            None => environment
                .take(SEND_CHAIN)
                .is_some_and(|text| matches!(text.to_ascii_lowercase().as_str(), "1" | "true")),
        };
        Ok(Proof::Certificate { certificate: Certificate::read(&files)?, send_chain })
    }

    fn managed_identity(&self, cloud: &Cloud, environment: &Environment<'_>) -> Result<ManagedIdentity> {
        let service = match (environment.take(ENDPOINT), environment.take(HEADER)) {
            (Some(endpoint), Some(header)) => {
                IdentityService::AppService { endpoint: url(ENDPOINT, &endpoint)?, header: header.into() }
            }
            (Some(_), None) => {
                return Err(Error::config(format!("{ENDPOINT} is set, and {HEADER} is not"))
                    .hint("start callrec with the whole environment that the platform gives"));
            }
            (None, _) => IdentityService::imds(environment.take(IMDS).as_deref())?,
        };
        Ok(ManagedIdentity { service, client_id: self.client(environment), resource: cloud.graph.to_owned() })
    }
}

/// Azure's tools take a host with and without scheme.
fn with_scheme(host: String) -> String {
    if host.contains("://") { host } else { format!("https://{host}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn chosen(section: &str, variables: &[(&str, &str)]) -> Result<Chosen> {
        let section: AuthSection = toml::from_str(section).unwrap();
        let variables: HashMap<&str, &str> = variables.iter().copied().collect();
        let get = |name: &str| variables.get(name).map(|value| (*value).to_owned());
        section.chosen(&Cloud::named(None).unwrap(), Path::new("/base"), &Environment::new(&get))
    }

    const IDS: [(&str, &str); 2] = [(TENANT, "contoso.example"), (CLIENT, "app")];

    #[test]
    fn the_variables_choose_in_the_order_of_azures_tools() {
        let file = [(FEDERATED, "/run/token")];
        let both = [(SECRET, "s3cret"), (CERTIFICATE, "/none.pem")];
        let taken = chosen("", &[&IDS[..], &both, &file].concat()).unwrap();
        assert_eq!(
            taken.method,
            "client-secret, chosen by what is set; from AZURE_CLIENT_ID, AZURE_CLIENT_SECRET, AZURE_TENANT_ID"
        );
        let error = chosen("", &[&IDS[..], &both[1..], &file].concat()).err().unwrap().to_string();
        assert!(error.contains("/none.pem"), "the certificate comes before the token: {error}");
        let taken = chosen("method = \"auto\"", &[&IDS[..], &file].concat()).unwrap();
        assert!(taken.method.starts_with("workload-identity") && taken.method.contains(FEDERATED), "{}", taken.method);
        let Auth::App(App { proof: Proof::FederatedToken(path), .. }) = taken.auth else { panic!() };
        assert_eq!(path, Path::new("/run/token"));
    }

    #[test]
    fn the_config_comes_before_the_variables_and_a_named_method_before_both() {
        let all = [&IDS[..], &[(SECRET, "s3cret"), (FEDERATED, "/run/token")]].concat();
        let taken = chosen("federated_token_file = \"token\"", &all).unwrap();
        let Auth::App(App { proof: Proof::FederatedToken(path), .. }) = taken.auth else { panic!() };
        assert_eq!(path, Path::new("/base/token"));
        let taken = chosen("method = \"workload-identity\"", &all).unwrap();
        assert!(taken.method.starts_with("workload-identity, as configured"), "{}", taken.method);
        let taken = chosen("token = \"t\"", &all).unwrap();
        assert_eq!(taken.method, "bearer, chosen by what is set; from the configuration");
    }

    #[test]
    fn the_authority_may_lack_its_scheme() {
        for host in ["login.microsoftonline.com", "https://login.microsoftonline.com/", "login.microsoftonline.com/"] {
            let all = [&IDS[..], &[(SECRET, "s"), (AUTHORITY, host)]].concat();
            let Auth::App(app) = chosen("", &all).unwrap().auth else { panic!() };
            assert_eq!(app.authority.as_str(), "https://login.microsoftonline.com/");
        }
        let foreign = [&IDS[..], &[(SECRET, "s"), (AUTHORITY, "login.microsoftonline.us")]].concat();
        let error = chosen("", &foreign).err().unwrap().to_string();
        assert!(error.contains("us-gov-l4 or us-gov-l5"), "{error}");
    }

    #[test]
    fn what_is_missing_is_named_and_values_are_not() {
        let error = chosen("", &IDS).err().unwrap().to_string();
        assert!(error.contains(SECRET) && error.contains(CERTIFICATE) && error.contains("managed-identity"), "{error}");
        let error = chosen("method = \"client-secret\"", &IDS).err().unwrap().to_string();
        assert!(error.contains("client_secret_file"), "{error}");
        let error = chosen("method = \"certificate\"", &IDS).err().unwrap().to_string();
        assert!(error.contains("certificate_file") && error.contains(CERTIFICATE), "{error}");
        let error = chosen("method = \"managed-identity\"", &[(ENDPOINT, "http://127.0.0.1:1")]).err().unwrap();
        assert!(error.to_string().contains(HEADER), "{error}");
        let error = chosen("method = \"magic\"", &[]).err().unwrap().to_string();
        assert!(error.contains("workload-identity"), "{error}");
    }

    #[test]
    fn a_managed_identity_is_asked_for_where_the_platform_says() {
        let at = [(ENDPOINT, "http://127.0.0.1:7/msi/token"), (HEADER, "h3ader"), (CLIENT, "mine")];
        let taken = chosen("method = \"managed-identity\"", &at).unwrap();
        assert!(!format!("{:?} {}", taken.auth, taken.method).contains("h3ader"));
        let Auth::ManagedIdentity(identity) = taken.auth else { panic!() };
        assert!(matches!(identity.service, IdentityService::AppService { .. }));
        assert_eq!(
            (identity.client_id.as_deref(), identity.resource.as_str()),
            (Some("mine"), "https://graph.microsoft.com")
        );
        let taken = chosen("method = \"managed-identity\"", &[]).unwrap();
        assert!(taken.method.ends_with("from the configuration"), "{}", taken.method);
        let Auth::ManagedIdentity(identity) = taken.auth else { panic!() };
        let IdentityService::Imds { root } = identity.service else { panic!() };
        assert_eq!(root.as_str(), "http://169.254.169.254/");
    }
}
