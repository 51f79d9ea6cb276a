//! Controller certificates: which sets are accepted.
//!
//! A set comes from `/certs` in an envelope whose signature means nothing yet. It is accepted when
//! it holds exactly one signing certificate, at least one for key exchange and otherwise only
//! intermediates, and when each of the leaves chains to the provisioned root: X.509 path rules, dates
//! included, and where a certificate limits its extended key usage, `serverAuth` must be in it.

use alloc::vec::Vec;

use prost::Message;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use sha2::{Digest, Sha256};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use crate::{
    bounds,
    key::PublicKey,
    pem::{self, PemError},
    verify::ALGORITHMS,
    wire::certs::{ZCert, ZCertType, ZControllerCert},
};

/// Certificates in a set; a controller has three or four.
pub const MAX_CERTS: usize = 32;
/// Bytes of one certificate's PEM.
pub const MAX_CERT_BYTES: usize = 32 * 1024;
/// Bytes of memory that a set may decode to: room for what an answer can hold, and for the lists.
const MAX_MEMORY: usize = 768 * 1024;

/// Why a set is refused, or the provisioned root cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertsError {
    /// The provisioned root file holds no certificate.
    BadRoot(PemError),
    /// A certificate of the root file does not parse.
    BadRootCertificate,
    /// Not a `ZControllerCert`.
    Malformed,
    /// More certificates than [`MAX_CERTS`].
    TooMany {
        /// The number found.
        have: usize,
    },
    /// A certificate larger than [`MAX_CERT_BYTES`].
    TooLarge {
        /// Its size.
        have: usize,
    },
    /// A type that no controller certificate has.
    UnexpectedType {
        /// The number found.
        kind: i32,
    },
    /// Not exactly one signing certificate.
    SigningCerts {
        /// The number found.
        have: usize,
    },
    /// No certificate for key exchange.
    NoKeyExchange,
    /// A certificate is not PEM.
    NotPem {
        /// Its type.
        kind: i32,
        /// What is wrong with the text.
        error: PemError,
    },
    /// A leaf does not parse.
    Unparsable {
        /// Its type.
        kind: i32,
    },
    /// A leaf is not valid yet or any more.
    Time {
        /// Its type.
        kind: i32,
    },
    /// A leaf does not chain to the provisioned root.
    Untrusted {
        /// Its type.
        kind: i32,
    },
    /// The signing certificate's key is of a kind that we cannot verify with.
    UnsupportedKey,
}

impl core::fmt::Display for CertsError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::BadRoot(error) => write!(f, "root-certificate.pem: {error}"),
            Self::BadRootCertificate => write!(f, "root-certificate.pem: a certificate does not parse"),
            Self::Malformed => write!(f, "the answer is not a list of certificates"),
            Self::TooMany { have } => write!(f, "{have} certificates, and {MAX_CERTS} are the most taken"),
            Self::TooLarge { have } => write!(f, "a certificate of {have} bytes"),
            Self::UnexpectedType { kind } => write!(f, "a certificate of type {kind}"),
            Self::SigningCerts { have } => write!(f, "{have} signing certificates instead of one"),
            Self::NoKeyExchange => write!(f, "no certificate for key exchange"),
            Self::NotPem { kind, error } => write!(f, "the {}: {error}", role(*kind)),
            Self::Unparsable { kind } => write!(f, "the {} does not parse", role(*kind)),
            Self::Time { kind } => write!(f, "the {} is not valid at this time", role(*kind)),
            Self::Untrusted { kind } => {
                write!(f, "the {} does not chain to root-certificate.pem", role(*kind))
            }
            Self::UnsupportedKey => write!(f, "the signing certificate's key is of an unsupported kind"),
        }
    }
}

fn role(kind: i32) -> &'static str {
    match ZCertType::try_from(kind) {
        Ok(ZCertType::CertTypeControllerSigning) => "signing certificate",
        Ok(ZCertType::CertTypeControllerIntermediate) => "intermediate certificate",
        Ok(ZCertType::CertTypeControllerEcdhExchange) => "key exchange certificate",
        _ => "certificate",
    }
}

