//! Both copies of the table: which one counts, what has to be repaired, and in which order it is written.
//!
//! ```text
//!  both copies --join--> Joined --repair steps carried out--> Table --set_attributes, store--> steps
//! ```
//!
//! A copy that is damaged is written anew from the other one before anything else is changed: a change that
//! overwrote the only good copy would leave none when the power goes. When both are right and differ, the
//! power went between the two, or another program stopped halfway; see [`Table::join`].

use core::fmt;

use gpt_disk_types::{Crc32, GptHeader, Guid, LbaLe};

use crate::copy::{CopyError, Geometry, PRIMARY_BLOCK, TableCopy, Which, checksum, partitions};
use crate::partition::Partition;
use crate::slots::{SLOT, State};
use crate::{ENTRY_BYTES, HEADER_BYTES, MAX_ENTRIES_BYTES};

/// Where the entries of the first copy begin when nothing says so any more.
pub(crate) const FIRST_ENTRIES_BLOCK: u64 = 2;

/// The table, both copies of which say the same.
#[derive(Clone, PartialEq, Eq)]
pub struct Table {
    /// The first copy's header, without its checksums.
    primary: GptHeader,
    /// The second copy's.
    backup: GptHeader,
    length: usize,
    entries: [u8; MAX_ENTRIES_BYTES],
}

/// What was found on the disk: the table that counts, and what has to be written before it is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    table: Table,
    condition: Condition,
}

/// What the two copies were like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Both are right and say the same.
    Sound,
    /// One of them is of no use.
    Damaged {
        /// Which.
        which: Which,
        /// Why.
        why: CopyError,
    },
    /// Both are right and differ: this one is out of date.
    Stale(Which),
}

impl Condition {
    /// The copy that has to be written anew.
    #[must_use]
    pub const fn to_repair(self) -> Option<Which> {
        match self {
            Self::Sound => None,
            Self::Damaged { which, .. } | Self::Stale(which) => Some(which),
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sound => f.write_str("both copies of the partition table are right"),
            Self::Damaged { which, why } => write!(f, "{which}: {why}"),
            Self::Stale(which) => write!(f, "{which} is out of date"),
        }
    }
}

/// Neither copy is of any use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoTable {
    /// What is wrong with the first.
    pub primary: CopyError,
    /// What is wrong with the second.
    pub backup: CopyError,
}

impl fmt::Display for NoTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { primary, backup } = self;
        write!(f, "{}: {primary}; {}: {backup}", Which::Primary, Which::Backup)
    }
}

impl core::error::Error for NoTable {}

/// What is to be done with the disk, in the order in which it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// Write these bytes from this block on. The rest of the last block is zero.
    Write {
        /// The first block's number.
        block: u64,
        /// What to write.
        bytes: Bytes<'a>,
    },
    /// See to it that what was written is on the disk before anything that follows.
    Flush,
}

/// Bytes of a [`Step`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bytes<'a> {
    /// The array of entries.
    Entries(&'a [u8]),
    /// A header.
    Header([u8; HEADER_BYTES]),
}

impl AsRef<[u8]> for Bytes<'_> {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Entries(bytes) => bytes,
            Self::Header(bytes) => bytes,
        }
    }
}

impl Table {
    /// Compares the copies.
    ///
    /// When both are right and differ only in attributes, the power went between them: the one that has
    /// fewer tries counts, so that no try is given twice; with as many tries in both it is the second one,
    /// which is written first. When they differ in more, it was not us: the first one counts, as for
    /// everybody.
    ///
    /// # Errors
    /// When neither copy is of any use.
    pub fn join(
        disk: Geometry,
        primary: Result<TableCopy<'_>, CopyError>,
        backup: Result<TableCopy<'_>, CopyError>,
    ) -> Result<Joined, NoTable> {
        let (from, condition) = match (primary, backup) {
            (Ok(primary), Ok(backup)) => compare(primary, backup),
            (Ok(primary), Err(why)) => (primary, Condition::Damaged { which: Which::Backup, why }),
            (Err(why), Ok(backup)) => (backup, Condition::Damaged { which: Which::Primary, why }),
            (Err(primary), Err(backup)) => return Err(NoTable { primary, backup }),
        };
        let both =
            primary.ok().zip(backup.ok()).map(|(primary, backup)| [primary.header.raw, backup.header.raw]);
        Ok(Joined { table: Self::of(disk, from, both), condition })
    }

