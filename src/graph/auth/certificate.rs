//! A certificate with its private key: read from PEM or PFX, checked, and used
//! to sign.
//!
//! Refuses a key that does not belong to the certificate, keys that are not RSA
//! with 2048 to 4096 bits, and signing outside the certificate's time.

use crate::error::Error;
use chrono::{DateTime, TimeDelta, Utc};
use p12_keystore::Pkcs12Archive;
use ring::rand::SystemRandom;
use ring::signature::{self, KeyPair as _, RsaKeyPair};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use secrecy::{ExposeSecret as _, SecretString};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tracing::warn;

/// From so long before its end on a certificate is warned of.
const SOON: TimeDelta = TimeDelta::days(30);

/// Where the parts of a certificate are.
#[derive(Clone, Debug)]
pub struct CertificateFiles {
    /// PEM with the certificate, and the key unless `key` names it; or PFX.
    pub certificate: PathBuf,
    /// PEM with the private key.
    pub key: Option<PathBuf>,
    /// What opens the PFX.
    pub password: Option<SecretString>,
}

/// A certificate that proves who the app is. Clones share the key.
#[derive(Clone)]
pub struct Certificate {
    inner: Arc<Inner>,
}

struct Inner {
    /// For messages.
    path: PathBuf,
    /// DER, the own certificate first.
    chain: Vec<Vec<u8>>,
    key: RsaKeyPair,
    not_before: DateTime<Utc>,
    not_after: DateTime<Utc>,
}

impl fmt::Debug for Certificate {
    /// Shows no key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({})", self.inner.path.display())
    }
}

/// What a file gave: certificates in its order, and the key as PKCS#8 or PKCS#1.
struct Parts {
    certificates: Vec<Vec<u8>>,
    key: PrivateKeyDer<'static>,
}

impl Certificate {
    /// Reads certificate and key.
    ///
    /// # Errors
    /// Config: a file cannot be read or used; says which and why.
    pub fn read(files: &CertificateFiles) -> Result<Self, Error> {
        let path = &files.certificate;
        let bytes = read(path)?;
        let parts = if is_pem(&bytes) {
            let key = files.key.as_deref().map(|key| Ok::<_, Error>((key, read(key)?))).transpose()?;
            let (key_path, key) = key.as_ref().map_or((path.as_path(), &bytes), |(path, bytes)| (*path, bytes));
            warn_if_open(key_path);
            from_pem(path, &bytes, key_path, key)?
        } else {
            if files.key.is_some() {
                return Err(Error::config(format!("{} is no PEM file, so that it takes no key file", path.display()))
                    .hint("a PFX holds its key: leave out [graph.auth] certificate_key_file"));
            }
            warn_if_open(path);
            from_pfx(path, &bytes, files.password.as_ref())?
        };
        Self::new(path, parts)
    }

    fn new(path: &Path, parts: Parts) -> Result<Self, Error> {
        let key = match &parts.key {
            PrivateKeyDer::Pkcs8(key) => RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()),
            PrivateKeyDer::Pkcs1(key) => RsaKeyPair::from_der(key.secret_pkcs1_der()),
            _ => return Err(no_rsa(path, "another kind of key")),
        };
        let key = key.map_err(|rejected| no_rsa(path, &rejected.to_string()))?;
        let mut own = None;
        for (place, der) in parts.certificates.iter().enumerate() {
            let (_, parsed) = x509_parser::parse_x509_certificate(der).map_err(|_| {
                Error::config(format!("{} holds a certificate that cannot be read", path.display()))
                    .hint("give an X.509 certificate, as it was uploaded to the app registration")
            })?;
            if own.is_none() && parsed.public_key().subject_public_key.data.as_ref() == key.public_key().as_ref() {
                own = Some((place, parsed.validity().not_before, parsed.validity().not_after));
            }
        }
        let Some((place, not_before, not_after)) = own else {
            return Err(Error::config(format!("the private key does not belong to the certificate in {}", path.display()))
                .hint("give the key from which this certificate was made; `openssl x509 -noout -pubkey` and `openssl pkey -pubout` must print the same"));
        };
        let instant = |time: x509_parser::time::ASN1Time| DateTime::from_timestamp(time.timestamp(), 0);
        let mut chain = parts.certificates;
        chain[..=place].rotate_right(1);
        Ok(Self {
            inner: Arc::new(Inner {
                path: path.to_owned(),
                chain,
                key,
                not_before: instant(not_before).unwrap_or(DateTime::<Utc>::MAX_UTC),
                not_after: instant(not_after).unwrap_or(DateTime::<Utc>::MIN_UTC),
            }),
        })
    }

    /// DER of the certificate, and of what leads to its root if the file has it.
    pub(super) fn chain(&self) -> &[Vec<u8>] {
        &self.inner.chain
    }

    /// Whether the certificate is in force at `now`.
    ///
    /// # Errors
    /// Access: it has ended or has not begun.
    pub(super) fn check_time(&self, now: DateTime<Utc>) -> Result<(), Error> {
        let Inner { path, not_before, not_after, .. } = &*self.inner;
        let path = path.display();
        if now > *not_after {
            return Err(Error::access(format!("the certificate in {path} has ended, on {not_after}"))
                .hint("upload a new one to the app registration and name its file; or mend this machine's clock"));
        }
        if now < *not_before {
            return Err(Error::access(format!("the certificate in {path} is not valid before {not_before}"))
                .hint("mend this machine's clock, or use a certificate that is in force"));
        }
        if *not_after - now < SOON {
            warn!(file = %path, end = %not_after, "the certificate ends soon; upload a new one to the app registration");
        }
        Ok(())
    }

    /// The signature of PS256: RSASSA-PSS with SHA-256.
    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let mut signed = vec![0; self.inner.key.public().modulus_len()];
        self.inner
            .key
            .sign(&signature::RSA_PSS_SHA256, &SystemRandom::new(), message, &mut signed)
            .map_err(|_| Error::access(format!("cannot sign with the key of {}", self.inner.path.display())))?;
        Ok(signed)
    }
}

