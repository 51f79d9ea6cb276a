//! Signature verification: public keys for our own envelopes, and the same primitives for paths of
//! certificates.

use der::{Decode, Reader, asn1::UintRef};
use p256::ecdsa::signature::hazmat::PrehashVerifier;
use rsa::{BoxedUint, Pkcs1v15Sign, RsaPublicKey};
use rustls_pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id};
use sha2::{Digest, Sha256, Sha384, Sha512};

/// The algorithms with which certificates may be signed.
pub(crate) static ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = &[
    &Algorithm { key: KeyKind::P256, hash: Hash::Sha256 },
    &Algorithm { key: KeyKind::P256, hash: Hash::Sha384 },
    &Algorithm { key: KeyKind::P384, hash: Hash::Sha256 },
    &Algorithm { key: KeyKind::P384, hash: Hash::Sha384 },
    &Algorithm { key: KeyKind::Rsa, hash: Hash::Sha256 },
    &Algorithm { key: KeyKind::Rsa, hash: Hash::Sha384 },
    &Algorithm { key: KeyKind::Rsa, hash: Hash::Sha512 },
];

/// Reads an RSA public key: `SEQUENCE { modulus, exponent }` (RFC 8017 A.1.1). Moduli of 2048 to
/// 4096 bits are taken.
pub(crate) fn rsa_key(der: &[u8]) -> Option<RsaPublicKey> {
    let (n, e) = der::SliceReader::new(der)
        .ok()?
        .sequence(|reader| {
            let n = UintRef::decode(reader)?;
            let e = UintRef::decode(reader)?;
            Ok::<_, der::Error>((n, e))
        })
        .ok()?;
    if e.as_bytes().len() > 5 {
        return None;
    }
    let bits = u32::try_from(n.as_bytes().len()).ok()?.checked_mul(8)?;
    let n = BoxedUint::from_be_slice(n.as_bytes(), bits).ok()?;
    let e = BoxedUint::from_be_slice(e.as_bytes(), 64).ok()?;
    RsaPublicKey::new_with_size_limits(n, e, 2048..=4096).ok()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeyKind {
    P256,
    P384,
    Rsa,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

#[derive(Debug)]
struct Algorithm {
    key: KeyKind,
    hash: Hash,
}

impl Algorithm {
    fn verify_digest(&self, key: &[u8], digest: &[u8], signature: &[u8]) -> Option<()> {
        match self.key {
            KeyKind::P256 => {
                let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(key).ok()?;
                let signature = p256::ecdsa::Signature::from_der(signature).ok()?;
                key.verify_prehash(digest, &signature).ok()
            }
            KeyKind::P384 => {
                let key = p384::ecdsa::VerifyingKey::from_sec1_bytes(key).ok()?;
                let signature = p384::ecdsa::Signature::from_der(signature).ok()?;
                key.verify_prehash(digest, &signature).ok()
            }
            KeyKind::Rsa => {
                let scheme = match self.hash {
                    Hash::Sha256 => Pkcs1v15Sign::new::<Sha256>(),
                    Hash::Sha384 => Pkcs1v15Sign::new::<Sha384>(),
                    Hash::Sha512 => Pkcs1v15Sign::new::<Sha512>(),
                };
                rsa_key(key)?.verify(scheme, digest, signature).ok()
            }
        }
    }
}

impl SignatureVerificationAlgorithm for Algorithm {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        match self.hash {
            Hash::Sha256 => self.verify_digest(public_key, &Sha256::digest(message), signature),
            Hash::Sha384 => self.verify_digest(public_key, &Sha384::digest(message), signature),
            Hash::Sha512 => self.verify_digest(public_key, &Sha512::digest(message), signature),
        }
        .ok_or(InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        match self.key {
            KeyKind::P256 => alg_id::ECDSA_P256,
            KeyKind::P384 => alg_id::ECDSA_P384,
            KeyKind::Rsa => alg_id::RSA_ENCRYPTION,
        }
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        match (self.key, self.hash) {
            (KeyKind::Rsa, Hash::Sha256) => alg_id::RSA_PKCS1_SHA256,
            (KeyKind::Rsa, Hash::Sha384) => alg_id::RSA_PKCS1_SHA384,
            (KeyKind::Rsa, Hash::Sha512) => alg_id::RSA_PKCS1_SHA512,
            (KeyKind::P256 | KeyKind::P384, Hash::Sha256) => alg_id::ECDSA_SHA256,
            (KeyKind::P256 | KeyKind::P384, Hash::Sha384) => alg_id::ECDSA_SHA384,
            (KeyKind::P256 | KeyKind::P384, Hash::Sha512) => alg_id::ECDSA_SHA512,
        }
    }
}
