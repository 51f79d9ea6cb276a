//! KDFa: the key derivation of sessions. Source: part 1, 11.4.10.2, after SP 800-108 in counter mode.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// HMAC with SHA-256.
pub(crate) fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// 256 bits; who needs fewer takes the first ones of a key of that many `bits`.
pub(crate) fn kdfa(key: &[u8], label: &str, u: &[u8], v: &[u8], bits: u32) -> [u8; 32] {
    debug_assert!(bits <= 256);
    hmac(key, &[&1_u32.to_be_bytes(), label.as_bytes(), &[0], u, v, &bits.to_be_bytes()])
}
