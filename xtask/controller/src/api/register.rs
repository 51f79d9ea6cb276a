//! `POST register` and `POST uuid`: how a device becomes known.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proto_eve::Message as _;
use proto_eve::wire::register::ZRegisterMsg;
use proto_eve::wire::uuid::{UuidRequest, UuidResponse};
use uuid::Uuid;

use super::{Answer, decode};
use crate::clock;
use crate::envelope::Unverified;
use crate::key::Certificate;
use crate::refusal::Refusal;
use crate::registry::Registered;
use crate::state::{State, view_of};

/// Admits a device that shows the onboarding certificate: 201 new, 200 known, 409 taken.
pub(super) fn serve(state: &mut State, body: &[u8]) -> Result<Answer, Refusal> {
    let container = Unverified::parse(body)?;
    let onboarding = container.carried_certificate()?;
    container.check(&onboarding)?;
    let ours = Certificate::from_pem(state.pki.onboarding.cert.as_bytes())
        .map_err(|fault| Refusal::ordinary(500, format!("own onboarding certificate: {fault}")))?;
    if onboarding.der_hash() != ours.der_hash() {
        return Err(Refusal::ordinary(403, "the onboarding certificate is not known here"));
    }
    let message: ZRegisterMsg = decode(&container.payload, "ZRegisterMsg")?;
    check_serials(&message)?;
    let (pem, certificate) = device_certificate(&message.pem_cert)?;
    let serials = (message.serial.as_str(), message.soft_serial.as_str());
    if !state.desired.as_ref().is_none_or(|desired| desired.admits(serials.0, serials.1)) {
        return Err(Refusal::ordinary(403, format!("serial {} may not register here", serials.0)));
    }
    let registered = state
        .registry
        .register(pem, &certificate, serials, clock::now_ms())
        .map_err(|fault| Refusal::ordinary(500, format!("cannot keep the device: {fault:#}")))?;
    match registered {
        Registered::New(uuid) => {
            if let Some(device) = state.registry.by_uuid(uuid) {
                let view = view_of(device);
                state.observed.devices.insert(uuid, view);
            }
            state.device_event(uuid, format!("registered as {uuid}, serial {}", shown(&message.serial)));
            state.view(uuid).last_seen_ms = clock::now_ms();
            Ok(Answer::empty(201))
        }
        Registered::Again(uuid) => {
            state.device_event(uuid, "registered again".into());
            Ok(Answer::empty(200))
        }
        Registered::Conflict(owner) => {
            let serial = shown(&message.serial);
            Err(Refusal::ordinary(409, format!("serial {serial} belongs to device {owner}")))
        }
    }
}

/// Tells a device its UUID.
pub(super) fn serve_uuid(state: &mut State, device: Uuid, payload: &[u8]) -> Result<Answer, Refusal> {
    // A life of the device begins, or of its agent: which configuration it has is to be seen anew.
    state.view(device).config_confirmed = None;
    let _: UuidRequest = decode(payload, "UuidRequest")?;
    state.device_event(device, "asked for its UUID".into());
    let response = UuidResponse {
        uuid: device.to_string(),
        manufacturer: "Sarsen".into(),
        product_name: "Development device".into(),
    };
    Ok(Answer::sealed(200, state, response.encode_to_vec()))
}

fn check_serials(message: &ZRegisterMsg) -> Result<(), Refusal> {
    #[allow(deprecated, reason = "a device must leave it empty, so it has to be looked at")]
    if !message.on_board_key.is_empty() {
        return Err(Refusal::message("onBoardKey is obsolete and stays empty"));
    }
    if message.serial.chars().count() > 256 || message.soft_serial.chars().count() > 256 {
        return Err(Refusal::message("a serial is longer than 256 characters"));
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if !message.soft_serial.bytes().all(allowed) {
        return Err(Refusal::message("softSerial has characters beside letters, digits, _ and -"));
    }
    Ok(())
}

/// The device's own certificate: base64 of PEM, self-signed, valid now.
fn device_certificate(field: &[u8]) -> Result<(String, Certificate), Refusal> {
    if !(100..=10_240).contains(&field.len()) {
        let reason = format!("pemCert has {} bytes, not 100 to 10240", field.len());
        return Err(Refusal::message(reason));
    }
    let text = STANDARD
        .decode(field)
        .map_err(|fault| Refusal::message(format!("pemCert is no base64: {fault}")))
        .and_then(|pem| String::from_utf8(pem).map_err(|_| Refusal::message("pemCert is no text")))?;
    let bad = |fault| Refusal::message(format!("pemCert: {fault}"));
    let certificate = Certificate::from_pem(text.as_bytes()).map_err(bad)?;
    certificate.check_signed_by(&certificate).map_err(bad)?;
    certificate.check_valid_now().map_err(bad)?;
    Ok((text, certificate))
}

fn shown(serial: &str) -> &str {
    if serial.is_empty() { "(empty)" } else { serial }
}
