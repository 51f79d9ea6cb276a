//! What lies on the disk for the vault. The storage keeps two things that it does not look into: the sealed key,
//! and what vault keeps besides.
//!
//! ```text
//!   sealed, by a TPM:     1 version, 1 kind, 3 PCRs, 8 check of the key, 8 for each PCR: the front of its value,
//!                         2+n private part, 2+n public part
//!   sealed, in the clear: 1 version, 1 kind, 32 key, 2+n note
//!   kept:                 1 version, 24 nonce, encrypted under the storage's key: 32 device's key, 32 ECDH key; 16 tag
//! ```
//!
//! So where there is no TPM the storage's key is the one thing that lies in the clear, and whoever erases that one
//! record has erased the device's keys with all else.
//!
//! Who writes the disk writes these. What does not read as one of them is an error and never taken for an empty
//! disk, on which a new key would be made; and what is sealed in the clear is not believed where there is a TPM, see
//! the crate. Whether the start was measured when a key was sealed is not in the clear
//! either, for it could be changed: it is in the check, which nobody can make up without the key.

use core::fmt;

use chacha20poly1305::{AeadInOut, KeyInit, Tag, XChaCha20Poly1305, XNonce};
use heapless::Vec;
use proto_svc::{
    sealing::{MAX_KEPT, MAX_SEALED},
    vault::MAX_NOTE,
};
use proto_tpm::{
    command::MAX_PART,
    pcr::{self, Selection, Values},
    wire::{Bytes, Malformed, Reader},
};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Version of a sealed key.
const VERSION: u8 = 2;
/// Version of what else is kept; in version 2 it was in the clear.
const KEPT_VERSION: u8 = 3;
/// Of software's keys that lie in the clear, as versions before this one kept them: the version, then both.
const KEPT_IN_THE_CLEAR: u8 = 2;
/// Bytes of the nonce that software's keys are encrypted with.
pub const NONCE: usize = 24;
/// Bytes of its tag.
const TAG: usize = 16;
/// The key is sealed by a TPM.
const KIND_TPM: u8 = 1;
/// The key is in the clear.
const KIND_CLEAR: u8 = 2;
/// Bytes of a PCR's value that are remembered: enough to see that it is another one.
const FRONT: usize = 8;
/// Bytes of the longest public part of what is sealed.
const MAX_SEALED_PUBLIC: usize = 96;
/// Bytes by which a storage key is known again.
pub const CHECK: usize = 8;

/// Bytes that are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// Of another version.
    Version {
        /// Which.
        found: u8,
        /// The one that is known.
        known: u8,
    },
    /// Of a kind that there is not.
    Kind(u8),
    /// They contradict themselves.
    Malformed(Malformed),
    /// A key that is none.
    Key,
    /// They were encrypted by another key, or were changed.
    Tag,
}

impl From<Malformed> for Unreadable {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version { found, known } => write!(f, "it is of version {found}, known is {known}"),
            Self::Kind(kind) => write!(f, "it is of kind {kind}, which there is not"),
            Self::Malformed(malformed) => malformed.fmt(f),
            Self::Key => write!(f, "it holds a key that is none"),
            Self::Tag => write!(f, "it was encrypted by another key than the storage's, or was changed"),
        }
    }
}

/// By what a storage key is known again, without telling it, and whether the start was measured when it was sealed.
fn check(key: &[u8; 32], measured: bool) -> [u8; CHECK] {
    let start: &[u8] = if measured { b"measured" } else { b"not measured" };
    let hash = Sha256::new().chain_update(b"storage key").chain_update(key).chain_update(start);
    let hash: [u8; 32] = hash.finalize().into();
    let mut check = [0; CHECK];
    check.copy_from_slice(&hash[..CHECK]);
    check
}

/// A sealed key.
#[derive(Clone, Debug)]
pub enum Sealed {
    /// By a TPM.
    Tpm(SealedByTpm),
    /// Not at all: there is no TPM.
    Clear(Clear),
}

/// A key that a TPM has sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedByTpm {
    /// To which PCRs.
    pub selection: Selection,
    /// Of the key, and whether the start was measured.
    check: [u8; CHECK],
    /// The fronts of the PCRs' values, in order.
    fronts: Vec<[u8; FRONT], { pcr::COUNT }>,
    /// The private part, without its length.
    pub private: Vec<u8, MAX_PART>,
    /// The public part, without its length.
    pub public: Vec<u8, MAX_SEALED_PUBLIC>,
}

/// A key in the clear, with the note of control.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Clear {
    /// The key.
    pub key: [u8; 32],
    /// The note.
    #[zeroize(skip)]
    pub note: Vec<u8, MAX_NOTE>,
}

impl fmt::Debug for Clear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clear(..)")
    }
}

