//! Public keys of certificates, and the signatures that the protocol makes with them.
//!
//! Everything here stands on `ring` and `x509-parser`; the device uses other libraries, so that a
//! mistake on either side shows.

use std::fmt;

use ring::digest::{SHA256, digest};
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA256_ASN1, RSA_PKCS1_2048_8192_SHA256,
    UnparsedPublicKey,
};
use x509_parser::certificate::X509Certificate;
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;

/// Why a certificate is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CertificateFault {
    /// Not one PEM block with the label `CERTIFICATE` and nothing after it.
    NotOnePem,
    /// The block is not a DER certificate, or has bytes after it.
    NotDer,
    /// Neither P-256, P-384 nor RSA.
    KeyKind,
    /// Not signed by the key that should have signed it.
    Unsigned,
    /// Now lies outside its validity.
    OutOfDate,
}

impl fmt::Display for CertificateFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotOnePem => "not exactly one PEM certificate",
            Self::NotDer => "the PEM block holds no DER certificate",
            Self::KeyKind => "the public key is neither P-256, P-384 nor RSA",
            Self::Unsigned => "the certificate is not signed by the expected key",
            Self::OutOfDate => "the certificate is not valid now",
        })
    }
}

/// A certificate as far as the protocol cares.
#[derive(Debug, Clone)]
pub(crate) struct Certificate {
    der: Vec<u8>,
    key: PublicBytes,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum PublicBytes {
    /// Uncompressed points.
    P256(Vec<u8>),
    P384(Vec<u8>),
    /// DER `RSAPublicKey`.
    Rsa(Vec<u8>),
}

/// A signature that does not fit its message and key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadSignature;

impl Certificate {
    /// The one certificate in `text`.
    pub(crate) fn from_pem(text: &[u8]) -> Result<Self, CertificateFault> {
        let (rest, pem) = parse_x509_pem(text).map_err(|_| CertificateFault::NotOnePem)?;
        if pem.label != "CERTIFICATE" || !rest.iter().all(u8::is_ascii_whitespace) {
            return Err(CertificateFault::NotOnePem);
        }
        Self::from_der(pem.contents)
    }

    /// A certificate from its DER bytes.
    pub(crate) fn from_der(der: Vec<u8>) -> Result<Self, CertificateFault> {
        let (rest, parsed) = X509Certificate::from_der(&der).map_err(|_| CertificateFault::NotDer)?;
        if !rest.is_empty() {
            return Err(CertificateFault::NotDer);
        }
        let bits = parsed.public_key().subject_public_key.data.to_vec();
        let key = match parsed.public_key().parsed() {
            Ok(PublicKey::EC(_)) if bits.len() == 65 => PublicBytes::P256(bits),
            Ok(PublicKey::EC(_)) if bits.len() == 97 => PublicBytes::P384(bits),
            Ok(PublicKey::RSA(_)) => PublicBytes::Rsa(bits),
            _ => return Err(CertificateFault::KeyKind),
        };
        Ok(Self { der, key })
    }

    /// SHA-256 over the DER bytes: how a device names its certificate.
    pub(crate) fn der_hash(&self) -> [u8; 32] {
        sha256(&self.der)
    }

    /// Whether both certificates are of one public key.
    pub(crate) fn has_key_of(&self, other: &Certificate) -> bool {
        self.key == other.key
    }

    /// Checks that `issuer` signed this certificate.
    pub(crate) fn check_signed_by(&self, issuer: &Certificate) -> Result<(), CertificateFault> {
        let own = parse_again(&self.der)?;
        let issuer = parse_again(&issuer.der)?;
        own.verify_signature(Some(issuer.public_key())).map_err(|_| CertificateFault::Unsigned)
    }

    /// Checks that the certificate is valid at this moment.
    pub(crate) fn check_valid_now(&self) -> Result<(), CertificateFault> {
        match parse_again(&self.der)?.validity().is_valid() {
            true => Ok(()),
            false => Err(CertificateFault::OutOfDate),
        }
    }

    /// The first second since 1970 in which the certificate is valid.
    pub(crate) fn valid_from(&self) -> Option<i64> {
        parse_again(&self.der).ok().map(|parsed| parsed.validity().not_before.timestamp())
    }

    /// Checks an envelope's signature: raw `r ‖ s` for curves, PKCS#1 v1.5 for RSA, over SHA-256.
    pub(crate) fn check_envelope(&self, message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        match &self.key {
            PublicBytes::P256(key) => verify(&ECDSA_P256_SHA256_FIXED, key, message, signature),
            PublicBytes::P384(key) => {
                if signature.len() != 96 {
                    return Err(BadSignature);
                }
                // ring knows P-384 with SHA-256 in its ASN.1 form only.
                verify(&ECDSA_P384_SHA256_ASN1, key, message, &asn1_of_raw(signature))
            }
            PublicBytes::Rsa(key) => verify(&RSA_PKCS1_2048_8192_SHA256, key, message, signature),
        }
    }

