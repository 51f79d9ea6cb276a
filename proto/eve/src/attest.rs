//! Attestation messages: publishing the device's certificates, nonce, quote, keys to keep.
//!
//! Every request is a `ZAttestReq` to [`Endpoint::Attest`](crate::endpoint::Endpoint::Attest), every
//! answer a `ZAttestResponse`. A device without a TPM sends a quote that is empty but for the
//! versions; the controller decides what that is worth.

use alloc::{string::String, vec, vec::Vec};

use prost::Message;
use sha2::{Digest, Sha256};

use crate::{
    bounds, gzip,
    wire::{
        attest::{
            AttestStorageKeys, AttestVersionInfo, AttestVersionType, AttestVolumeKey, AttestVolumeKeyData,
            AttestVolumeKeyType, TpmHashAlgo, TpmPcrValue, ZAttestQuote, ZAttestReq, ZAttestReqType,
            ZAttestRespType, ZAttestResponse, ZAttestResponseCode,
        },
        certs::{ZCert, ZCertMetaData, ZCertMetaDataType, ZCertType},
        common::HashAlgorithm,
    },
};

/// Bytes of the longest quote request; one that would be longer goes without the event log.
pub const MAX_QUOTE_REQUEST: usize = 63_488;
/// Bytes of the longest event log that is sent, before it is compressed.
pub const MAX_EVENT_LOG: usize = 2 * MAX_QUOTE_REQUEST;
/// Bytes of an integrity token; Adam's has 128.
pub const MAX_TOKEN: usize = 1024;
/// The last of the PCRs that the storage's key is sealed to, from 0 on, and the one that is left out: EVE's list where a
/// controller names none.
const SEALED_TO: (u32, u32) = (14, 5);
/// Bytes of memory that an answer may decode to.
const MAX_MEMORY: usize = 64 * 1024;

/// The entry under which one of the device's certificates is published. Its hash is over the PEM text, and 16
/// bytes long. The endorsement key's has its `TPM2B_PUBLIC` beside it.
#[must_use]
pub fn published(kind: ZCertType, certificate_pem: &[u8], tpm_public: Option<&[u8]>) -> ZCert {
    let hash = Sha256::digest(certificate_pem);
    let meta_data = |meta_data: &[u8]| ZCertMetaData {
        r#type: ZCertMetaDataType::Tpm2Public as i32,
        meta_data: meta_data.to_vec(),
    };
    ZCert {
        hash_algo: HashAlgorithm::Sha25616bytes as i32,
        cert_hash: hash.iter().copied().take(16).collect(),
        r#type: kind as i32,
        cert: certificate_pem.to_vec(),
        attributes: None,
        meta_data_items: tpm_public.map(meta_data).into_iter().collect(),
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

/// What a TPM said, for the controller.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// `TPMS_ATTEST`, as the TPM made it, without a length before it.
    pub attest: &'a [u8],
    /// The quote key's signature over it: `SEQUENCE { r, s }`.
    pub signature: &'a [u8],
    /// The values of the PCRs of the SHA-256 bank, from 0 on.
    pub pcrs: &'a [[u8; 32]],
    /// The event log, binary; empty if there is none.
    pub event_log: &'a [u8],
}

/// A quote with the versions of the system and of the firmware, those that are known. Without a TPM there is
/// nothing else in it: values must not come without a signature, so there are none either when that is empty.
///
/// An event log that is too long is left out; so is one that makes the request too long.
#[must_use]
pub fn quote_request(
    system_version: &str,
    firmware_version: &str,
    evidence: Option<Evidence<'_>>,
) -> Vec<u8> {
    let version = |kind: AttestVersionType, text: &str| {
        (!text.is_empty())
            .then(|| AttestVersionInfo { version_type: kind as i32, version: String::from(text) })
    };
    let versions = [
        version(AttestVersionType::Eve, system_version),
        version(AttestVersionType::Firmware, firmware_version),
    ];
    let mut quote =
        ZAttestQuote { versions: versions.into_iter().flatten().collect(), ..ZAttestQuote::default() };
    let evidence = evidence.filter(|evidence| !evidence.attest.is_empty() && !evidence.signature.is_empty());
    let mut log = Vec::new();
    if let Some(evidence) = evidence {
        quote.attest_data = evidence.attest.to_vec();
        quote.signature = evidence.signature.to_vec();
        quote.pcr_values = (0..).zip(evidence.pcrs).map(pcr_value).collect();
        if !evidence.event_log.is_empty() && evidence.event_log.len() <= MAX_EVENT_LOG {
            log = gzip::compress(evidence.event_log);
        }
    }
    let mut request = ZAttestReq {
        req_type: ZAttestReqType::AttestReqQuote as i32,
        quote: Some(quote),
        ..ZAttestReq::default()
    };
    if let Some(quote) = &mut request.quote {
        quote.tpm_binary_event_log = log;
    }
    if request.encoded_len() > MAX_QUOTE_REQUEST
        && let Some(quote) = &mut request.quote
    {
        quote.tpm_binary_event_log.clear();
    }
    request.encode_to_vec()
}

fn pcr_value((index, value): (u32, &[u8; 32])) -> TpmPcrValue {
    TpmPcrValue { index, hash_algo: TpmHashAlgo::Sha256 as i32, value: value.to_vec() }
}

/// The key of the storage as the controller keeps it: nobody but the vault that made it can read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EscrowedKey {
    /// The key, encrypted.
    pub encrypted: Vec<u8>,
    /// SHA-256 of the key.
    pub digest: [u8; 32],
}

