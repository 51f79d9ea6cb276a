//! `POST attest`: certificates, nonce, quote, keys to keep.

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proto_attest::Prediction;
use proto_eve::Message as _;
use proto_eve::wire::attest::{
    AttestStorageKeysResp, AttestStorageKeysResponseCode, AttestVolumeKey, ZAttestNonceResp, ZAttestQuote,
    ZAttestQuoteResp, ZAttestReq, ZAttestReqType, ZAttestRespType, ZAttestResponse, ZAttestResponseCode,
};
use proto_eve::wire::certs::{ZCert, ZCertType};
use proto_eve::wire::common::HashAlgorithm;
use uuid::Uuid;

use super::quote::{self, Verdict};
use super::{Answer, Notes, decode};
use crate::clock;
use crate::key::{Certificate, hex, sha256};
use crate::measured::{self, LEFT_OUT, Story};
use crate::observed::QuoteView;
use crate::pki::random;
use crate::refusal::Refusal;
use crate::registry::{Device, PublishedCert};
use crate::state::State;

/// Largest serialized quote request, in bytes.
const QUOTE_LIMIT: usize = 63_488;

/// Serves all four kinds of request; each is answered 201 with a container.
pub(super) fn serve(
    state: &mut State,
    device: Uuid,
    payload: &[u8],
    notes: &mut Notes,
) -> Result<Answer, Refusal> {
    let request: ZAttestReq = decode(payload, "ZAttestReq")?;
    let kind = ZAttestReqType::try_from(request.req_type).unwrap_or(ZAttestReqType::AttestReqNone);
    check_parts(&request, kind)?;
    let response = match kind {
        ZAttestReqType::AttestReqCert => take_certs(state, device, &request.certs)?,
        ZAttestReqType::AttestReqNonce => give_nonce(state, device)?,
        ZAttestReqType::AttestReqQuote => {
            if payload.len() > QUOTE_LIMIT {
                let reason =
                    format!("the quote request has {} bytes, more than {QUOTE_LIMIT}", payload.len());
                return Err(Refusal::violation(413, reason));
            }
            let quote = request.quote.ok_or_else(|| Refusal::message("a QUOTE request without quote"))?;
            judge_quote(state, device, &quote, notes)?
        }
        ZAttestReqType::StoreKeys => {
            let keys = request
                .storage_keys
                .ok_or_else(|| Refusal::message("a STORE_KEYS request without storage_keys"))?;
            store_keys(state, device, &keys.integrity_token, &keys.keys)?
        }
        ZAttestReqType::AttestReqNone => {
            return Err(Refusal::message(format!("reqType {} is unknown", request.req_type)));
        }
    };
    Ok(Answer::sealed(201, state, response.encode_to_vec()))
}

/// Each kind of request has its own part, and no other.
fn check_parts(request: &ZAttestReq, kind: ZAttestReqType) -> Result<(), Refusal> {
    let stray = |name: &str, there: bool, belongs: ZAttestReqType| match there && kind != belongs {
        true => Err(Refusal::message(format!("{name} does not belong into {}", kind.as_str_name()))),
        false => Ok(()),
    };
    stray("quote", request.quote.is_some(), ZAttestReqType::AttestReqQuote)?;
    stray("certs", !request.certs.is_empty(), ZAttestReqType::AttestReqCert)?;
    stray("storage_keys", request.storage_keys.is_some(), ZAttestReqType::StoreKeys)
}

fn take_certs(state: &mut State, device: Uuid, certs: &[ZCert]) -> Result<ZAttestResponse, Refusal> {
    let owner = known(state, device)?
        .certificate()
        .ok_or_else(|| Refusal::ordinary(500, "the kept device certificate is damaged"))?;
    let published = certs.iter().map(|cert| check_cert(cert, &owner)).collect::<Result<Vec<_>, _>>()?;
    let count = published.len();
    // Each request replaces the whole set.
    change(state, device, |device| device.publish(published))?.map_err(|other| {
        let kind = ZCertType::try_from(other.kind).map_or("", |kind| kind.as_str_name());
        // Ordinary, for a device whose TPM was exchanged; it takes an operator, who admits the device anew.
        Refusal::ordinary(404, format!("{kind}: another key than the one that the device published first"))
    })?;
    state.device_event(device, format!("published {count} certificates"));
    Ok(ZAttestResponse { resp_type: ZAttestRespType::AttestRespCert as i32, ..Default::default() })
}

