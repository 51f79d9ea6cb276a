//! Attestation messages: publishing the device's certificates, nonce, quote.
//!
//! Every request is a `ZAttestReq` to [`Endpoint::Attest`](crate::endpoint::Endpoint::Attest), every
//! answer a `ZAttestResponse`. A device without a TPM sends a quote that is empty but for the
//! versions; the controller decides what that is worth.

use alloc::{string::String, vec, vec::Vec};

use prost::Message;
use sha2::{Digest, Sha256};

use crate::{
    bounds,
    wire::{
        attest::{
            AttestVersionInfo, AttestVersionType, ZAttestQuote, ZAttestReq, ZAttestReqType, ZAttestRespType,
            ZAttestResponse, ZAttestResponseCode,
        },
        certs::{ZCert, ZCertType},
        common::HashAlgorithm,
    },
};

/// Bytes of an integrity token; Adam's has 128.
pub const MAX_TOKEN: usize = 1024;
/// Bytes of memory that an answer may decode to.
const MAX_MEMORY: usize = 64 * 1024;

/// The entry under which the device's key exchange certificate is published. Its hash is over the
/// PEM text, and 16 bytes long.
#[must_use]
pub fn key_exchange_cert(certificate_pem: &[u8]) -> ZCert {
    let hash = Sha256::digest(certificate_pem);
    ZCert {
        hash_algo: HashAlgorithm::Sha25616bytes as i32,
        cert_hash: hash.iter().copied().take(16).collect(),
        r#type: ZCertType::CertTypeDeviceEcdhExchange as i32,
        cert: certificate_pem.to_vec(),
        attributes: None,
        meta_data_items: Vec::new(),
    }
}

/// Publishes the device's certificates. Each request replaces the whole stored set.
#[must_use]
pub fn certs_request(certs: Vec<ZCert>) -> Vec<u8> {
    ZAttestReq { req_type: ZAttestReqType::AttestReqCert as i32, certs, ..ZAttestReq::default() }
        .encode_to_vec()
}

/// Asks for a nonce.
#[must_use]
pub fn nonce_request() -> Vec<u8> {
    ZAttestReq { req_type: ZAttestReqType::AttestReqNonce as i32, ..ZAttestReq::default() }.encode_to_vec()
}

/// The quote of a device without a TPM: versions of the system and of the firmware, those that are
/// known, and nothing else. There are no PCR values, for they must not come without a signature.
#[must_use]
pub fn empty_quote_request(system_version: &str, firmware_version: &str) -> Vec<u8> {
    let version = |kind: AttestVersionType, text: &str| {
        (!text.is_empty())
            .then(|| AttestVersionInfo { version_type: kind as i32, version: String::from(text) })
    };
    let versions = [
        version(AttestVersionType::Eve, system_version),
        version(AttestVersionType::Firmware, firmware_version),
    ];
    ZAttestReq {
        req_type: ZAttestReqType::AttestReqQuote as i32,
        quote: Some(ZAttestQuote {
            versions: versions.into_iter().flatten().collect(),
            ..ZAttestQuote::default()
        }),
        ..ZAttestReq::default()
    }
    .encode_to_vec()
}

/// What the controller answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// The certificates were taken.
    Certs,
    /// A nonce of 12 to 32 bytes.
    Nonce(Vec<u8>),
    /// The quote was accepted.
    Accepted {
        /// To be sent with each configuration request of this boot.
        integrity_token: Vec<u8>,
    },
    /// The quote was refused.
    Rejected(Rejection),
    /// Keys were stored.
    KeysStored,
    /// Keys were not stored.
    KeysRefused,
}

/// Why a quote was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// No reason given, or one that we do not know.
    Invalid,
    /// The nonce is not the pending one.
    NonceMismatch,
    /// The device's certificates are not known.
    NoCertFound,
    /// The measured values are not the expected ones.
    QuoteFailed,
}

impl core::fmt::Display for Rejection {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Invalid => "the controller calls the quote invalid",
            Self::NonceMismatch => "the controller expects another nonce",
            Self::NoCertFound => "the controller does not have the device's certificates",
            Self::QuoteFailed => "the controller does not accept the measured values",
        })
    }
}

/// Reads an answer's payload. `None` when it is not one, or lacks what its type promises.
#[must_use]
pub fn parse_response(payload: &[u8]) -> Option<Response> {
    bounds::check(payload, bounds::ATTEST_RESPONSE, MAX_MEMORY).ok()?;
    let response = ZAttestResponse::decode(payload).ok()?;
    match ZAttestRespType::try_from(response.resp_type).ok()? {
        ZAttestRespType::AttestRespNone => None,
        ZAttestRespType::AttestRespCert => Some(Response::Certs),
        ZAttestRespType::AttestRespNonce => {
            let nonce = response.nonce?.nonce;
            (12..=32).contains(&nonce.len()).then_some(Response::Nonce(nonce))
        }
        ZAttestRespType::AttestRespQuoteResp => {
            let quote = response.quote_resp?;
            Some(match ZAttestResponseCode::try_from(quote.response) {
                Ok(ZAttestResponseCode::Success) => {
                    if quote.integrity_token.len() > MAX_TOKEN {
                        return None;
                    }
                    Response::Accepted { integrity_token: quote.integrity_token }
                }
                Ok(ZAttestResponseCode::NonceMismatch) => Response::Rejected(Rejection::NonceMismatch),
                Ok(ZAttestResponseCode::NoCertFound) => Response::Rejected(Rejection::NoCertFound),
                Ok(ZAttestResponseCode::QuoteFailed) => Response::Rejected(Rejection::QuoteFailed),
                Ok(ZAttestResponseCode::Invalid) | Err(_) => Response::Rejected(Rejection::Invalid),
            })
        }
        ZAttestRespType::StoreKeys => Some(match response.storage_keys_resp?.response {
            1 => Response::KeysStored,
            _ => Response::KeysRefused,
        }),
    }
}

/// The certificates to publish: the one for key exchange, if the device has one.
#[must_use]
pub fn published(key_exchange_pem: Option<&[u8]>) -> Vec<ZCert> {
    key_exchange_pem.map(key_exchange_cert).map_or_else(Vec::new, |cert| vec![cert])
}