impl Sealed {
    /// Reads what the storage had kept.
    ///
    /// # Errors
    /// [`Unreadable`]
    pub fn parse(bytes: &[u8]) -> Result<Self, Unreadable> {
        let mut reader = Reader::new(bytes);
        let version = reader.u8()?;
        if version != VERSION {
            return Err(Unreadable::Version { found: version, known: VERSION });
        }
        let sealed = match reader.u8()? {
            KIND_TPM => Self::Tpm(SealedByTpm::parse(&mut reader)?),
            KIND_CLEAR => {
                let key = reader.array()?;
                let note = bounded(reader.sized(MAX_NOTE)?);
                Self::Clear(Clear { key, note })
            }
            other => return Err(Unreadable::Kind(other)),
        };
        reader.end()?;
        Ok(sealed)
    }

    /// What the storage keeps.
    pub fn emit(&self) -> Vec<u8, MAX_SEALED> {
        let mut out = Bytes::<MAX_SEALED>::default();
        out.u8(VERSION);
        match self {
            Self::Tpm(sealed) => {
                out.u8(KIND_TPM);
                sealed.emit(&mut out);
            }
            Self::Clear(clear) => {
                out.u8(KIND_CLEAR).put(&clear.key).sized(&clear.note);
            }
        }
        bounded(out.as_slice())
    }
}

/// What was bounded before.
fn bounded<const N: usize>(bytes: &[u8]) -> Vec<u8, N> {
    Vec::from_slice(bytes).expect("no longer than its bound")
}

impl SealedByTpm {
    /// What was sealed under a policy of these values. None if the public part is longer than it can be.
    pub fn new(
        selection: Selection,
        values: &Values,
        measured: bool,
        key: &[u8; 32],
        private: &[u8],
        public: &[u8],
    ) -> Option<Self> {
        Some(Self {
            selection,
            check: check(key, measured),
            fronts: selection.iter().map(|pcr| front(&values[pcr])).collect(),
            private: Vec::from_slice(private).ok()?,
            public: Vec::from_slice(public).ok()?,
        })
    }

    fn parse(reader: &mut Reader<'_>) -> Result<Self, Unreadable> {
        let [a, b, c] = reader.array()?;
        let selection = Selection::from_bits(u32::from_le_bytes([a, b, c, 0]));
        let check = reader.array()?;
        let mut fronts = Vec::new();
        for _ in selection.iter() {
            fronts.push(reader.array()?).expect("a selection has at most COUNT PCRs");
        }
        let private = bounded(reader.sized(MAX_PART)?);
        let public = bounded(reader.sized(MAX_SEALED_PUBLIC)?);
        Ok(Self { selection, check, fronts, private, public })
    }

    fn emit(&self, out: &mut Bytes<MAX_SEALED>) {
        let [a, b, c, _] = self.selection.bits().to_le_bytes();
        out.put(&[a, b, c]).put(&self.check);
        for front in &self.fronts {
            out.put(front);
        }
        out.sized(&self.private).sized(&self.public);
    }

    /// Whether the start was measured when this key was sealed; none if it is another key.
    pub fn measured_start(&self, key: &[u8; 32]) -> Option<bool> {
        [true, false].into_iter().find(|measured| check(key, *measured) == self.check)
    }

    /// The PCRs that have other values than when the key was sealed.
    pub fn changed(&self, values: &Values) -> Selection {
        let pairs = self.selection.iter().zip(&self.fronts);
        let changed = pairs.filter(|&(pcr, then)| front(&values[pcr]) != *then);
        Selection::from_bits(changed.fold(0, |bits, (pcr, _)| bits | 1 << pcr))
    }
}

fn front(value: &pcr::Value) -> [u8; FRONT] {
    let mut front = [0; FRONT];
    front.copy_from_slice(&value[..FRONT]);
    front
}

/// Software's keys: two numbers of P-256. Not checked to be keys.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Kept {
    /// The device's key.
    pub device: [u8; 32],
    /// The key of ECDH.
    pub ecdh: [u8; 32],
}

impl Kept {
    /// Reads what the storage had kept, under its key.
    ///
    /// # Errors
    /// [`Unreadable`]
    pub fn parse(bytes: &[u8], storage: &[u8; 32]) -> Result<Self, Unreadable> {
        let mut reader = Reader::new(bytes);
        let version = reader.u8()?;
        if version == KEPT_IN_THE_CLEAR {
            // Nothing is written for that: a version that falls back still reads what it has kept.
            let kept = Self { device: reader.array()?, ecdh: reader.array()? };
            reader.end()?;
            return Ok(kept);
        }
        if version != KEPT_VERSION {
            return Err(Unreadable::Version { found: version, known: KEPT_VERSION });
        }
        let nonce = XNonce::from(reader.array::<NONCE>()?);
        let mut plain = Zeroizing::new(reader.array::<64>()?);
        let tag = Tag::from(reader.array::<TAG>()?);
        reader.end()?;
        kept_cipher(storage)
            .decrypt_inout_detached(&nonce, &[KEPT_VERSION], plain.as_mut_slice().into(), &tag)
            .map_err(|_| Unreadable::Tag)?;
        let mut kept = Self { device: [0; 32], ecdh: [0; 32] };
        let (device, ecdh) = plain.split_at(32);
        kept.device.copy_from_slice(device);
        kept.ecdh.copy_from_slice(ecdh);
        Ok(kept)
    }

