//! Keys: the device's software key, and the public key of whoever signed a message.

use alloc::vec::Vec;

use der::{Decode, asn1::ObjectIdentifier};
use p256::ecdsa::signature::hazmat::{PrehashSigner, PrehashVerifier};
use rustls_pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use webpki::EndEntityCert;

use crate::pem::{self, PemError};

const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const CURVE_P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const CURVE_P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");

/// Whoever signs requests: a software key, or a TPM behind a channel.
pub trait Signer {
    /// SHA-256 of the DER of the certificate that belongs to the key.
    fn certificate_hash(&self) -> [u8; 32];

    /// Signs a SHA-256 digest with the P-256 key: `r ‖ s`, each 32 bytes, big-endian.
    ///
    /// # Errors
    /// [`KeyError::SigningFailed`] if the key's holder refuses or is away.
    fn sign_digest(&self, digest: &[u8; 32]) -> Result<[u8; 64], KeyError>;
}

/// Why a key or its certificate cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// The text is not PEM.
    Pem(PemError),
    /// No block holds a private key.
    NoPrivateKey,
    /// The block is neither PKCS#8 nor SEC1, or not on P-256.
    NotP256,
    /// The certificate does not parse.
    BadCertificate,
    /// The certificate carries another public key.
    Mismatch,
    /// A public key of a kind that cannot be verified with: EC on another curve, Ed25519, or an RSA
    /// modulus outside 2048 to 4096 bits.
    UnsupportedPublicKey,
    /// The signature is not one of this key over this payload.
    BadSignature,
    /// The key's holder did not sign.
    SigningFailed,
}

impl core::fmt::Display for KeyError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Pem(error) => error.fmt(f),
            Self::NoPrivateKey => write!(f, "there is no private key in the file"),
            Self::NotP256 => write!(f, "the private key is not a P-256 key in PKCS#8 or SEC1 form"),
            Self::BadCertificate => write!(f, "the certificate does not parse"),
            Self::Mismatch => write!(f, "the certificate belongs to another key"),
            Self::UnsupportedPublicKey => {
                write!(f, "the public key is neither P-256, P-384 nor RSA of 2048 to 4096 bits")
            }
            Self::BadSignature => write!(f, "the signature is wrong"),
            Self::SigningFailed => write!(f, "the key did not sign"),
        }
    }
}

impl From<PemError> for KeyError {
    fn from(error: PemError) -> Self {
        Self::Pem(error)
    }
}

/// A P-256 key in memory with its certificate. Wiped when dropped.
pub struct SoftwareKey {
    key: p256::ecdsa::SigningKey,
    certificate_pem: Vec<u8>,
    certificate_hash: [u8; 32],
}

impl SoftwareKey {
    /// Reads a key and its certificate from PEM files.
    ///
    /// The key's block may be labelled `PRIVATE KEY` or `EC PRIVATE KEY`, and may hold PKCS#8 or SEC1
    /// under either label, for both mixtures exist in the field. The first certificate counts.
    ///
    /// # Errors
    /// [`KeyError`] names what is wrong with which of the two.
    pub fn from_pem(key_pem: &[u8], certificate_pem: &[u8]) -> Result<Self, KeyError> {
        let blocks = pem::blocks(key_pem)?;
        let block =
            blocks.iter().find(|block| block.label.ends_with("PRIVATE KEY")).ok_or(KeyError::NoPrivateKey)?;
        let secret = p256::SecretKey::from_der(&block.der).map_err(|_| KeyError::NotP256)?;
        let key = p256::ecdsa::SigningKey::from(&secret);
        for mut block in blocks {
            zeroize::Zeroize::zeroize(&mut block.der);
        }
        let certificates = pem::certificates(certificate_pem)?;
        let certificate = certificates.first().ok_or(KeyError::BadCertificate)?;
        match PublicKey::of_certificate(certificate)? {
            PublicKey::P256(public) if public == *key.verifying_key() => {}
            _ => return Err(KeyError::Mismatch),
        }
        Ok(Self {
            key,
            certificate_pem: certificate_pem.to_vec(),
            certificate_hash: Sha256::digest(certificate).into(),
        })
    }

