//! One copy of the table: a header, and an array of entries that the header has a checksum of.

use core::fmt;

use gpt_disk_types::{Crc32, GptHeader, GptHeaderRevision, U32Le};

use crate::partition::Partition;
use crate::table::FIRST_ENTRIES_BLOCK;
use crate::{ENTRY_BYTES, HEADER_BYTES, MAX_ENTRIES};

/// Shape of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Bytes of a block: 512 or 4096.
    pub block_bytes: u32,
    /// The last block's number.
    pub last_block: u64,
}

impl Geometry {
    /// Blocks that hold so many bytes.
    pub(crate) fn blocks(self, bytes: usize) -> u64 {
        (bytes as u64).div_ceil(u64::from(self.block_bytes.max(1)))
    }
}

/// Which of the two copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The one at the start of the disk.
    Primary,
    /// The one at its end.
    Backup,
}

impl Which {
    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Primary => Self::Backup,
            Self::Backup => Self::Primary,
        }
    }
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Primary => "the first copy of the partition table",
            Self::Backup => "the second copy of the partition table",
        })
    }
}

/// Why a copy of the table is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyError {
    /// The disk did not give its blocks.
    Unreadable,
    /// Fewer bytes than a header or the array has.
    Truncated {
        /// Bytes that are needed.
        need: usize,
        /// Bytes that are there.
        have: usize,
    },
    /// No header starts here.
    Signature,
    /// A version, size or reserved field that nobody writes.
    Unsupported,
    /// The header's checksum is another one.
    HeaderChecksum,
    /// The header says that it lies in another block.
    Elsewhere {
        /// The block of which it speaks.
        block: u64,
    },
    /// The header's ranges contradict each other or the disk.
    Ranges,
    /// The checksum of the entries is another one.
    EntriesChecksum,
    /// A partition that ends before it starts, or that lies where the table does.
    Partition {
        /// Its index.
        index: usize,
    },
    /// Two partitions share blocks.
    Overlap {
        /// The index of one of them.
        index: usize,
    },
}

impl fmt::Display for CopyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable => f.write_str("it cannot be read"),
            Self::Truncated { need, have } => write!(f, "it has {have} bytes of {need}"),
            Self::Signature => f.write_str("it has no header"),
            Self::Unsupported => f.write_str("it is of a version or shape that is not known"),
            Self::HeaderChecksum => f.write_str("its header is damaged"),
            Self::Elsewhere { block } => write!(f, "it is a copy of block {block}"),
            Self::Ranges => f.write_str("its header contradicts itself or the disk"),
            Self::EntriesChecksum => f.write_str("its entries are damaged"),
            Self::Partition { index } => write!(f, "its partition {index} lies where none can"),
            Self::Overlap { index } => write!(f, "its partition {index} overlaps another one"),
        }
    }
}

impl core::error::Error for CopyError {}

/// The block of the first copy's header.
pub const PRIMARY_BLOCK: u64 = 1;

/// The block of the second copy's header: where the first one says, or the last of the disk. The two differ
/// when an image was written to a larger disk.
#[must_use]
pub fn backup_block(primary: Result<&Header, &CopyError>, disk: Geometry) -> u64 {
    primary.map_or(disk.last_block, Header::alternate_block)
}

/// A header that is right by itself; its entries were not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub(crate) raw: GptHeader,
    which: Which,
}

impl Header {
    /// Reads the header of a copy from its block, which is number `at` of the disk.
    ///
    /// # Errors
    /// Whatever keeps the copy from being used, but [`CopyError::Unreadable`] and what concerns entries.
    pub fn parse(which: Which, block: &[u8], at: u64, disk: Geometry) -> Result<Self, CopyError> {
        let Some((bytes, rest)) = block.split_at_checked(HEADER_BYTES) else {
            return Err(CopyError::Truncated { need: HEADER_BYTES, have: block.len() });
        };
        let raw: GptHeader = bytemuck::pod_read_unaligned(bytes);
        if !raw.is_signature_valid() {
            return Err(CopyError::Signature);
        }
        if raw.calculate_header_crc32() != raw.header_crc32 {
            return Err(CopyError::HeaderChecksum);
        }
        let known = raw.revision == GptHeaderRevision::VERSION_1_0
            && raw.header_size.to_u32() as usize == HEADER_BYTES
            && raw.reserved == U32Le::from_u32(0)
            && raw.size_of_partition_entry.to_u32() as usize == ENTRY_BYTES
            && (1..=MAX_ENTRIES as u32).contains(&raw.number_of_partition_entries.to_u32())
            && rest.iter().all(|&byte| byte == 0);
        if !known {
            return Err(CopyError::Unsupported);
        }
        if raw.my_lba.to_u64() != at {
            return Err(CopyError::Elsewhere { block: raw.my_lba.to_u64() });
        }
        let header = Self { raw, which };
        if header.ranges_are_right(disk) { Ok(header) } else { Err(CopyError::Ranges) }
    }