    /// The table of one copy. Where the other lies is taken from its own header if it has one, which `both`
    /// holds, and is what follows from this one otherwise.
    fn of(disk: Geometry, from: TableCopy<'_>, both: Option<[GptHeader; 2]>) -> Self {
        let raw = from.header.raw;
        let blocks = disk.blocks(from.entries.len());
        let (last, places) = match from.header.which() {
            Which::Primary => (raw.alternate_lba.to_u64(), both.map(|both| both[1])),
            Which::Backup => (raw.my_lba.to_u64(), both.map(|both| both[0])),
        };
        let place = |otherwise: u64| {
            places.map_or(LbaLe::from_u64(otherwise), |other: GptHeader| other.partition_entry_lba)
        };
        // The checksums are those of what is written, and are made then.
        let raw = GptHeader {
            header_crc32: Crc32::default(),
            partition_entry_array_crc32: Crc32::default(),
            ..raw
        };
        let mut table =
            Self { primary: raw, backup: raw, length: from.entries.len(), entries: [0; MAX_ENTRIES_BYTES] };
        // Both lengths are those of the array.
        table.entries.iter_mut().zip(from.entries).for_each(|(to, from)| *to = *from);
        (table.primary.my_lba, table.primary.alternate_lba) =
            (LbaLe::from_u64(PRIMARY_BLOCK), LbaLe::from_u64(last));
        (table.backup.my_lba, table.backup.alternate_lba) =
            (LbaLe::from_u64(last), LbaLe::from_u64(PRIMARY_BLOCK));
        match from.header.which() {
            Which::Primary => table.backup.partition_entry_lba = place(last.saturating_sub(blocks)),
            Which::Backup => table.primary.partition_entry_lba = place(FIRST_ENTRIES_BLOCK),
        }
        table
    }

    fn entries(&self) -> &[u8] {
        // The length is that of a copy, which is never longer.
        self.entries.get(..self.length).unwrap_or_default()
    }

    /// The partitions.
    pub fn partitions(&self) -> impl Iterator<Item = Partition> {
        partitions(self.entries())
    }

    /// The disk's identifier.
    #[must_use]
    pub const fn disk_guid(&self) -> Guid {
        self.primary.disk_guid
    }

    /// Gives a partition other attributes. Nothing is written by that: see [`Table::store`].
    pub fn set_attributes(&mut self, partition: &Partition, attributes: u64) {
        let place = partition.index().saturating_mul(ENTRY_BYTES);
        // The partition is one of this table's.
        if let Some(entry) = self.entries.get_mut(place..place.saturating_add(ENTRY_BYTES)) {
            let bytes = partition.with_attributes(attributes);
            entry.copy_from_slice(bytemuck::bytes_of(&bytes));
        }
    }

    /// What makes the disk's table this one: the second copy, then the first.
    pub fn store(&self) -> impl Iterator<Item = Step<'_>> {
        self.write(Which::Backup).into_iter().chain(self.write(Which::Primary))
    }

    /// What writes one copy.
    fn write(&self, which: Which) -> [Step<'_>; 3] {
        let mut header = match which {
            Which::Primary => self.primary,
            Which::Backup => self.backup,
        };
        header.partition_entry_array_crc32 = checksum(self.entries());
        header.update_header_crc32();
        let mut bytes = [0; HEADER_BYTES];
        bytes.iter_mut().zip(bytemuck::bytes_of(&header)).for_each(|(to, from)| *to = *from);
        [
            Step::Write { block: header.partition_entry_lba.to_u64(), bytes: Bytes::Entries(self.entries()) },
            Step::Write { block: header.my_lba.to_u64(), bytes: Bytes::Header(bytes) },
            Step::Flush,
        ]
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("primary", &self.primary)
            .field("backup", &self.backup)
            .finish_non_exhaustive()
    }
}

impl Joined {
    /// The table that counts, to look at.
    #[must_use]
    pub const fn table(&self) -> &Table {
        &self.table
    }

    /// What the copies were like.
    #[must_use]
    pub const fn condition(&self) -> Condition {
        self.condition
    }

    /// What has to be done before the table may be changed: nothing, or one copy is written anew.
    pub fn repair(&self) -> impl Iterator<Item = Step<'_>> {
        self.condition.to_repair().into_iter().flat_map(|which| self.table.write(which))
    }

    /// The table, once the steps of [`Joined::repair`] were carried out.
    #[must_use]
    pub fn repaired(self) -> Table {
        self.table
    }
}

/// Which of two copies counts.
fn compare<'a>(primary: TableCopy<'a>, backup: TableCopy<'a>) -> (TableCopy<'a>, Condition) {
    if same_header(&primary.header.raw, &backup.header.raw) {
        if primary.entries == backup.entries {
            return (primary, Condition::Sound);
        }
        let (mut ones, mut others) = (partitions(primary.entries), partitions(backup.entries));
        let alike = loop {
            match (ones.next(), others.next()) {
                (None, None) => break true,
                (Some(one), Some(other)) if one.is_same_but_for_attributes(&other) => {}
                _ => break false,
            }
        };
        if alike && tries(backup.entries) <= tries(primary.entries) {
            return (backup, Condition::Stale(Which::Primary));
        }
    }
    (primary, Condition::Stale(Which::Backup))
}

/// Whether two headers are those of one table.
fn same_header(primary: &GptHeader, backup: &GptHeader) -> bool {
    let common = |header: &GptHeader| {
        let GptHeader { disk_guid, first_usable_lba, last_usable_lba, number_of_partition_entries, .. } =
            *header;
        (disk_guid, first_usable_lba, last_usable_lba, number_of_partition_entries)
    };
    common(primary) == common(backup) && primary.alternate_lba == backup.my_lba
}

/// The tries that all slots have left together.
fn tries(entries: &[u8]) -> u32 {
    let slots = partitions(entries).filter(|partition| partition.kind() == SLOT);
    slots.map(|slot| u32::from(State::of(slot.attributes()).tries)).sum()
}