/// The trust roots: every certificate of `root-certificate.pem`.
#[derive(Debug)]
pub struct Roots {
    anchors: Vec<TrustAnchor<'static>>,
}

impl Roots {
    /// Reads the provisioned file.
    ///
    /// # Errors
    /// [`CertsError::BadRoot`] and [`CertsError::BadRootCertificate`].
    pub fn from_pem(text: &[u8]) -> Result<Self, CertsError> {
        let mut anchors = Vec::new();
        for der in pem::certificates(text).map_err(CertsError::BadRoot)? {
            let der = CertificateDer::from(der);
            let anchor = anchor_from_trusted_cert(&der).map_err(|_| CertsError::BadRootCertificate)?;
            anchors.push(anchor.to_owned());
        }
        Ok(Self { anchors })
    }
}

/// The certificate with which the controller signs, and the hash by which it is named.
#[derive(Clone, Debug)]
pub struct SigningCert {
    hash: [u8; 32],
    key: PublicKey,
}

impl SigningCert {
    /// Takes a certificate as it was received: the hash is over exactly these bytes.
    ///
    /// # Errors
    /// [`CertsError::NotPem`], [`CertsError::UnsupportedKey`].
    pub fn from_pem(received: &[u8]) -> Result<Self, CertsError> {
        let kind = ZCertType::CertTypeControllerSigning as i32;
        let ders = pem::certificates(received).map_err(|error| CertsError::NotPem { kind, error })?;
        let der = ders.first().ok_or(CertsError::Unparsable { kind })?;
        let key = PublicKey::of_certificate(der).map_err(|_| CertsError::UnsupportedKey)?;
        Ok(Self { hash: Sha256::digest(received).into(), key })
    }

    /// SHA-256 of the PEM text.
    #[must_use]
    pub fn hash(&self) -> &[u8; 32] {
        &self.hash
    }

    /// What signatures are verified with.
    #[must_use]
    pub fn public_key(&self) -> &PublicKey {
        &self.key
    }
}

/// A certificate of the controller with which secrets are encrypted.
#[derive(Clone, Debug)]
struct ExchangeCert {
    /// `certHash`, by which contexts name it.
    hash: Vec<u8>,
    /// Its key, a point of P-256 (SEC 1, uncompressed); none if it is another kind of key.
    point: Option<Vec<u8>>,
}

/// A set that was accepted.
#[derive(Clone, Debug)]
pub struct ControllerCerts {
    signing: SigningCert,
    exchange: Vec<ExchangeCert>,
    /// `certHash` of every member, sorted.
    hashes: Vec<Vec<u8>>,
}