    /// What the storage keeps, under its key. The nonce is new each time.
    pub fn emit(&self, storage: &[u8; 32], nonce: &[u8; NONCE]) -> Vec<u8, MAX_KEPT> {
        let mut bytes = Zeroizing::new([0; 64]);
        let (device, ecdh) = bytes.split_at_mut(32);
        device.copy_from_slice(&self.device);
        ecdh.copy_from_slice(&self.ecdh);
        let tag = kept_cipher(storage)
            .encrypt_inout_detached(&XNonce::from(*nonce), &[KEPT_VERSION], bytes.as_mut_slice().into())
            .expect("64 bytes are within the cipher's limit");
        let mut out = Bytes::<MAX_KEPT>::default();
        out.u8(KEPT_VERSION).put(nonce).put(&*bytes).put(&tag);
        bounded(out.as_slice())
    }
}

/// What encrypts software's keys: by another key than the store's pages, made from the same.
fn kept_cipher(storage: &[u8; 32]) -> XChaCha20Poly1305 {
    let hash = Sha256::new().chain_update(b"software's keys").chain_update(storage).finalize();
    let key = Zeroizing::new(<[u8; 32]>::from(hash));
    XChaCha20Poly1305::new((&*key).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed() -> Sealed {
        let values = core::array::from_fn(|pcr| [pcr as u8; 32]);
        let sealed = SealedByTpm::new(Selection::ALL, &values, true, &[7; 32], &[1; MAX_PART], &[2; 96]);
        Sealed::Tpm(sealed.unwrap())
    }

    #[test]
    fn the_longest_records_fit_and_come_back() {
        for record in [sealed(), Sealed::Clear(Clear { key: [1; 32], note: bounded(&[3; MAX_NOTE]) })] {
            let bytes = record.emit();
            let again = Sealed::parse(&bytes).unwrap();
            assert_eq!(again.emit(), bytes);
            for length in 0..bytes.len() {
                assert!(Sealed::parse(&bytes[..length]).is_err(), "{length}");
            }
        }
    }

    #[test]
    fn keys_that_an_earlier_version_has_kept_are_read() {
        let bytes = [&[KEPT_IN_THE_CLEAR][..], &[1; 32], &[2; 32]].concat();
        let kept = Kept::parse(&bytes, &[9; 32]).unwrap();
        assert_eq!((kept.device, kept.ecdh), ([1; 32], [2; 32]));
        assert!(Kept::parse(&bytes[..64], &[9; 32]).is_err());
        assert!(Kept::parse(&[&bytes[..], &[0]].concat(), &[9; 32]).is_err());
    }

    #[test]
    fn software_s_keys_are_read_with_the_storage_s_key_alone() {
        let kept = Kept { device: [1; 32], ecdh: [2; 32] };
        let bytes = kept.emit(&[9; 32], &[3; NONCE]);
        assert!(!bytes.windows(8).any(|window| window == [1; 8] || window == [2; 8]), "in the clear");
        let again = Kept::parse(&bytes, &[9; 32]).unwrap();
        assert_eq!((again.device, again.ecdh), ([1; 32], [2; 32]));
        assert_eq!(Kept::parse(&bytes, &[8; 32]).err(), Some(Unreadable::Tag));
        for length in 0..bytes.len() {
            assert!(Kept::parse(&bytes[..length], &[9; 32]).is_err(), "{length}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(Kept::parse(&changed, &[9; 32]).is_err(), "{bit}");
        }
    }

    #[test]
    fn another_version_is_an_error_and_not_an_empty_disk() {
        let mut bytes = sealed().emit();
        bytes[0] = 1;
        assert_eq!(Sealed::parse(&bytes).unwrap_err(), Unreadable::Version { found: 1, known: 2 });
        assert!(Sealed::parse(&[]).is_err());
    }

    #[test]
    fn changed_pcrs_are_told() {
        let Sealed::Tpm(sealed) = sealed() else { panic!("made so") };
        let mut values = core::array::from_fn(|pcr| [pcr as u8; 32]);
        assert!(sealed.changed(&values).is_empty());
        values[4][0] ^= 1;
        values[13] = [0xaa; 32];
        assert_eq!(sealed.changed(&values).bits(), 1 << 4 | 1 << 13);
    }
}