fn check_cert(cert: &ZCert, owner: &Certificate) -> Result<PublishedCert, Refusal> {
    let kind = match ZCertType::try_from(cert.r#type) {
        Ok(
            kind @ (ZCertType::CertTypeDeviceRestrictedSigning
            | ZCertType::CertTypeDeviceEndorsementRsa
            | ZCertType::CertTypeDeviceEcdhExchange),
        ) => kind,
        _ => return Err(Refusal::message(format!("a device publishes no ZCert of type {}", cert.r#type))),
    };
    let name = kind.as_str_name();
    if cert.hash_algo != HashAlgorithm::Sha25616bytes as i32 {
        return Err(Refusal::message(format!("{name}: hashAlgo is {}, not 1", cert.hash_algo)));
    }
    if sha256(&cert.cert).get(..16) != Some(cert.cert_hash.as_slice()) {
        return Err(Refusal::message(format!("{name}: certHash is not the start of SHA-256 over the PEM")));
    }
    let bad = |fault| Refusal::message(format!("{name}: {fault}"));
    Certificate::from_pem(&cert.cert).and_then(|parsed| parsed.check_signed_by(owner)).map_err(bad)?;
    let text = String::from_utf8(cert.cert.clone())
        .map_err(|_| Refusal::message(format!("{name}: the PEM is no text")))?;
    Ok(PublishedCert { kind: kind as i32, cert: text })
}

fn give_nonce(state: &mut State, device: Uuid) -> Result<ZAttestResponse, Refusal> {
    let nonce: [u8; 16] = random();
    // The token stays: a device polls for its configuration while it attests again, and a refusal
    // in between would make it start over for ever.
    change(state, device, |device| device.nonce = Some(hex(&nonce)))?;
    Ok(ZAttestResponse {
        resp_type: ZAttestRespType::AttestRespNonce as i32,
        nonce: Some(ZAttestNonceResp { nonce: nonce.to_vec() }),
        ..Default::default()
    })
}

fn judge_quote(
    state: &mut State,
    device: Uuid,
    quote: &ZAttestQuote,
    notes: &mut Notes,
) -> Result<ZAttestResponse, Refusal> {
    let (verdict, learned) = judged(state, known(state, device)?, quote);
    note_quote(state, device, quote, &verdict);
    let known = known(state, device)?;
    let keys: Vec<AttestVolumeKey> = match &verdict {
        // A device without a TPM has nothing that could be kept for it.
        Verdict::Trusted => known.keys.iter().filter_map(|key| volume_key(key)).collect(),
        _ => Vec::new(),
    };
    let code = match &verdict {
        Verdict::Trusted | Verdict::NoTpm => ZAttestResponseCode::Success,
        Verdict::NoncePending => ZAttestResponseCode::NonceMismatch,
        Verdict::NoCertificate => ZAttestResponseCode::NoCertFound,
        Verdict::WrongNonce => ZAttestResponseCode::NonceMismatch,
        Verdict::Malformed(_) => ZAttestResponseCode::Invalid,
        Verdict::Refuted(_) | Verdict::Differs(_) => ZAttestResponseCode::QuoteFailed,
    };
    if code != ZAttestResponseCode::Success {
        if !matches!(verdict, Verdict::NoCertificate) {
            notes.remark(format!("quote answered {}: {verdict}", code.as_str_name()));
            // What an earlier quote has shown holds no longer.
            change(state, device, |device| device.token = None)?;
            state.view(device).attested = false;
        }
        state.device_event(device, format!("quote refused, {verdict}"));
        return Ok(quote_response(code, Vec::new(), Vec::new()));
    }
    let token = hex(&random::<64>());
    change(state, device, |device| {
        device.token = Some(token.clone());
        device.learned = learned.or(device.learned.take());
    })?;
    state.view(device).attested = true;
    state.device_event(device, format!("attested, {verdict}"));
    Ok(quote_response(code, token.into_bytes(), keys))
}

fn verdict(device: &Device, quote: &ZAttestQuote) -> Verdict {
    let Some(nonce) = &device.nonce else {
        return Verdict::NoncePending;
    };
    // Certificates are for quotes that are signed: a device without a TPM may have none.
    let signing = device
        .published
        .iter()
        .flatten()
        .find(|cert| cert.kind == ZCertType::CertTypeDeviceRestrictedSigning as i32)
        .and_then(PublishedCert::certificate);
    quote::judge(quote, nonce, signing.as_ref())
}

/// The verdict on a quote, with what its event log says; and what is learned of that log.
fn judged(state: &State, known: &Device, quote: &ZAttestQuote) -> (Verdict, Option<Prediction>) {
    let verdict = verdict(known, quote);
    if verdict == Verdict::NoTpm && (!state.expected.is_empty() || known.has_tpm()) {
        // Else a device whose image was changed would only have to say nothing of it.
        return (Verdict::Refuted("a device with a TPM did not quote".into()), None);
    }
    if verdict != Verdict::Trusted {
        return (verdict, None);
    }
    let learned = known.learned.as_slice();
    let expected = if state.expected.is_empty() { learned } else { &state.expected };
    let learns = expected.is_empty() && state.learns;
    if expected.is_empty() && !learns {
        return (verdict, None);
    }
    let refuted = |why: String| (Verdict::Refuted(why), None);
    let Some(log) = measured::unpack(&quote.tpm_binary_event_log) else {
        return refuted("there is no event log that can be unpacked".into());
    };
    let events = match measured::events(&log) {
        Ok(events) => events,
        Err(why) => return refuted(format!("the event log cannot be read: {why}")),
    };
    // What is held to no value need not be told of: U-Boot extends PCR 5 when the log was taken already.
    let asked = |pcr| !LEFT_OUT.contains(&pcr) || expected.iter().any(|one| one.pcrs.contains_key(&pcr));
    match measured::story(&events, asked, |pcr| quote::quoted_value(quote, pcr)) {
        Story::Told(_) => {}
        Story::Other(pcr) => return refuted(format!("the event log is not that of the quoted PCR {pcr}")),
        Story::Unreadable(why) => return refuted(format!("the event log cannot be read: {why}")),
        Story::None => return refuted("there is no event log".into()),
    }
    if learns {
        let mut prediction = Prediction { about: "learned on first use".into(), ..Prediction::default() };
        prediction.learn(events, &LEFT_OUT);
        return (verdict, Some(prediction));
    }
    let differences = measured::compare(expected, &events);
    if differences.is_empty() {
        return (verdict, None);
    }
    (Verdict::Differs(differences), None)
}

/// What the page shows of a quote, and the log for `measure --learn`.
fn note_quote(state: &mut State, device: Uuid, quote: &ZAttestQuote, verdict: &Verdict) {
    if *verdict == Verdict::NoTpm {
        state.view(device).quote = None;
        return;
    }
    let log = measured::unpack(&quote.tpm_binary_event_log);
    let story = match log.as_deref().map(measured::events) {
        None => Story::None,
        Some(Err(why)) => Story::Unreadable(why),
        Some(Ok(events)) => measured::story(&events, |_| true, |pcr| quote::quoted_value(quote, pcr)),
    };
    let pcrs = (0..24).filter_map(|pcr| Some((pcr, hex(&quote::quoted_value(quote, pcr)?))));
    state.view(device).quote = Some(QuoteView {
        at_ms: clock::now_ms(),
        trusted: *verdict == Verdict::Trusted,
        verdict: verdict.to_string(),
        differences: match verdict {
            Verdict::Differs(differences) => differences.clone(),
            _ => Vec::new(),
        },
        log: match story {
            Story::Told(count) => format!("{count} events, which lead to the quoted values"),
            Story::None => "none".into(),
            Story::Unreadable(why) => format!("cannot be read: {why}"),
            Story::Other(pcr) => format!("does not lead to the quoted value of PCR {pcr}"),
        },
        pcrs: pcrs.collect(),
    });
    if let (Verdict::Trusted, Some(log)) = (verdict, log) {
        // For people; the verdict does not depend on it.
        let kept =
            fs::create_dir_all(&state.event_logs).and_then(|()| fs::write(state.event_log(device), log));
        if let Err(fault) = kept {
            state.device_event(device, format!("its event log cannot be kept: {fault}"));
        }
    }
}

fn quote_response(
    code: ZAttestResponseCode,
    integrity_token: Vec<u8>,
    keys: Vec<AttestVolumeKey>,
) -> ZAttestResponse {
    ZAttestResponse {
        resp_type: ZAttestRespType::AttestRespQuoteResp as i32,
        quote_resp: Some(ZAttestQuoteResp { response: code as i32, integrity_token, keys }),
        ..Default::default()
    }
}

fn store_keys(
    state: &mut State,
    device: Uuid,
    token: &[u8],
    keys: &[AttestVolumeKey],
) -> Result<ZAttestResponse, Refusal> {
    let current = known(state, device)?.token.as_deref().map(str::as_bytes) == Some(token);
    let code = if current {
        let kept = keys.iter().map(|key| STANDARD.encode(key.encode_to_vec())).collect();
        change(state, device, |device| device.keys = kept)?;
        state.view(device).escrowed = keys.len();
        state.device_event(device, format!("{} keys are kept for it", keys.len()));
        AttestStorageKeysResponseCode::Success
    } else {
        AttestStorageKeysResponseCode::ItokenMismatch
    };
    Ok(ZAttestResponse {
        resp_type: ZAttestRespType::StoreKeys as i32,
        storage_keys_resp: Some(AttestStorageKeysResp { response: code as i32 }),
        ..Default::default()
    })
}

fn volume_key(kept: &str) -> Option<AttestVolumeKey> {
    STANDARD.decode(kept).ok().and_then(|bytes| AttestVolumeKey::decode(bytes.as_slice()).ok())
}

fn known(state: &State, device: Uuid) -> Result<&Device, Refusal> {
    state.registry.by_uuid(device).ok_or_else(unknown)
}

fn change<T>(state: &mut State, device: Uuid, with: impl FnOnce(&mut Device) -> T) -> Result<T, Refusal> {
    state
        .registry
        .change(device, with)
        .map_err(|fault| Refusal::ordinary(500, format!("cannot keep the device: {fault:#}")))?
        .ok_or_else(unknown)
}

fn unknown() -> Refusal {
    Refusal::ordinary(400, "the device is unknown")
}
