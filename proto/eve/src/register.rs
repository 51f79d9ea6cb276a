//! Registration: the message by which an onboarding key vouches for a device key.
//!
//! Source: eve-api `proto/register/register.proto` with its limits.

use alloc::{string::String, vec::Vec};

use base64ct::{Base64, Encoding};
use prost::Message;

use crate::{
    auth,
    key::{KeyError, SoftwareKey},
    text,
    wire::register::ZRegisterMsg,
};

/// Characters of a serial number.
pub const MAX_SERIAL: usize = 256;

/// The whole body of the request: message, envelope, and the onboarding certificate beside it.
///
/// Serial numbers are cut to what the limits allow: text of at most 256 bytes, and in the soft one
/// only letters, digits, `_` and `-`.
///
/// # Errors
/// What the onboarding key said.
pub fn request(
    onboarding: &SoftwareKey,
    device_certificate_pem: &[u8],
    serial: &str,
    soft_serial: &str,
) -> Result<Vec<u8>, KeyError> {
    let soft_serial: String = soft_serial
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
        .take(MAX_SERIAL)
        .collect();
    let message = ZRegisterMsg {
        pem_cert: Base64::encode_string(device_certificate_pem).into_bytes(),
        serial: text::bounded(serial.trim(), MAX_SERIAL),
        soft_serial,
        ..ZRegisterMsg::default()
    };
    auth::seal_with_certificate(message.encode_to_vec(), onboarding, onboarding.certificate_pem())
}