    /// The certificate file, byte for byte.
    #[must_use]
    pub fn certificate_pem(&self) -> &[u8] {
        &self.certificate_pem
    }
}

impl Signer for SoftwareKey {
    fn certificate_hash(&self) -> [u8; 32] {
        self.certificate_hash
    }

    fn sign_digest(&self, digest: &[u8; 32]) -> Result<[u8; 64], KeyError> {
        let signature: p256::ecdsa::Signature =
            self.key.sign_prehash(digest).map_err(|_| KeyError::SigningFailed)?;
        Ok(signature.to_bytes().into())
    }
}

impl core::fmt::Debug for SoftwareKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("SoftwareKey")
    }
}

/// A public key that envelopes may be signed with.
#[derive(Clone, Debug)]
pub enum PublicKey {
    /// EC on P-256; signatures are 64 bytes `r ‖ s`.
    P256(p256::ecdsa::VerifyingKey),
    /// EC on P-384; signatures are 96 bytes `r ‖ s`.
    P384(p384::ecdsa::VerifyingKey),
    /// RSA; signatures are PKCS#1 v1.5 with SHA-256.
    Rsa(rsa::RsaPublicKey),
}

impl PublicKey {
    /// The key of a certificate in DER form.
    ///
    /// # Errors
    /// [`KeyError::BadCertificate`] or [`KeyError::UnsupportedPublicKey`].
    pub fn of_certificate(certificate_der: &[u8]) -> Result<Self, KeyError> {
        let certificate = CertificateDer::from(certificate_der);
        let certificate = EndEntityCert::try_from(&certificate).map_err(|_| KeyError::BadCertificate)?;
        Self::from_spki(&certificate.subject_public_key_info())
    }

    /// The key of a `SubjectPublicKeyInfo` in DER form.
    ///
    /// # Errors
    /// [`KeyError::BadCertificate`] or [`KeyError::UnsupportedPublicKey`].
    pub fn from_spki(spki_der: &[u8]) -> Result<Self, KeyError> {
        let spki = spki::SubjectPublicKeyInfoRef::from_der(spki_der).map_err(|_| KeyError::BadCertificate)?;
        let key = spki.subject_public_key.as_bytes().ok_or(KeyError::BadCertificate)?;
        let unsupported = KeyError::UnsupportedPublicKey;
        if spki.algorithm.oid == RSA_ENCRYPTION {
            return crate::verify::rsa_key(key).map(Self::Rsa).ok_or(unsupported);
        }
        if spki.algorithm.oid != EC_PUBLIC_KEY {
            return Err(unsupported);
        }
        match spki.algorithm.parameters_oid() {
            Ok(CURVE_P256) => {
                p256::ecdsa::VerifyingKey::from_sec1_bytes(key).map(Self::P256).map_err(|_| unsupported)
            }
            Ok(CURVE_P384) => {
                p384::ecdsa::VerifyingKey::from_sec1_bytes(key).map(Self::P384).map_err(|_| unsupported)
            }
            _ => Err(unsupported),
        }
    }

    /// Verifies an envelope's signature over the SHA-256 of `payload`.
    ///
    /// # Errors
    /// [`KeyError::BadSignature`], also for a signature of the wrong length.
    pub fn verify(&self, payload: &[u8], signature: &[u8]) -> Result<(), KeyError> {
        let digest = Sha256::digest(payload);
        let verified = match self {
            Self::P256(key) => p256::ecdsa::Signature::from_slice(signature)
                .and_then(|signature| key.verify_prehash(&digest, &signature))
                .is_ok(),
            Self::P384(key) => p384::ecdsa::Signature::from_slice(signature)
                .and_then(|signature| key.verify_prehash(&digest, &signature))
                .is_ok(),
            Self::Rsa(key) => key.verify(rsa::Pkcs1v15Sign::new::<Sha256>(), &digest, signature).is_ok(),
        };
        if verified { Ok(()) } else { Err(KeyError::BadSignature) }
    }
}