impl EscrowedKey {
    /// Reads what the controller gave back.
    fn read(key: &AttestVolumeKey) -> Option<Self> {
        if key.key_type != AttestVolumeKeyType::Vsk as i32 {
            return None;
        }
        let data = AttestVolumeKeyData::decode(&key.key[..]).ok()?;
        Some(Self { encrypted: data.encrypted_key, digest: data.digest_sha256.try_into().ok()? })
    }
}

/// Whether the controller names other PCRs for the key to be sealed to than those that it is sealed to.
fn names_other_pcrs(key: &AttestVolumeKey) -> bool {
    let named = key.policy_pcr_list.as_ref().map_or(&[][..], |list| &list.pcr_indices[..]);
    let (last, left_out) = SEALED_TO;
    let is_sealed_to = |pcr: u32| pcr <= last && pcr != left_out;
    let same = named.iter().all(|&pcr| is_sealed_to(pcr))
        && (0..=last).all(|pcr| named.contains(&pcr) == is_sealed_to(pcr));
    (key.has_policy_pcr_list || !named.is_empty()) && !same
}

/// Has the controller keep the key of the storage.
#[must_use]
pub fn store_keys_request(integrity_token: &[u8], key: &EscrowedKey) -> Vec<u8> {
    let data = AttestVolumeKeyData {
        encrypted_key: key.encrypted.clone(),
        digest_sha256: key.digest.to_vec(),
        ..AttestVolumeKeyData::default()
    };
    let key = AttestVolumeKey {
        key_type: AttestVolumeKeyType::Vsk as i32,
        key: data.encode_to_vec(),
        ..AttestVolumeKey::default()
    };
    ZAttestReq {
        req_type: ZAttestReqType::StoreKeys as i32,
        storage_keys: Some(AttestStorageKeys { integrity_token: integrity_token.to_vec(), keys: vec![key] }),
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
        /// The key of the storage, if one was stored.
        key: Option<EscrowedKey>,
        /// Whether the controller names other PCRs than 0 to 4 and 6 to 14 for that key to be sealed to.
        other_pcrs: bool,
    },
    /// The quote was refused.
    Rejected(Rejection),
    /// The key was stored.
    KeysStored,
    /// The key was not stored, for the controller has another token.
    WrongToken,
    /// The key was not stored, and there is no reason that we know.
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
                    let key = quote.keys.iter().find_map(EscrowedKey::read);
                    let other_pcrs = quote.keys.iter().any(names_other_pcrs);
                    Response::Accepted { integrity_token: quote.integrity_token, key, other_pcrs }
                }
                Ok(ZAttestResponseCode::NonceMismatch) => Response::Rejected(Rejection::NonceMismatch),
                Ok(ZAttestResponseCode::NoCertFound) => Response::Rejected(Rejection::NoCertFound),
                Ok(ZAttestResponseCode::QuoteFailed) => Response::Rejected(Rejection::QuoteFailed),
                Ok(ZAttestResponseCode::Invalid) | Err(_) => Response::Rejected(Rejection::Invalid),
            })
        }
        ZAttestRespType::StoreKeys => Some(match response.storage_keys_resp?.response {
            1 => Response::KeysStored,
            2 => Response::WrongToken,
            _ => Response::KeysRefused,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::attest::{AttestPolicyPcrList, AttestStorageKeysResp, ZAttestQuoteResp};

    fn quote(evidence: Option<Evidence<'_>>) -> ZAttestQuote {
        let request = quote_request("0.1.0", "", evidence);
        assert!(request.len() <= MAX_QUOTE_REQUEST);
        ZAttestReq::decode(&request[..]).unwrap().quote.unwrap()
    }

    #[test]
    fn a_quote_carries_values_only_with_a_signature() {
        let pcrs = [[7; 32]; 24];
        let whole = Evidence { attest: b"attest", signature: b"signature", pcrs: &pcrs, event_log: b"log" };
        let sent = quote(Some(whole));
        assert_eq!((&sent.attest_data[..], &sent.signature[..]), (&b"attest"[..], &b"signature"[..]));
        assert_eq!(sent.pcr_values.len(), 24);
        assert!((0..).zip(&sent.pcr_values).all(|(index, value)| {
            value.index == index && value.hash_algo == 2 && value.value == [7; 32]
        }));
        assert_eq!(&sent.tpm_binary_event_log[..3], &[0x1f, 0x8b, 8]);
        assert_eq!(sent.versions.len(), 1);
        for bad in [None, Some(Evidence { attest: b"", ..whole }), Some(Evidence { signature: b"", ..whole })]
        {
            let sent = quote(bad);
            assert!(sent.attest_data.is_empty() && sent.signature.is_empty() && sent.pcr_values.is_empty());
            assert!(sent.tpm_binary_event_log.is_empty());
        }
    }

    #[test]
    fn a_log_that_is_too_long_is_left_out() {
        let pcrs = [[7; 32]; 24];
        let sent = |event_log: &[u8]| {
            let evidence = Evidence { attest: b"attest", signature: b"signature", pcrs: &pcrs, event_log };
            quote(Some(evidence)).tpm_binary_event_log.len()
        };
        assert!(sent(&vec![0; MAX_EVENT_LOG]) > 0);
        assert_eq!(sent(&vec![0; MAX_EVENT_LOG + 1]), 0);
        // Noise, which does not become shorter.
        let mut state = 1_u32;
        let noise: Vec<u8> = core::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        })
        .take(MAX_EVENT_LOG)
        .collect();
        assert!(sent(&noise[..60_000]) > 60_000);
        assert_eq!(sent(&noise[..63_000]), 0);
    }

    #[test]
    fn a_key_comes_back_as_it_was_stored() {
        let key = EscrowedKey { encrypted: vec![1; 32], digest: [2; 32] };
        let request = ZAttestReq::decode(&store_keys_request(b"token", &key)[..]).unwrap();
        let stored = request.storage_keys.unwrap();
        assert_eq!((request.req_type, &stored.integrity_token[..]), (4, &b"token"[..]));
        let answer = |keys: Vec<AttestVolumeKey>| {
            let quote_resp = ZAttestQuoteResp { response: 1, integrity_token: b"token".to_vec(), keys };
            let response =
                ZAttestResponse { resp_type: 3, quote_resp: Some(quote_resp), ..ZAttestResponse::default() };
            match parse_response(&response.encode_to_vec()) {
                Some(Response::Accepted { key, .. }) => key,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(answer(stored.keys.clone()), Some(key));
        // Of others we know nothing; a digest of the wrong length is none of ours.
        let of_kind = |key_type| AttestVolumeKey { key_type, ..stored.keys[0].clone() };
        assert_eq!(answer(vec![of_kind(0)]), None);
        let short = AttestVolumeKeyData { digest_sha256: vec![2; 31], ..AttestVolumeKeyData::default() };
        let short = AttestVolumeKey { key: short.encode_to_vec(), ..of_kind(1) };
        assert_eq!(answer(vec![short]), None);
        assert_eq!(answer(vec![AttestVolumeKey { key: b"\xff".to_vec(), ..of_kind(1) }]), None);
    }

    #[test]
    fn a_controller_that_names_other_pcrs_is_noticed() {
        let other = |has_policy_pcr_list: bool, indices: Option<Vec<u32>>| {
            let policy_pcr_list =
                indices.map(|pcr_indices| AttestPolicyPcrList { pcr_indices, policy_id: 1 });
            let key = AttestVolumeKey { has_policy_pcr_list, policy_pcr_list, ..AttestVolumeKey::default() };
            let keys = vec![AttestVolumeKey::default(), key];
            let quote_resp = ZAttestQuoteResp { response: 1, integrity_token: b"token".to_vec(), keys };
            let response =
                ZAttestResponse { resp_type: 3, quote_resp: Some(quote_resp), ..ZAttestResponse::default() };
            match parse_response(&response.encode_to_vec()) {
                Some(Response::Accepted { other_pcrs, .. }) => other_pcrs,
                other => panic!("{other:?}"),
            }
        };
        let ours = [0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14];
        for none in [other(false, None), other(false, Some(Vec::new())), other(true, Some(ours.to_vec()))] {
            assert!(!none);
        }
        let lists = [
            &[][..],
            &[0],
            &ours[1..],
            &ours[..13],
            &[&ours[..], &[15]].concat(),
            &[&[5], &ours[..]].concat(),
        ];
        for list in lists {
            assert!(other(true, Some(list.to_vec())), "{list:?}");
        }
        assert!(other(false, Some(vec![0])) && other(true, None));
    }

    #[test]
    fn the_answer_to_a_key_has_three_meanings() {
        let answer = |storage_keys_resp| {
            let response = ZAttestResponse { resp_type: 4, storage_keys_resp, ..ZAttestResponse::default() };
            parse_response(&response.encode_to_vec())
        };
        let coded = |response| answer(Some(AttestStorageKeysResp { response }));
        assert_eq!(coded(1), Some(Response::KeysStored));
        assert_eq!(coded(2), Some(Response::WrongToken));
        assert_eq!((coded(0), coded(9)), (Some(Response::KeysRefused), Some(Response::KeysRefused)));
        assert_eq!(answer(None), None);
    }

    #[test]
    fn the_endorsement_keys_entry_has_its_public_area() {
        let cert = published(ZCertType::CertTypeDeviceEndorsementRsa, b"pem", Some(b"public"));
        assert_eq!((cert.hash_algo, cert.r#type, cert.cert_hash.len()), (1, 12, 16));
        assert_eq!(
            (cert.meta_data_items[0].r#type, &cert.meta_data_items[0].meta_data[..]),
            (1, &b"public"[..])
        );
        assert!(published(ZCertType::CertTypeDeviceEcdhExchange, b"pem", None).meta_data_items.is_empty());
    }
}
