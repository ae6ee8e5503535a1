//! The signed statement with which an app proves that it has the key of its
//! certificate: a JWT of a few minutes, another one for each request.

use super::certificate::Certificate;
use crate::error::Error;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use secrecy::SecretString;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// What Entra ID takes at most is ten minutes.
const SECONDS: i64 = 600;

#[derive(Serialize)]
struct Header {
    alg: &'static str,
    typ: &'static str,
    #[serde(rename = "x5t#S256")]
    thumbprint: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    x5c: Option<Vec<String>>,
}

#[derive(Serialize)]
struct Claims<'a> {
    aud: &'a str,
    iss: &'a str,
    sub: &'a str,
    jti: Uuid,
    nbf: i64,
    iat: i64,
    exp: i64,
}

/// A new assertion for the token end point `audience`.
///
/// # Errors
/// Access: the certificate is not in force at `now`.
pub(super) fn signed(
    certificate: &Certificate,
    with_chain: bool,
    audience: &str,
    client_id: &str,
    now: DateTime<Utc>,
) -> Result<SecretString, Error> {
    certificate.check_time(now)?;
    let chain = certificate.chain();
    let header = Header {
        alg: "PS256",
        typ: "JWT",
        thumbprint: URL_SAFE_NO_PAD.encode(Sha256::digest(chain.first().map_or(&[][..], Vec::as_slice))),
        x5c: with_chain.then(|| chain.iter().map(|der| STANDARD.encode(der)).collect()),
    };
    let now = now.timestamp();
    let claims = Claims {
        aud: audience,
        iss: client_id,
        sub: client_id,
        jti: Uuid::new_v4(),
        nbf: now,
        iat: now,
        exp: now + SECONDS,
    };
    let failed = |e| Error::access("cannot write a client assertion").because(e);
    let header = serde_json::to_vec(&header).map_err(failed)?;
    let claims = serde_json::to_vec(&claims).map_err(failed)?;
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = certificate.sign(message.as_bytes())?;
    Ok(SecretString::from(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))))
}