    fn ranges_are_right(&self, disk: Geometry) -> bool {
        let (first, last) = (self.first_usable(), self.last_usable());
        let (mine, other) = (self.raw.my_lba.to_u64(), self.raw.alternate_lba.to_u64());
        let start = self.entries_block();
        let blocks = disk.blocks(self.entries_bytes());
        let Some(end) = start.checked_add(blocks) else { return false };
        // The other copy has room, too: it may have to be written anew.
        let placed = match self.which {
            Which::Primary => {
                let room = last.checked_add(blocks).is_some_and(|end| end < other);
                start >= 2 && end <= first && room && other <= disk.last_block
            }
            Which::Backup => {
                let room = FIRST_ENTRIES_BLOCK.checked_add(blocks).is_some_and(|end| end <= first);
                other == 1 && start > last && end <= mine && room && mine <= disk.last_block
            }
        };
        first <= last && placed
    }

    /// Which copy it belongs to.
    #[must_use]
    pub const fn which(&self) -> Which {
        self.which
    }

    /// The block in which the other copy's header lies.
    #[must_use]
    pub const fn alternate_block(&self) -> u64 {
        self.raw.alternate_lba.to_u64()
    }

    /// The first block of the entries.
    #[must_use]
    pub const fn entries_block(&self) -> u64 {
        self.raw.partition_entry_lba.to_u64()
    }

    /// Bytes of the entries, at most [`crate::MAX_ENTRIES_BYTES`].
    #[must_use]
    pub const fn entries_bytes(&self) -> usize {
        self.raw.number_of_partition_entries.to_u32() as usize * ENTRY_BYTES
    }

    pub(crate) const fn first_usable(&self) -> u64 {
        self.raw.first_usable_lba.to_u64()
    }

    pub(crate) const fn last_usable(&self) -> u64 {
        self.raw.last_usable_lba.to_u64()
    }
}

/// A copy that is right as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableCopy<'a> {
    pub(crate) header: Header,
    pub(crate) entries: &'a [u8],
}

impl<'a> TableCopy<'a> {
    /// Takes the entries that belong to a header. What is longer than [`Header::entries_bytes`] is left out.
    ///
    /// # Errors
    /// When there are too few bytes, the checksum is another one, or partitions lie where they cannot.
    pub fn parse(header: Header, entries: &'a [u8]) -> Result<Self, CopyError> {
        let need = header.entries_bytes();
        let entries = entries.get(..need).ok_or(CopyError::Truncated { need, have: entries.len() })?;
        if checksum(entries) != header.raw.partition_entry_array_crc32 {
            return Err(CopyError::EntriesChecksum);
        }
        let mut ranges = heapless::Vec::<(u64, u64, usize), MAX_ENTRIES>::new();
        for partition in partitions(entries) {
            let (first, last) = (partition.first_block(), partition.last_block());
            let index = partition.index();
            if first > last || first < header.first_usable() || last > header.last_usable() {
                return Err(CopyError::Partition { index });
            }
            // There are no more than the array has.
            let _ = ranges.push((first, last, index));
        }
        ranges.sort_unstable();
        let overlap = ranges.iter().zip(ranges.iter().skip(1)).find(|(one, next)| next.0 <= one.1);
        match overlap {
            Some((_, &(.., index))) => Err(CopyError::Overlap { index }),
            None => Ok(Self { header, entries }),
        }
    }
}

/// The entries in use.
pub(crate) fn partitions(entries: &[u8]) -> impl Iterator<Item = Partition> {
    entries.chunks_exact(ENTRY_BYTES).enumerate().filter_map(|(index, bytes)| Partition::parse(index, bytes))
}

/// CRC-32 of an array of entries.
pub(crate) fn checksum(entries: &[u8]) -> Crc32 {
    const CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&Crc32::ALGORITHM);
    Crc32(U32Le::from_u32(CRC.checksum(entries)))
}