    /// Checks a quote's signature: ASN.1 ECDSA by a P-256 key, unlike an envelope's.
    pub(crate) fn check_quote(&self, message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        match &self.key {
            PublicBytes::P256(key) => verify(&ECDSA_P256_SHA256_ASN1, key, message, signature),
            PublicBytes::P384(_) | PublicBytes::Rsa(_) => Err(BadSignature),
        }
    }
}

/// SHA-256 of `bytes`.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}

/// Lower-case hexadecimal text.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn parse_again(der: &[u8]) -> Result<X509Certificate<'_>, CertificateFault> {
    X509Certificate::from_der(der).map(|(_, parsed)| parsed).map_err(|_| CertificateFault::NotDer)
}

fn verify(
    kind: &'static dyn ring::signature::VerificationAlgorithm,
    key: &[u8],
    message: &[u8],
    signature: &[u8],
) -> Result<(), BadSignature> {
    UnparsedPublicKey::new(kind, key).verify(message, signature).map_err(|_| BadSignature)
}

/// `SEQUENCE { INTEGER r, INTEGER s }` of two halves of equal length, each below 128 bytes in all.
fn asn1_of_raw(raw: &[u8]) -> Vec<u8> {
    let (r, s) = raw.split_at(raw.len() / 2);
    let body: Vec<u8> = [asn1_integer(r), asn1_integer(s)].concat();
    let mut out = vec![0x30, body.len() as u8];
    out.extend(body);
    out
}

fn asn1_integer(big_endian: &[u8]) -> Vec<u8> {
    let first = big_endian.iter().position(|&byte| byte != 0).unwrap_or(big_endian.len());
    let magnitude = big_endian.get(first..).unwrap_or_default();
    let sign = magnitude.first().is_none_or(|&byte| byte & 0x80 != 0);
    let mut out = vec![0x02, (magnitude.len() + usize::from(sign)) as u8];
    out.extend(sign.then_some(0));
    out.extend_from_slice(magnitude);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &[u8] = include_bytes!("../vectors/message");

    #[test]
    fn signatures_of_openssl_verify() {
        let vectors: [(&[u8], &[u8]); 3] = [
            (include_bytes!("../vectors/p256.pem"), include_bytes!("../vectors/p256.sig")),
            (include_bytes!("../vectors/p384.pem"), include_bytes!("../vectors/p384.sig")),
            (include_bytes!("../vectors/rsa.pem"), include_bytes!("../vectors/rsa.sig")),
        ];
        let own = Certificate::from_pem(include_bytes!("../vectors/p256.pem")).expect("a certificate");
        for (pem, signature) in vectors {
            let certificate = Certificate::from_pem(pem).expect("a certificate");
            assert_eq!(certificate.check_signed_by(&certificate), Ok(()));
            assert_eq!(certificate.has_key_of(&own), pem == include_bytes!("../vectors/p256.pem"));
            assert_eq!(certificate.check_envelope(MESSAGE, signature), Ok(()));
            assert_eq!(certificate.check_envelope(b"other", signature), Err(BadSignature));
            for length in [0, 1, signature.len() - 1] {
                assert_eq!(certificate.check_envelope(MESSAGE, &signature[..length]), Err(BadSignature));
            }
        }
    }

    #[test]
    fn certificates_are_read_strictly() {
        let pem = include_bytes!("../vectors/p256.pem");
        let fault = |pem: &[u8]| Certificate::from_pem(pem).map(|_| ());
        assert_eq!(fault(&[pem.as_slice(), b"\n\n"].concat()), Ok(()));
        assert_eq!(fault(&pem.repeat(2)), Err(CertificateFault::NotOnePem));
        assert_eq!(fault(&pem[..pem.len() / 2]), Err(CertificateFault::NotOnePem));
        assert_eq!(fault(b""), Err(CertificateFault::NotOnePem));
        let ed25519 = include_bytes!("../vectors/ed25519.pem");
        assert_eq!(fault(ed25519), Err(CertificateFault::KeyKind));
        assert_eq!(Certificate::from_der(vec![0x30]).map(|_| ()), Err(CertificateFault::NotDer));
        let other = Certificate::from_pem(include_bytes!("../vectors/rsa.pem")).expect("a certificate");
        let own = Certificate::from_pem(pem).expect("a certificate");
        assert_eq!(own.check_signed_by(&other), Err(CertificateFault::Unsigned));
    }
}
