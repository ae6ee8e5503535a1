//! What an app proves itself with at the token service: assertions that its
//! certificate's key has signed, and tokens of an issuer that it trusts. All of it
//! is checked, as Entra ID does.

use super::server::lock;
use super::settings::Settings;
use crate::error::{Error, Result};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::collections::HashSet;
use std::path::Path;
use std::sync::Mutex;

/// Who federated tokens are for.
const AUDIENCE: &str = "api://AzureADTokenExchange";
/// How far clocks may differ, and how long an assertion may be good.
const SKEW: i64 = 300;
const LONGEST: i64 = 600;

/// A refusal: status, error and AADSTS number.
pub(super) type Refused = (u16, &'static str, u32);

const MALFORMED: Refused = (400, "invalid_request", 50_027);
const UNKNOWN_KEY: Refused = (401, "invalid_client", 700_027);
const OUT_OF_TIME: Refused = (401, "invalid_client", 700_024);

/// The certificates that are known, and the assertions that were used.
#[derive(Debug, Default)]
pub(super) struct Proofs {
    registered: Option<Vec<u8>>,
    issuer: Option<Vec<u8>>,
    subject: String,
    used: Mutex<HashSet<String>>,
}

impl Proofs {
    /// # Errors
    /// Config: a file is no certificate in PEM.
    pub(super) fn open(settings: &Settings) -> Result<Self> {
        Ok(Self {
            registered: settings.certificate.as_deref().map(certificate).transpose()?,
            issuer: settings.federated_issuer.as_deref().map(certificate).transpose()?,
            subject: settings.federated_subject.clone(),
            used: Mutex::default(),
        })
    }

    /// Checks an assertion of `client` for the token end point `audience` at `now`.
    pub(super) fn check(&self, assertion: &str, audience: &str, client: &str, now: i64) -> Result<(), Refused> {
        let jwt = Jwt::read(assertion).ok_or(MALFORMED)?;
        if jwt.claim("iss") == client {
            self.check_signed(&jwt, audience, client, now)
        } else {
            self.check_federated(&jwt, now)
        }
    }

    fn check_signed(&self, jwt: &Jwt<'_>, audience: &str, client: &str, now: i64) -> Result<(), Refused> {
        let der = self.registered.as_ref().ok_or(UNKNOWN_KEY)?;
        if jwt.header["alg"] != "PS256" || jwt.header["typ"] != "JWT" {
            return Err(MALFORMED);
        }
        if jwt.header["x5t#S256"] != URL_SAFE_NO_PAD.encode(Sha256::digest(der)).as_str() {
            return Err(UNKNOWN_KEY);
        }
        if jwt.header.get("x5c").is_some_and(|chain| chain[0] != STANDARD.encode(der).as_str()) {
            return Err(UNKNOWN_KEY);
        }
        if !jwt.is_signed_by(der, &signature::RSA_PSS_2048_8192_SHA256) {
            return Err(UNKNOWN_KEY);
        }
        if jwt.claim("sub") != client {
            return Err((401, "invalid_client", 700_021));
        }
        if jwt.claim("aud") != audience {
            return Err((401, "invalid_client", 700_023));
        }
        jwt.check_time(now)?;
        let (Some(begin), Some(end)) = (jwt.claims["nbf"].as_i64(), jwt.claims["exp"].as_i64()) else {
            return Err(OUT_OF_TIME);
        };
        if end - begin > LONGEST || jwt.claims["iat"].as_i64().is_none() {
            return Err(OUT_OF_TIME);
        }
        let id = jwt.claim("jti");
        if uuid::Uuid::try_parse(id).is_err() || !lock(&self.used).insert(id.to_owned()) {
            return Err(MALFORMED);
        }
        Ok(())
    }

    fn check_federated(&self, jwt: &Jwt<'_>, now: i64) -> Result<(), Refused> {
        let issuer = self.issuer.as_ref().ok_or((401, "invalid_client", 700_211))?;
        if jwt.header["alg"] != "RS256" {
            return Err(MALFORMED);
        }
        if !jwt.is_signed_by(issuer, &signature::RSA_PKCS1_2048_8192_SHA256) {
            return Err((401, "invalid_client", 50_013));
        }
        let audience = &jwt.claims["aud"];
        if audience != AUDIENCE && audience[0] != AUDIENCE {
            return Err((401, "invalid_client", 700_212));
        }
        if jwt.claim("sub") != self.subject {
            return Err((401, "invalid_client", 700_213));
        }
        jwt.check_time(now)
    }
}

/// A JWT taken apart.
struct Jwt<'a> {
    header: Value,
    claims: Value,
    signed: &'a [u8],
    signature: Vec<u8>,
}

impl<'a> Jwt<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let json = |part: &str| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok();
        Some(Self {
            header: json(header)?,
            claims: json(claims)?,
            signed: signed.as_bytes(),
            signature: URL_SAFE_NO_PAD.decode(signature).ok()?,
        })
    }

    fn claim(&self, name: &str) -> &str {
        self.claims[name].as_str().unwrap_or_default()
    }

    fn is_signed_by(&self, der: &[u8], algorithm: &'static dyn VerificationAlgorithm) -> bool {
        x509_parser::parse_x509_certificate(der).is_ok_and(|(_, certificate)| {
            let key = certificate.public_key().subject_public_key.data.to_vec();
            UnparsedPublicKey::new(algorithm, key).verify(self.signed, &self.signature).is_ok()
        })
    }

    fn check_time(&self, now: i64) -> Result<(), Refused> {
        let begin = self.claims["nbf"].as_i64().or(self.claims["iat"].as_i64());
        let end = self.claims["exp"].as_i64();
        match (begin, end) {
            (Some(begin), Some(end)) if begin <= now + SKEW && now < end + SKEW => Ok(()),
            _ => Err(OUT_OF_TIME),
        }
    }
}

fn certificate(path: &Path) -> Result<Vec<u8>> {
    let unusable = |cause: String| {
        Error::config(format!("The simulator cannot use {}", path.display()))
            .hint("give a file with a certificate as PEM")
            .because(cause)
    };
    let der = CertificateDer::from_pem_file(path).map_err(|e| unusable(e.to_string()))?;
    x509_parser::parse_x509_certificate(&der).map_err(|e| unusable(e.to_string()))?;
    Ok(der.to_vec())
}
