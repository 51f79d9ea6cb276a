use alloc::sync::Arc;
use alloc::vec;
use core::fmt;
use core::time::Duration;

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, UnixTime};

use super::Identity;
use super::resumption::Tickets;

/// The time of day, for the validity of certificates.
pub trait WallClock: fmt::Debug + Send + Sync {
    /// The time since 1970-01-01 00:00 UTC, `None` while it is not known.
    fn now(&self) -> Option<Duration>;
}

/// What is trusted and who we are, for any number of sessions. Cheap to clone.
#[derive(Clone, Debug)]
pub struct TlsConfig {
    pub(super) client: Arc<ClientConfig>,
}

impl TlsConfig {
    /// Trusts every certificate in `roots`, a list of PEM files, and nothing else. `identity` is shown to servers
    /// that ask for one.
    ///
    /// # Errors
    /// [`SetupError`] names the file by its place in `roots`.
    pub fn new(
        roots: &[&[u8]],
        identity: Option<Identity>,
        clock: Arc<dyn WallClock>,
    ) -> Result<Self, SetupError> {
        Self::with_provider(provider(), roots, identity, clock)
    }

    /// The same with other primitives than [`provider`]'s, such as those whose random numbers a test can repeat.
    ///
    /// # Errors
    /// As [`TlsConfig::new`].
    pub fn with_provider(
        provider: CryptoProvider,
        roots: &[&[u8]],
        identity: Option<Identity>,
        clock: Arc<dyn WallClock>,
    ) -> Result<Self, SetupError> {
        let store = read_roots(roots)?;
        let builder =
            ClientConfig::builder_with_details(Arc::new(provider), Arc::new(CertificateClock(clock)))
                .with_safe_default_protocol_versions()
                .map_err(|_| SetupError::Provider)?
                .with_root_certificates(store);
        let mut client = match identity {
            Some(identity) => builder.with_client_cert_resolver(Arc::new(identity)),
            None => builder.with_no_client_auth(),
        };
        // Go's servers would choose h2 if it were offered, and refuse a list that has nothing for them.
        client.alpn_protocols = vec![b"http/1.1".to_vec()];
        client.resumption = Resumption::store(Arc::new(Tickets::default()));
        Ok(TlsConfig { client: Arc::new(client) })
    }
}

fn read_roots(files: &[&[u8]]) -> Result<RootCertStore, SetupError> {
    let mut store = RootCertStore::empty();
    for (file, pem) in files.iter().enumerate() {
        let before = store.len();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|_| SetupError::RootMalformed { file })?;
            store.add(certificate).map_err(|_| SetupError::RootMalformed { file })?;
        }
        if store.len() == before {
            return Err(SetupError::NoRoot { file });
        }
    }
    if store.is_empty() { Err(SetupError::NoRoots) } else { Ok(store) }
}

/// RustCrypto's primitives, with ChaCha20 in front: without vector registers it is the faster one, and unlike table
/// lookups it takes the same time for every key. Random numbers are `getrandom`'s.
#[must_use]
pub fn provider() -> CryptoProvider {
    use rustls_rustcrypto as rc;
    CryptoProvider {
        cipher_suites: vec![
            rc::TLS13_CHACHA20_POLY1305_SHA256,
            rc::TLS13_AES_128_GCM_SHA256,
            rc::TLS13_AES_256_GCM_SHA384,
            rc::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
            rc::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
            rc::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            rc::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
            rc::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
            rc::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        ],
        ..rc::provider()
    }
}

#[derive(Debug)]
struct CertificateClock(Arc<dyn WallClock>);

impl TimeProvider for CertificateClock {
    fn current_time(&self) -> Option<UnixTime> {
        self.0.now().map(UnixTime::since_unix_epoch)
    }
}

/// Why the provisioned files make no configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetupError {
    /// No file with roots was given.
    NoRoots,
    /// A file holds no certificate.
    NoRoot {
        /// Its place in the list.
        file: usize,
    },
    /// A file holds something that is no certificate, or one that cannot be a root.
    RootMalformed {
        /// Its place in the list.
        file: usize,
    },
    /// The client certificate's file holds no certificate, or something else.
    IdentityMalformed,
    /// The key's file holds no P-256 private key in PKCS#8 or SEC1 form.
    KeyMalformed,
    /// The key is not the one that the certificate speaks of.
    KeyOfAnother,
    /// Ours: the provider lacks what the protocol versions need.
    Provider,
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SetupError::NoRoots => f.write_str("no root certificate is provisioned"),
            SetupError::NoRoot { file } => write!(f, "root certificate file {file} holds no certificate"),
            SetupError::RootMalformed { file } => {
                write!(f, "root certificate file {file} holds a malformed certificate")
            }
            SetupError::IdentityMalformed => f.write_str("the client certificate is missing or malformed"),
            SetupError::KeyMalformed => {
                f.write_str("the client key is not a P-256 key in PKCS#8 or SEC1 form")
            }
            SetupError::KeyOfAnother => {
                f.write_str("the client key does not belong to the client certificate")
            }
            SetupError::Provider => f.write_str("the cryptographic provider serves no TLS version"),
        }
    }
}

impl core::error::Error for SetupError {}
