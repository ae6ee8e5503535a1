//! The server's side of https, with files that may change while it serves.

use super::counts::{Counts, add};
use super::server::told;
use crate::error::{Error, Result};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, SupportedProtocolVersion, version};

/// What is spoken: nothing older.
const VERSIONS: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];
/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(60);

/// What new connections are served with.
#[derive(Clone)]
pub(super) struct Served(Arc<RwLock<Arc<ServerConfig>>>);

impl Served {
    /// What accepts a connection with the certificate of now.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.0.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

/// The files of certificate and key, which are taken anew when they change.
pub(super) struct Files {
    certificate: PathBuf,
    key: PathBuf,
    served: Served,
    /// What they held when they were last looked at; `None` if they could not be read.
    seen: Option<[u8; 32]>,
    counts: Arc<Counts>,
    hangup: Hangup,
}

impl Files {
    /// Takes what the files hold; to be called inside a runtime. From now on SIGHUP
    /// does not end the process.
    ///
    /// # Errors
    /// By class configuration, if that cannot be used.
    pub(super) fn open(certificate: &Path, key: &Path, counts: Arc<Counts>) -> Result<Self> {
        let read = Read::of(certificate, key)?;
        let served = Served(Arc::new(RwLock::new(Arc::new(read.config(certificate, key)?))));
        let (certificate, key) = (certificate.to_owned(), key.to_owned());
        Ok(Self { certificate, key, served, seen: Some(read.digest()), counts, hangup: Hangup::new() })
    }

    /// What connections are served with.
    pub(super) fn served(&self) -> Served {
        self.served.clone()
    }

    /// Looks at the files each minute, and at SIGHUP, until the end is wanted.
    pub(super) async fn watch(mut self, mut stopped: watch::Receiver<bool>) {
        loop {
            let asked = tokio::select! {
                () = told(&mut stopped) => return,
                () = self.hangup.comes() => true,
                () = tokio::time::sleep(LOOK) => false,
            };
            self.look(asked);
        }
    }

    /// Takes the files if they hold something else than before, or if that was asked
    /// for. What cannot be used is said once, and changes nothing: certificate and key
    /// are replaced one after the other.
    fn look(&mut self, asked: bool) {
        let read = Read::of(&self.certificate, &self.key);
        let seen = read.as_ref().ok().map(Read::digest);
        if seen == self.seen && !asked {
            return;
        }
        self.seen = seen;
        match read.and_then(|read| read.config(&self.certificate, &self.key)) {
            Ok(config) => {
                *self.served.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
                tracing::info!(file = %self.certificate.display(), "new connections get the certificate of this file");
            }
            Err(error) => {
                add(&self.counts.certificate_failures, 1);
                tracing::error!("new connections get the certificate that was there before: {error}");
            }
        }
    }
}

/// The bytes of both files.
struct Read {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Read {
    fn of(certificate: &Path, key: &Path) -> Result<Self> {
        let read = |path: &Path| std::fs::read(path).map_err(|e| unusable(path, &e));
        Ok(Self { certificate: read(certificate)?, key: read(key)? })
    }

    fn digest(&self) -> [u8; 32] {
        let both = Sha256::new().chain_update(Sha256::digest(&self.certificate));
        both.chain_update(Sha256::digest(&self.key)).finalize().into()
    }

    /// How connections are served with them.
    fn config(&self, certificate: &Path, key: &Path) -> Result<ServerConfig> {
        let certificates = CertificateDer::pem_slice_iter(&self.certificate)
            .collect::<Result<Vec<_>, pem::Error>>()
            .map_err(|e| unusable(certificate, &e))?;
        let private = PrivateKeyDer::from_pem_slice(&self.key).map_err(|e| unusable(key, &e))?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&VERSIONS)
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(certificates, private))
            .map_err(|e| unusable(certificate, &e))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

fn unusable(path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::config(format!("Cannot use {} of [listen]", path.display()))
        .hint("give a certificate and its private key, both as PEM files that the user of callrec may read")
        .because(error.to_string())
}

#[cfg(unix)]
struct Hangup(Option<tokio::signal::unix::Signal>);

#[cfg(unix)]
impl Hangup {
    fn new() -> Self {
        Self(tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()).ok())
    }

    async fn comes(&mut self) {
        let comes = match &mut self.0 {
            Some(signal) => signal.recv().await,
            None => None,
        };
        if comes.is_none() {
            std::future::pending().await
        }
    }
}

#[cfg(not(unix))]
struct Hangup;

#[cfg(not(unix))]
impl Hangup {
    const fn new() -> Self {
        Self
    }

    async fn comes(&mut self) {
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::{PRIVATE, remove_if_there, write_atomically};
    use rcgen::{CertifiedKey, generate_simple_self_signed};
    use std::sync::atomic::Ordering;
    use tokio_rustls::rustls::ProtocolVersion;

    #[test]
    fn nothing_older_than_tls_1_2_is_spoken() {
        let spoken = VERSIONS.map(|version| version.version);
        assert_eq!(spoken, [ProtocolVersion::TLSv1_3, ProtocolVersion::TLSv1_2]);
    }

    #[tokio::test]
    async fn files_are_taken_when_they_change_and_fit() {
        let home = tempfile::tempdir().unwrap();
        let (certificate, key) = (home.path().join("server.pem"), home.path().join("server.key"));
        let write = |path: &Path, text: &str| write_atomically(path, text.as_bytes(), PRIVATE).unwrap();
        let [one, other] = [(); 2].map(|()| generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap());
        let CertifiedKey { cert, signing_key } = &one;
        write(&certificate, &cert.pem());
        write(&key, &signing_key.serialize_pem());
        let counts = Arc::new(Counts::default());
        let mut files = Files::open(&certificate, &key, counts.clone()).unwrap();
        let served = |files: &Files| files.served.0.read().unwrap().clone();
        let failures = || counts.certificate_failures.load(Ordering::Relaxed);
        let first = served(&files);
        files.look(false);
        assert!(Arc::ptr_eq(&first, &served(&files)), "nothing has changed");
        // The new certificate is there and its key is not yet; then none can be read.
        write(&certificate, &other.cert.pem());
        for _ in 0..2 {
            files.look(false);
            assert!(Arc::ptr_eq(&first, &served(&files)));
            assert_eq!(failures(), 1, "said once");
        }
        remove_if_there(&key).unwrap();
        for _ in 0..2 {
            files.look(false);
            assert_eq!(failures(), 2);
        }
        files.look(true);
        assert_eq!(failures(), 3, "said whenever it was asked for");
        write(&key, &other.signing_key.serialize_pem());
        files.look(false);
        let second = served(&files);
        assert!(!Arc::ptr_eq(&first, &second));
        files.look(false);
        assert!(Arc::ptr_eq(&second, &served(&files)));
        files.look(true);
        assert!(!Arc::ptr_eq(&second, &served(&files)), "asked for, it is taken anew");
        assert_eq!(failures(), 3);
    }
}
