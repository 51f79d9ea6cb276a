//! Channel `sealing`: storage gets the key of what it stores from vault, and keeps for vault what vault cannot
//! keep itself.
//!
//! storage says what lies on its disk ([`ToVault::Open`]); vault unseals the key, makes the first one, or says
//! that it is locked, and sends the key when it has been recovered. What vault has sealed anew storage writes to
//! the disk before it says [`ToVault::Kept`].

use heapless::{String, Vec};
use serde::{Deserialize, Serialize};

use crate::envelope::Message;

/// Bytes of the longest sealed key; without a TPM the note that vault keeps for control is with it.
pub const MAX_SEALED: usize = 640;
/// Bytes that storage keeps for vault beside that: software's keys, where there is no TPM. vault has encrypted them.
pub const MAX_KEPT: usize = 256;
/// Bytes of the text that explains why a key is not to be had.
pub const MAX_REASON: usize = 120;

/// The key of the storage.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorageKey(pub [u8; 32]);

impl core::fmt::Debug for StorageKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("StorageKey(..)")
    }
}

/// What storage says to vault.
#[expect(clippy::large_enum_variant, reason = "one buffer of the largest size is what a channel has anyway")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToVault {
    /// First message.
    Hello {
        /// Version of this protocol.
        version: u16,
    },
    /// What lies on the disk: after the first message, and once more when the disk gave it only later, or did not take
    /// a new key: then vault begins anew with it.
    Open {
        /// The sealed key; empty on a disk that has none yet.
        sealed: Vec<u8, MAX_SEALED>,
        /// What vault had kept; empty if nothing.
        kept: Vec<u8, MAX_KEPT>,
    },
    /// What came with a [`FromVault::Keep`] is on the disk.
    Kept,
    /// It is not: the disk refused.
    NotKept,
}

/// What vault says to storage.
#[expect(clippy::large_enum_variant, reason = "one buffer of the largest size is what a channel has anyway")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromVault {
    /// First message.
    Hello {
        /// Version of this protocol.
        version: u16,
    },
    /// Write this in place of what there was. A fresh key that comes after it is used only when it was
    /// [`ToVault::Kept`].
    Keep {
        /// The sealed key.
        sealed: Vec<u8, MAX_SEALED>,
        /// What else vault has to keep.
        kept: Vec<u8, MAX_KEPT>,
        /// The sealed key is of a new one. What is stored was written by another and is dropped in the same
        /// write: a power cut leaves the old key with what it opens, or the new one with nothing.
        fresh: bool,
    },
    /// The key.
    Key {
        /// It.
        key: StorageKey,
        /// It is the one of the last [`FromVault::Keep`], which was fresh.
        fresh: bool,
    },
    /// There is no key for now; a [`FromVault::Key`] may follow.
    Locked {
        /// Why.
        reason: String<MAX_REASON>,
    },
}

impl Message for ToVault {
    const CHANNEL: &'static str = "sealing";
    const VERSION: u16 = 1;
}

impl Message for FromVault {
    const CHANNEL: &'static str = "sealing";
    const VERSION: u16 = 1;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::round_trip;

    extern crate std;

    #[test]
    fn the_largest_messages_fit() {
        let sealed = || Vec::from_slice(&[0xff; MAX_SEALED]).unwrap();
        let kept = || Vec::from_slice(&[0xff; MAX_KEPT]).unwrap();
        round_trip(ToVault::Open { sealed: sealed(), kept: kept() });
        round_trip(FromVault::Keep { sealed: sealed(), kept: kept(), fresh: true });
    }

    #[test]
    fn a_key_is_not_shown() {
        let key = FromVault::Key { key: StorageKey([7; 32]), fresh: true };
        assert!(!std::format!("{key:?}").contains('7'));
    }
}
