//! The signed envelope, `AuthContainer`, in which almost every message travels.
//!
//! Device to controller: the sender is named by SHA-256 of its certificate's **DER**, and signs
//! SHA-256 of the payload as `r ‖ s`. Controller to device: the sender is named by SHA-256 of the
//! **PEM text** that `/certs` delivered, cut to 16 bytes when `algo` says so.
//!
//! Source: eve-api `OBJECT-SIGNING.md`, `proto/auth/auth.proto`.

use alloc::vec::Vec;

use base64ct::{Base64, Encoding};
use prost::Message;
use sha2::{Digest, Sha256};

use crate::{
    certs::SigningCert,
    key::{KeyError, Signer},
    wire::{
        auth::{AuthBody, AuthContainer},
        common::HashAlgorithm,
    },
};

/// Why an envelope was not opened. The payload must not be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// Not an `AuthContainer`.
    Malformed,
    /// No payload, not even an empty one.
    NoPayload,
    /// A hash algorithm other than 1 and 2.
    BadAlgorithm {
        /// The number found.
        algo: i32,
    },
    /// The sender's hash has a length other than 16 and 32.
    BadHashLength {
        /// The length found.
        have: usize,
    },
    /// The sender is not the signing certificate that we hold: fetch `/certs`.
    UnknownSender,
    /// The signature is wrong.
    BadSignature,
}

impl core::fmt::Display for OpenError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Malformed => write!(f, "the answer is not a signed envelope"),
            Self::NoPayload => write!(f, "the envelope has no payload"),
            Self::BadAlgorithm { algo } => write!(f, "the envelope's hash algorithm {algo} is unknown"),
            Self::BadHashLength { have } => write!(f, "the envelope's sender hash has {have} bytes"),
            Self::UnknownSender => {
                write!(f, "the envelope was signed with a certificate that we do not hold")
            }
            Self::BadSignature => write!(f, "the envelope's signature is wrong"),
        }
    }
}

/// Wraps and signs `payload`. The result is the body of a POST.
///
/// # Errors
/// What the signer said.
pub fn seal(payload: Vec<u8>, signer: &dyn Signer) -> Result<Vec<u8>, KeyError> {
    Ok(container(payload, signer, Vec::new())?.encode_to_vec())
}

/// As [`seal`], with the signer's certificate in the envelope. `register` is sent so: the controller
/// does not look the onboarding certificate up by its hash alone.
///
/// # Errors
/// What the signer said.
pub fn seal_with_certificate(
    payload: Vec<u8>,
    signer: &dyn Signer,
    certificate_pem: &[u8],
) -> Result<Vec<u8>, KeyError> {
    let sender_cert = Base64::encode_string(certificate_pem).into_bytes();
    Ok(container(payload, signer, sender_cert)?.encode_to_vec())
}

/// Verifies an answer against the controller's signing certificate and returns its payload.
///
/// # Errors
/// [`OpenError::UnknownSender`] and [`OpenError::BadSignature`] ask for a fresh `/certs`; the others
/// say that the answer is not one.
pub fn open(body: &[u8], sender: &SigningCert) -> Result<Vec<u8>, OpenError> {
    let container = AuthContainer::decode(body).map_err(|_| OpenError::Malformed)?;
    let algo = container.algo;
    if algo != HashAlgorithm::Sha25616bytes as i32 && algo != HashAlgorithm::Sha25632bytes as i32 {
        return Err(OpenError::BadAlgorithm { algo });
    }
    let hash = &container.sender_cert_hash;
    if hash.len() != 16 && hash.len() != 32 {
        return Err(OpenError::BadHashLength { have: hash.len() });
    }
    if !sender.hash().starts_with(hash) {
        return Err(OpenError::UnknownSender);
    }
    let payload = container.protected_payload.ok_or(OpenError::NoPayload)?.payload;
    sender.public_key().verify(&payload, &container.signature_hash).map_err(|_| OpenError::BadSignature)?;
    Ok(payload)
}

/// The payload of a `/certs` answer. Its signature cannot be checked yet: the certificates inside are
/// what it would be checked with, and they are authenticated by their chain instead.
///
/// # Errors
/// [`OpenError::Malformed`] or [`OpenError::NoPayload`].
pub fn open_unverified(body: &[u8]) -> Result<Vec<u8>, OpenError> {
    let container = AuthContainer::decode(body).map_err(|_| OpenError::Malformed)?;
    Ok(container.protected_payload.ok_or(OpenError::NoPayload)?.payload)
}

fn container(payload: Vec<u8>, signer: &dyn Signer, sender_cert: Vec<u8>) -> Result<AuthContainer, KeyError> {
    let digest = Sha256::digest(&payload).into();
    let signature = signer.sign_digest(&digest)?;
    Ok(AuthContainer {
        protected_payload: Some(AuthBody { payload }),
        algo: HashAlgorithm::Sha25632bytes as i32,
        sender_cert_hash: signer.certificate_hash().to_vec(),
        signature_hash: signature.to_vec(),
        sender_cert,
        cipher_context: None,
        cipher_data: None,
    })
}