fn from_pem(path: &Path, certificates: &[u8], key_path: &Path, key: &[u8]) -> Result<Parts, Error> {
    let unusable = |path: &Path| Error::config(format!("{} is not valid PEM", path.display()));
    let certificates: Vec<Vec<u8>> = CertificateDer::pem_slice_iter(certificates)
        .map(|one| one.map(|der| der.to_vec()))
        .collect::<Result<_, _>>()
        .map_err(|_| unusable(path).hint("copy the file again, with its BEGIN and END lines"))?;
    if certificates.is_empty() {
        return Err(Error::config(format!("{} holds no certificate", path.display()))
            .hint("give a PEM file with BEGIN CERTIFICATE, or a PFX"));
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| {
        let is_encrypted = memchr::memmem::find(key, b"ENCRYPTED").is_some();
        let hint = if is_encrypted {
            "keys in encrypted PEM are not read: make a PFX with a password, or decrypt it with `openssl pkey`"
        } else {
            "append the private key to the file, or name its file in [graph.auth] certificate_key_file"
        };
        Error::config(format!("{} holds no private key that can be read", key_path.display())).hint(hint)
    })?;
    Ok(Parts { certificates, key })
}

fn from_pfx(path: &Path, bytes: &[u8], password: Option<&SecretString>) -> Result<Parts, Error> {
    use p12_keystore::error::Error as Pfx;
    let shown = path.display();
    let opened = Pkcs12Archive::from_pkcs12(bytes, password.map_or("", |password| password.expose_secret()));
    let archive = opened.map_err(|error| match error {
        Pfx::MacError(_) | Pfx::UnpadError | Pfx::Pkcs5Error(_) if password.is_some() => {
            Error::config(format!("the password does not open {shown}"))
                .hint("give the one with which the PFX was exported, without a line end that is no part of it")
        }
        Pfx::MacError(_) | Pfx::UnpadError | Pfx::Pkcs5Error(_) => Error::config(format!("{shown} has a password"))
            .hint("give it in [graph.auth] certificate_password_file or AZURE_CLIENT_CERTIFICATE_PASSWORD"),
        _ => Error::config(format!("{shown} is neither PEM nor a PFX that can be read"))
            .hint("export it again as PKCS#12 with AES-256 or 3DES, or convert it to PEM with `openssl pkcs12 -nodes`"),
    })?;
    let [key] = archive.keys.as_slice() else {
        return Err(Error::config(format!("{shown} holds {} private keys", archive.keys.len()))
            .hint("export one certificate together with its private key"));
    };
    let key = PrivateKeyDer::Pkcs8(key.key.as_der().to_vec().into());
    Ok(Parts { certificates: archive.certs.iter().map(|bag| bag.cert.as_der().to_vec()).collect(), key })
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|e| {
        Error::config(format!("cannot read the certificate file {}", path.display()))
            .hint("check the path and its permissions")
            .because(e)
    })
}

fn is_pem(bytes: &[u8]) -> bool {
    memchr::memmem::find(bytes, b"-----BEGIN ").is_some()
}

fn no_rsa(path: &Path, why: &str) -> Error {
    Error::config(format!("the private key of {} cannot be used ({why})", path.display()))
        .hint("Entra ID takes RSA keys with 2048 to 4096 bits: make a new certificate with one")
}

/// Says so if others may read a file with a key.
#[cfg(unix)]
fn warn_if_open(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(path).map_or(0, |meta| meta.permissions().mode() & 0o777);
    if mode & 0o077 != 0 {
        warn!(
            file = %path.display(),
            mode = format!("{mode:04o}"),
            "others may read this private key; chmod 0600 it"
        );
    }
}

#[cfg(not(unix))]
fn warn_if_open(_: &Path) {}
