//! The server's side of https.

use crate::error::{Error, Result};
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, SupportedProtocolVersion, version};

/// What is spoken: nothing older.
const VERSIONS: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];

/// What accepts connections with that certificate.
pub(super) fn acceptor(certificate: &Path, key: &Path) -> Result<TlsAcceptor> {
    let unusable = |path: &Path, error: &dyn std::fmt::Display| {
        Error::config(format!("Cannot use {} of [listen]", path.display()))
            .hint("give a certificate and its private key, both as PEM files that the user of callrec may read")
            .because(error.to_string())
    };
    let certificates = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, pem::Error>>)
        .map_err(|e| unusable(certificate, &e))?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|e| unusable(key, &e))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&VERSIONS)
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(certificates, private))
        .map_err(|e| unusable(certificate, &e))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_rustls::rustls::ProtocolVersion;

    #[test]
    fn nothing_older_than_tls_1_2_is_spoken() {
        let spoken = VERSIONS.map(|version| version.version);
        assert_eq!(spoken, [ProtocolVersion::TLSv1_3, ProtocolVersion::TLSv1_2]);
    }
}
