//! A certificate for a server on 127.0.0.1, and the root that vouches for it.

#![allow(clippy::disallowed_methods, reason = "files of a test")]

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use std::path::{Path, PathBuf};

/// The files of a certificate, all PEM.
pub struct Certificate {
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// What a client must trust.
    pub root: PathBuf,
}

impl Certificate {
    /// Writes a new one to `directory`.
    pub fn write(directory: &Path) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = authority.self_signed(&key).unwrap();
        let issuer = Issuer::new(authority, key);
        let own = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let written = |name: &str, pem: String| {
            let path = directory.join(name);
            std::fs::write(&path, pem).unwrap();
            path
        };
        Self {
            certificate: written("server.pem", params.signed_by(&own, &issuer).unwrap().pem()),
            key: written("server.key", own.serialize_pem()),
            root: written("root.pem", root.pem()),
        }
    }
}
