//! The ACPI table that carries the record on x86_64.
//!
//! Xen makes a PVH dom0 new root tables and keeps of the firmware's tables those that it knows, and all whose
//! signature begins with `OEM`.
//!
//! Source: ACPI 6.5, section 5.2.6 (header of a table).

use core::fmt;

use crate::record::{BYTES, Handoff, HandoffError};

/// The table's signature.
pub const SIGNATURE: [u8; 4] = *b"OEM1";
/// Bytes of the header.
const HEADER: usize = 36;
/// Bytes of the table as it is written here.
pub const TABLE_BYTES: usize = HEADER + BYTES;
/// Who made the table, and the table's name at them.
const OEM: [u8; 14] = *b"SARSENHANDOFF\0";

/// Why a table is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableError {
    /// It is another table, by somebody else.
    Foreign,
    /// Its length is not the one that it says.
    Length {
        /// Bytes that are there.
        have: usize,
    },
    /// Its bytes do not add up to zero.
    Checksum,
    /// What it carries is no record.
    Record(HandoffError),
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign => f.write_str("the table OEM1 is not by the selector"),
            Self::Length { have } => write!(f, "the table OEM1 has {have} bytes, and says something else"),
            Self::Checksum => f.write_str("the table OEM1 is damaged"),
            Self::Record(error) => write!(f, "the record in the table OEM1: {error}"),
        }
    }
}

impl core::error::Error for TableError {}

/// The table around a record.
#[must_use]
pub fn table(record: &Handoff) -> [u8; TABLE_BYTES] {
    let mut bytes = [0; TABLE_BYTES];
    let length = (TABLE_BYTES as u32).to_le_bytes();
    // Signature, length, revision, checksum, OEM, its table, its revision; who compiled it, in which version.
    let parts: [&[u8]; 8] = [
        &SIGNATURE,
        &length,
        &[1, 0],
        &OEM,
        &1u32.to_le_bytes(),
        b"SRSN",
        &1u32.to_le_bytes(),
        &record.emit(),
    ];
    bytes.iter_mut().zip(parts.into_iter().flatten()).for_each(|(to, from)| *to = *from);
    bytes[9] = sum(&bytes).wrapping_neg();
    bytes
}

/// The record in a table, from whose header on `bytes` are.
///
/// # Errors
/// When it is another table, damaged, or its record is.
pub fn parse(bytes: &[u8]) -> Result<Handoff, TableError> {
    if !bytes.starts_with(&SIGNATURE) || bytes.get(10..10 + OEM.len()) != Some(&OEM) {
        return Err(TableError::Foreign);
    }
    let have = bytes.len();
    // A selector of another build may write a longer record, or a shorter one.
    let says = bytes.get(4..8) == Some(&u32::try_from(have).unwrap_or(u32::MAX).to_le_bytes());
    if !says || have <= HEADER {
        return Err(TableError::Length { have });
    }
    if sum(bytes) != 0 {
        return Err(TableError::Checksum);
    }
    Handoff::parse(bytes.get(HEADER..).unwrap_or_default()).map_err(TableError::Record)
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::{other_build, sample};

    #[test]
    fn a_table_is_read_as_it_was_written() {
        let bytes = table(&sample());
        assert_eq!(sum(&bytes), 0);
        assert_eq!(bytes[..8], *b"OEM1\x24\x01\0\0");
        assert_eq!(bytes[10..24], *b"SARSENHANDOFF\0");
        assert_eq!(parse(&bytes), Ok(sample()));
    }

    #[test]
    fn a_table_with_the_record_of_another_build_is_taken() {
        for length in [192, 300, 4060] {
            let record = other_build(2, length, |_| {});
            let mut bytes = [&table(&sample())[..HEADER], &record].concat();
            bytes[4..8].copy_from_slice(&((HEADER + length) as u32).to_le_bytes());
            bytes[9] = bytes[9].wrapping_sub(sum(&bytes));
            let told = parse(&bytes).map(|told| (told.slot, told.version));
            assert_eq!(told, Ok((sample().slot, sample().version)), "{length}");
        }
    }

    #[test]
    fn one_bit_flipped_anywhere_is_noticed() {
        let good = table(&sample());
        for bit in 0..TABLE_BYTES * 8 {
            let mut bytes = good;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(parse(&bytes).is_err(), "{bit}");
        }
        for length in 0..TABLE_BYTES {
            assert!(parse(&good[..length]).is_err(), "{length}");
        }
    }
}
