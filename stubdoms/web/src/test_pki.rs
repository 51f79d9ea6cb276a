//! Certificates for the tests, made by rcgen when they are needed, and servers that show them. RSA keys cannot be
//! made by ring, so there is one from OpenSSL 3.0: `openssl genpkey -algorithm RSA`.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, date_time_ymd,
};
use rustls::crypto::CryptoProvider;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, NoClientAuth, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion, version};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::tls::WallClock;

/// 2027-01-15, within the validity of all certificates here.
pub(crate) const NOW: Duration = Duration::from_secs(1_800_000_000);

const RSA_KEY: &str = include_str!("../tests/fixtures/rsa2048.key.pem");

#[derive(Debug)]
pub(crate) struct TestClock(pub(crate) Option<Duration>);

impl WallClock for TestClock {
    fn now(&self) -> Option<Duration> {
        self.0
    }
}

pub(crate) fn ring() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// A root and what it signs; root and servers have keys of one kind.
pub(crate) struct Pki {
    kind: &'static str,
    root: CertifiedIssuer<'static, KeyPair>,
}

impl Pki {
    pub(crate) const KEYS: [&'static str; 3] = ["p256", "p384", "rsa2048"];

    pub(crate) fn new(kind: &'static str) -> Self {
        Self::named(kind, "test root")
    }

    pub(crate) fn named(kind: &'static str, name: &str) -> Self {
        let mut params = dated(&[]);
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Pki { kind, root: CertifiedIssuer::self_signed(params, key(kind)).unwrap() }
    }

    pub(crate) fn root_pem(&self) -> String {
        self.root.pem()
    }

    pub(crate) fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.der().clone()).unwrap();
        Arc::new(roots)
    }

    pub(crate) fn server(
        &self,
        names: &[&str],
        version: &'static SupportedProtocolVersion,
    ) -> Arc<ServerConfig> {
        self.server_asking(names, version, Arc::new(NoClientAuth))
    }

    pub(crate) fn server_asking(
        &self,
        names: &[&str],
        version: &'static SupportedProtocolVersion,
        clients: Arc<dyn ClientCertVerifier>,
    ) -> Arc<ServerConfig> {
        let key = key(self.kind);
        let certificate = dated(names).signed_by(&key, &self.root).unwrap();
        server(version, clients, vec![certificate.der().clone()], &key)
    }

    /// A server whose certificate is for clients alone.
    pub(crate) fn client_as_server(&self, version: &'static SupportedProtocolVersion) -> Arc<ServerConfig> {
        let key = key(self.kind);
        let mut params = dated(&["zed.example"]);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.root).unwrap();
        server(version, Arc::new(NoClientAuth), vec![certificate.der().clone()], &key)
    }

    /// A server that uses a CA's certificate as its own.
    pub(crate) fn root_as_server(&self, version: &'static SupportedProtocolVersion) -> Arc<ServerConfig> {
        let key = key(self.kind);
        let mut params = dated(&["zed.example"]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.signed_by(&key, &self.root).unwrap();
        server(version, Arc::new(NoClientAuth), vec![certificate.der().clone()], &key)
    }

    /// A server as `adam --auto-cert` makes it: self-signed and no CA.
    pub(crate) fn self_signed(&self, name: &str) -> (String, Arc<ServerConfig>) {
        let key = key(self.kind);
        let mut params = dated(&[name]);
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.self_signed(&key).unwrap();
        let chain = vec![certificate.der().clone()];
        (certificate.pem(), server(&version::TLS13, Arc::new(NoClientAuth), chain, &key))
    }

    /// A server whose certificate message is empty.
    pub(crate) fn without_certificate(&self) -> Arc<ServerConfig> {
        let key = private(&key(self.kind));
        let key = ring().key_provider.load_private_key(key).unwrap();
        let resolver = Fixed(Arc::new(CertifiedKey::new(vec![], key)));
        let builder = ServerConfig::builder_with_provider(ring())
            .with_protocol_versions(&[&version::TLS13])
            .unwrap()
            .with_no_client_auth();
        Arc::new(builder.with_cert_resolver(Arc::new(resolver)))
    }

    /// Certificate and P-256 key of a client, in PEM.
    pub(crate) fn client(&self) -> (String, String) {
        let key = key("p256");
        let mut params = dated(&[]);
        params.distinguished_name.push(DnType::CommonName, "device");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.root).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    pub(crate) fn client_key_of_own_kind(&self) -> String {
        key(self.kind).serialize_pem()
    }
}

#[derive(Debug)]
struct Fixed(Arc<CertifiedKey>);

impl ResolvesServerCert for Fixed {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

fn server(
    version: &'static SupportedProtocolVersion,
    clients: Arc<dyn ClientCertVerifier>,
    chain: Vec<CertificateDer<'static>>,
    key: &KeyPair,
) -> Arc<ServerConfig> {
    let mut config = ServerConfig::builder_with_provider(ring())
        .with_protocol_versions(&[version])
        .unwrap()
        .with_client_cert_verifier(clients)
        .with_single_cert(chain, private(key))
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(config)
}

fn dated(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| String::from(*name)).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = date_time_ymd(2036, 1, 1);
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
}

fn key(kind: &str) -> KeyPair {
    match kind {
        "p256" => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap(),
        "p384" => KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap(),
        _ => KeyPair::from_pem(RSA_KEY).unwrap(),
    }
}

fn private(key: &KeyPair) -> PrivateKeyDer<'static> {
    PrivateKeyDer::try_from(key.serialize_der()).unwrap()
}
