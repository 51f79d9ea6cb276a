//! The key that slots are signed with: `boot/trust` says how a real one is supplied.

use ed25519_dalek::VerifyingKey;

/// The public key in hexadecimal: what the build was given, or the test key's.
const TEXT: &str = match option_env!("SARSEN_SLOT_KEY") {
    Some(text) => text,
    None => include_str!("../../trust/slot-test.pub"),
};
const BYTES: [u8; 32] = proto_update::trust::key_bytes(TEXT);

/// Whether it is the test key, which everybody has.
pub(crate) const IS_TEST: bool = option_env!("SARSEN_SLOT_KEY").is_none();

/// The key; none, and then no slot is trusted, if it is no point of the curve.
pub(crate) fn key() -> Option<VerifyingKey> {
    VerifyingKey::from_bytes(&BYTES).ok()
}
