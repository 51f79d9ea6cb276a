//! The key that slots are signed with: `boot/trust` says how a real one is supplied.

use ed25519_dalek::VerifyingKey;

/// The public key in hexadecimal: what the build was given, or the test key's.
const TEXT: &str = match option_env!("SARSEN_SLOT_KEY") {
    Some(text) => text,
    None => include_str!("../../trust/slot-test.pub"),
};
const BYTES: [u8; 32] = bytes(TEXT);

/// Whether it is the test key, which everybody has.
pub(crate) const IS_TEST: bool = option_env!("SARSEN_SLOT_KEY").is_none();

/// The key; none, and then no slot is trusted, if it is no point of the curve.
pub(crate) fn key() -> Option<VerifyingKey> {
    VerifyingKey::from_bytes(&BYTES).ok()
}

/// Reads 64 hexadecimal digits; anything else does not compile.
const fn bytes(text: &str) -> [u8; 32] {
    let text = text.as_bytes().trim_ascii();
    assert!(text.len() == 64, "the key of slots is 64 hexadecimal digits");
    let mut bytes = [0; 32];
    let mut at = 0;
    while at < 64 {
        let digit = match text[at] {
            digit @ b'0'..=b'9' => digit - b'0',
            digit @ b'a'..=b'f' => digit - b'a' + 10,
            _ => panic!("the key of slots is lower-case hexadecimal"),
        };
        bytes[at / 2] = bytes[at / 2] << 4 | digit;
        at += 1;
    }
    bytes
}
