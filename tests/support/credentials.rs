//! Keys and certificates of `tests/credentials`, and JWTs that they sign.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "every test binary uses another part"
)]

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Datelike as _, Utc};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaEncoding, RsaKeyPair};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The password of the files that have one.
pub const PASSWORD: &str = "fixture-password";

pub fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/credentials").join(name)
}

pub fn text(name: &str) -> String {
    std::fs::read_to_string(file(name)).unwrap()
}

/// A certificate of `app.key` that is in force from one year to another, as PEM.
pub fn certificate_of(years: std::ops::Range<i32>) -> String {
    let begin = |year| chrono::NaiveDate::from_ymd_opt(year, 1, 1).unwrap().and_time(chrono::NaiveTime::MIN).and_utc();
    certificate_between(begin(years.start), begin(years.end))
}

/// A certificate of `app.key` that is in force from the day of one instant to
/// that of another, as PEM.
pub fn certificate_between(begin: DateTime<Utc>, end: DateTime<Utc>) -> String {
    let day = |at: DateTime<Utc>| rcgen::date_time_ymd(at.year(), at.month() as u8, at.day() as u8);
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.not_before = day(begin);
    params.not_after = day(end);
    let key = rcgen::KeyPair::from_pem(&text("app.key")).unwrap();
    params.self_signed(&key).unwrap().pem()
}

/// A JWT of these parts, signed by the key in `key` with RS256.
pub fn jwt(key: &str, header: &Value, claims: &Value) -> String {
    jwt_with(&RSA_PKCS1_SHA256, key, header, claims)
}

/// As [`jwt`], signed another way.
pub fn jwt_with(algorithm: &'static dyn RsaEncoding, key: &str, header: &Value, claims: &Value) -> String {
    let key = PrivatePkcs8KeyDer::from_pem_slice(text(key).as_bytes()).unwrap();
    let key = RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()).unwrap();
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(algorithm, &SystemRandom::new(), message.as_bytes(), &mut signature).unwrap();
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}