impl ControllerCerts {
    /// Checks the payload of a `/certs` answer against the roots at the time `now`.
    ///
    /// # Errors
    /// [`CertsError`] names the first rule that is broken; the whole set is refused then.
    pub fn accept(payload: &[u8], roots: &Roots, now: UnixTime) -> Result<Self, CertsError> {
        bounds::check(payload, bounds::CONTROLLER_CERT, MAX_MEMORY).map_err(|_| CertsError::Malformed)?;
        let set = ZControllerCert::decode(payload).map_err(|_| CertsError::Malformed)?.certs;
        check_shape(&set)?;
        let mut intermediates = Vec::new();
        for cert in &set {
            // A file may hold a chain: what follows the first certificate helps to build the path.
            let leading = usize::from(cert.r#type != ZCertType::CertTypeControllerIntermediate as i32);
            intermediates.extend(ders(cert)?.into_iter().skip(leading).map(CertificateDer::from));
        }
        let (mut signing, mut exchange) = (None, Vec::new());
        for cert in &set {
            if cert.r#type == ZCertType::CertTypeControllerIntermediate as i32 {
                continue;
            }
            verify_path(cert, &intermediates, roots, now)?;
            if cert.r#type == ZCertType::CertTypeControllerSigning as i32 {
                signing = Some(SigningCert::from_pem(&cert.cert)?);
            } else {
                exchange.push(ExchangeCert { hash: cert.cert_hash.clone(), point: p256_point(cert)? });
            }
        }
        let mut hashes: Vec<_> = set.into_iter().map(|cert| cert.cert_hash).collect();
        hashes.sort_unstable();
        Ok(Self { signing: signing.ok_or(CertsError::SigningCerts { have: 0 })?, exchange, hashes })
    }

    /// The certificate that signs the controller's answers.
    #[must_use]
    pub fn signing(&self) -> &SigningCert {
        &self.signing
    }

    /// The key of the certificate that a cipher context names by `hash`: a point of P-256 (SEC 1, uncompressed).
    #[must_use]
    pub fn exchange_point(&self, hash: &[u8]) -> Option<&[u8]> {
        self.exchange.iter().find(|cert| cert.hash == hash && !hash.is_empty())?.point.as_deref()
    }

    /// Whether `other` is another set: the multiset of the members' hashes differs.
    #[must_use]
    pub fn differs_from(&self, other: &Self) -> bool {
        self.hashes != other.hashes || self.signing.hash != other.signing.hash
    }
}

fn check_shape(set: &[ZCert]) -> Result<(), CertsError> {
    if set.len() > MAX_CERTS {
        return Err(CertsError::TooMany { have: set.len() });
    }
    let (mut signing, mut exchange) = (0, 0);
    for cert in set {
        if cert.cert.len() > MAX_CERT_BYTES {
            return Err(CertsError::TooLarge { have: cert.cert.len() });
        }
        match ZCertType::try_from(cert.r#type) {
            Ok(ZCertType::CertTypeControllerSigning) => signing += 1,
            Ok(ZCertType::CertTypeControllerEcdhExchange) => exchange += 1,
            Ok(ZCertType::CertTypeControllerIntermediate) => {}
            _ => return Err(CertsError::UnexpectedType { kind: cert.r#type }),
        }
    }
    if signing != 1 {
        return Err(CertsError::SigningCerts { have: signing });
    }
    if exchange == 0 { Err(CertsError::NoKeyExchange) } else { Ok(()) }
}

fn ders(cert: &ZCert) -> Result<Vec<Vec<u8>>, CertsError> {
    pem::certificates(&cert.cert).map_err(|error| CertsError::NotPem { kind: cert.r#type, error })
}

/// The key of a certificate if it is on P-256.
fn p256_point(cert: &ZCert) -> Result<Option<Vec<u8>>, CertsError> {
    let kind = cert.r#type;
    let der = ders(cert)?.into_iter().next().ok_or(CertsError::Unparsable { kind })?;
    Ok(match PublicKey::of_certificate(&der) {
        Ok(PublicKey::P256(key)) => Some(key.to_sec1_point(false).as_bytes().to_vec()),
        _ => None,
    })
}

fn verify_path(
    cert: &ZCert,
    intermediates: &[CertificateDer<'_>],
    roots: &Roots,
    now: UnixTime,
) -> Result<(), CertsError> {
    let kind = cert.r#type;
    let der =
        ders(cert)?.into_iter().next().map(CertificateDer::from).ok_or(CertsError::Unparsable { kind })?;
    let leaf = EndEntityCert::try_from(&der).map_err(|_| CertsError::Unparsable { kind })?;
    match leaf.verify_for_usage(
        ALGORITHMS,
        &roots.anchors,
        intermediates,
        now,
        KeyUsage::server_auth(),
        None,
        None,
    ) {
        Ok(_) => Ok(()),
        Err(webpki::Error::CertExpired { .. } | webpki::Error::CertNotValidYet { .. }) => {
            Err(CertsError::Time { kind })
        }
        Err(_) => Err(CertsError::Untrusted { kind }),
    }
}
