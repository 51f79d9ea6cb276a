//! PCRs of the SHA-256 bank: selections, values, and what extending gives.

use sha2::{Digest, Sha256};

use crate::{
    ids::alg,
    wire::{Bytes, Field, Malformed, Reader},
};

/// PCRs that a bank has.
pub const COUNT: usize = 24;
/// A value of a PCR, or what it is extended with.
pub type Value = [u8; 32];
/// The values of all PCRs.
pub type Values = [Value; COUNT];

/// Bytes of a bit map of PCRs.
const MAP: u8 = 3;

/// Some PCRs of the SHA-256 bank, a bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Selection(u32);

impl Selection {
    /// All of them.
    pub const ALL: Self = Self((1 << COUNT) - 1);

    /// The PCRs whose bits are set; bits above the last PCR are dropped.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits & Self::ALL.0)
    }

    /// A bit for each.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether this PCR is selected.
    pub const fn contains(self, pcr: usize) -> bool {
        pcr < COUNT && self.0 >> pcr & 1 == 1
    }

    /// Those that are not in `other`.
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether none is selected.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Their numbers, in order.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..COUNT).filter(move |&pcr| self.contains(pcr))
    }

    /// Appends a `TPML_PCR_SELECTION` of this one bank.
    pub fn emit<const N: usize>(self, out: &mut Bytes<N>) {
        let [a, b, c, _] = self.0.to_le_bytes();
        out.u32(1).u16(alg::SHA256).u8(MAP).put(&[a, b, c]);
    }

    /// Reads a `TPML_PCR_SELECTION` of this one bank.
    ///
    /// # Errors
    /// [`Malformed`]; [`Field::Selection`] for other banks, or maps that are longer than ours with bits there.
    pub fn parse(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let count = reader.u32()?;
        if count != 1 {
            return Err(Malformed::Field { field: Field::Selection, found: count.into() });
        }
        reader.expect_u16(Field::Algorithm, alg::SHA256)?;
        let length = usize::from(reader.u8()?);
        let map = reader.take(length)?;
        let mut bits = 0;
        for (at, &byte) in map.iter().enumerate() {
            if at < usize::from(MAP) {
                bits |= u32::from(byte) << (8 * at);
            } else if byte != 0 {
                return Err(Malformed::Field { field: Field::Selection, found: byte.into() });
            }
        }
        Ok(Self(bits))
    }
}

/// What a PCR is after it was extended.
pub fn extended(value: &Value, digest: &Value) -> Value {
    Sha256::new().chain_update(value).chain_update(digest).finalize().into()
}

/// SHA-256 over the selected values, in the order of their numbers: what quotes and policies hold.
pub fn composite(selection: Selection, values: &Values) -> [u8; 32] {
    let mut hash = Sha256::new();
    for pcr in selection.iter() {
        // `iter` gives numbers below COUNT.
        hash.update(values[pcr]);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selection_comes_back_and_its_least_bit_is_first() {
        let selection = Selection::from_bits(1 << 0 | 1 << 9 | 1 << 23 | 1 << 24);
        let mut bytes = Bytes::<16>::default();
        selection.emit(&mut bytes);
        assert_eq!(bytes.as_slice(), [0, 0, 0, 1, 0, 0x0b, 3, 0x01, 0x02, 0x80]);
        assert_eq!(Selection::parse(&mut Reader::new(bytes.as_slice())), Ok(selection));
        assert_eq!(selection.iter().collect::<std::vec::Vec<_>>(), [0, 9, 23]);
    }

    #[test]
    fn extending_hashes_the_old_value_before_the_new() {
        // printf of 64 zeros, two digits each, into sha256sum.
        let value = extended(&[0; 32], &[0; 32]);
        let expected = "f5a5fd42d16a20302798ef6ed309979b43003d2320d9f0e8ea9831a92759fb4b";
        assert_eq!(hex::encode(value), expected);
    }
}
