//! The key that slots are signed with, and the machine that they are for: as in the selector.

use ed25519_dalek::VerifyingKey;
use proto_update::manifest::Machine;
use proto_update::trust;
use stubdoms_storage_core::slots::Trust;

/// The public key in hexadecimal: what the build was given, or the test key's.
const TEXT: &str = match option_env!("SARSEN_SLOT_KEY") {
    Some(text) => text,
    None => include_str!("../../../boot/trust/slot-test.pub"),
};
const BYTES: [u8; 32] = trust::key_bytes(TEXT);

#[cfg(target_arch = "x86_64")]
const MACHINE: Machine = Machine::X86_64;
#[cfg(target_arch = "aarch64")]
const MACHINE: Machine = Machine::Aarch64;

/// Whose slots are taken. No key, and then no slot, if it is no point of the curve.
pub(crate) fn trust() -> Trust {
    Trust { key: VerifyingKey::from_bytes(&BYTES).ok(), machine: MACHINE }
}
