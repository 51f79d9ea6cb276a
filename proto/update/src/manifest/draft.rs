//! Making of a slot.

use alloc::vec::Vec;

use proto_handoff::record::Version;
use sha2::{Digest, Sha256};
use zerocopy::IntoBytes;

use super::{ALIGN, FORMAT, HEADER_BYTES, Kind, MAGIC, MAX_PARTS, Machine, Raw, RawPart, SIGNED_BYTES};

/// A slot that is not signed yet.
#[derive(Clone)]
pub struct Draft {
    raw: Raw,
    contents: Vec<u8>,
}

impl Draft {
    /// Puts parts together, in this order. `None` if there are too many or one is empty.
    #[must_use]
    pub fn new(machine: Machine, version: Version, parts: &[(Kind, &[u8])]) -> Option<Self> {
        let mut contents = Vec::new();
        let none = RawPart { kind: 0.into(), reserved: 0.into(), offset: 0.into(), length: 0.into() };
        let mut places = [none; MAX_PARTS];
        if parts.is_empty() || parts.len() > MAX_PARTS || parts.iter().any(|(_, bytes)| bytes.is_empty()) {
            return None;
        }
        for (place, (kind, bytes)) in places.iter_mut().zip(parts) {
            contents.resize(contents.len().next_multiple_of(ALIGN), 0);
            place.kind = kind.number().into();
            place.offset = (contents.len() as u64).into();
            place.length = (bytes.len() as u64).into();
            contents.extend_from_slice(bytes);
        }
        let raw = Raw {
            magic: MAGIC,
            format: FORMAT.into(),
            machine: machine.number().into(),
            length: (contents.len() as u64).into(),
            parts: (parts.len() as u32).into(),
            reserved0: 0.into(),
            version: *version.bytes(),
            sha256: Sha256::digest(&contents).into(),
            places,
            reserved1: [0; 160],
            signature: [0; 64],
        };
        Some(Self { raw, contents })
    }

    /// Signs it, and gives the bytes with which the partition begins.
    #[must_use]
    pub fn sign(mut self, sign: impl FnOnce(&[u8]) -> [u8; 64]) -> Vec<u8> {
        self.raw.signature = sign(self.raw.as_bytes().get(..SIGNED_BYTES).unwrap_or_default());
        let mut bytes = Vec::with_capacity(ALIGN + self.contents.len());
        bytes.extend_from_slice(self.raw.as_bytes());
        debug_assert_eq!(bytes.len(), HEADER_BYTES);
        bytes.resize(ALIGN, 0);
        bytes.append(&mut self.contents);
        bytes
    }
}
