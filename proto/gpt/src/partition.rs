//! An entry of the table.

use core::fmt;

use gpt_disk_types::{GptPartitionEntry, Guid, U64Le, guid};

/// Type of an EFI system partition. Source: UEFI 2.10, table 5.7.
pub const ESP: Guid = guid!("c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
/// Type of the partition with the provisioning files, a FAT file system.
pub const CONFIG: Guid = guid!("0b9e2d44-71c5-4a86-b3f8-5d169ae274c7");

/// An entry in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    index: usize,
    raw: GptPartitionEntry,
}

impl Partition {
    /// Reads the entry at `index` from its bytes; `None` when it is not in use.
    pub(crate) fn parse(index: usize, bytes: &[u8]) -> Option<Self> {
        let raw: GptPartitionEntry = bytemuck::try_pod_read_unaligned(bytes).ok()?;
        raw.is_used().then_some(Self { index, raw })
    }

    /// Its place in the table, from 0.
    #[must_use]
    pub const fn index(&self) -> usize {
        self.index
    }

    /// What it is for.
    #[must_use]
    pub const fn kind(&self) -> Guid {
        let kind = self.raw.partition_type_guid;
        kind.0
    }

    /// Its own identifier.
    #[must_use]
    pub const fn guid(&self) -> Guid {
        self.raw.unique_partition_guid
    }

    /// Its first block.
    #[must_use]
    pub const fn first_block(&self) -> u64 {
        self.raw.starting_lba.to_u64()
    }

    /// Its last block.
    #[must_use]
    pub const fn last_block(&self) -> u64 {
        self.raw.ending_lba.to_u64()
    }

    /// How many blocks it has. At least one: a table with another is not accepted.
    #[must_use]
    pub const fn blocks(&self) -> u64 {
        self.last_block().saturating_sub(self.first_block()).saturating_add(1)
    }

    /// Its attributes.
    #[must_use]
    pub const fn attributes(&self) -> u64 {
        let attributes = self.raw.attributes;
        attributes.0.to_u64()
    }

    /// Whether this is its name.
    #[must_use]
    pub fn is_named(&self, name: &str) -> bool {
        let mut units = self.raw.name.0.as_chunks::<2>().0.iter().map(|unit| u16::from_le_bytes(*unit));
        let same = name.encode_utf16().all(|unit| units.next() == Some(unit));
        // It ends with a NUL, or with the field.
        same && units.next().is_none_or(|unit| unit == 0)
    }

    /// The entry's bytes, with other attributes.
    pub(crate) fn with_attributes(mut self, attributes: u64) -> GptPartitionEntry {
        self.raw.attributes.0 = U64Le::from_u64(attributes);
        self.raw
    }

    /// Whether two entries differ in their attributes at most.
    pub(crate) fn is_same_but_for_attributes(&self, other: &Self) -> bool {
        self.index == other.index && self.with_attributes(0) == other.with_attributes(0)
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = self.raw.name.0.as_chunks::<2>().0.iter().map(|unit| u16::from_le_bytes(*unit));
        for c in char::decode_utf16(units.take_while(|&unit| unit != 0)) {
            let c = c.unwrap_or(char::REPLACEMENT_CHARACTER);
            fmt::Write::write_char(f, if c.is_control() { char::REPLACEMENT_CHARACTER } else { c })?;
        }
        Ok(())
    }
}
