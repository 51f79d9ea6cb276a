//! The partition table, on the disk: read, repaired and changed as the selector does it.

use alloc::{boxed::Box, vec, vec::Vec};
use core::fmt;

use board_support_drv::block::BlockDevice;
use proto_gpt::copy::{CopyError, Geometry, Header, PRIMARY_BLOCK, TableCopy, Which, backup_block};
use proto_gpt::partition::Partition;
use proto_gpt::table::{Condition, Joined, NoTable, Step, Table};

use crate::disk::{Disk, DiskError, Window};

/// Name of the partition that holds the state store.
pub const PERSIST: &str = "P3";

/// Why the table cannot be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeError {
    /// One copy is damaged, and the disk did not let it be repaired: a change could damage the good one.
    NotRepaired(DiskError),
    /// The disk refused in the midst of the change. What it says now has to be read.
    Disk(DiskError),
}

impl fmt::Display for ChangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRepaired(why) => {
                write!(f, "a damaged copy of the partition table is not repaired: {why}")
            }
            Self::Disk(why) => write!(f, "the partition table was not written: {why}"),
        }
    }
}

impl core::error::Error for ChangeError {}

/// The table that counts.
#[derive(Debug)]
pub(crate) struct Partitions {
    table: Box<Table>,
    found: Condition,
    repaired: Result<(), DiskError>,
}

impl Partitions {
    /// Reads both copies, and repairs one from the other. One that cannot be repaired can be read all the same.
    pub(crate) async fn read<D: BlockDevice>(disk: &Disk<D>) -> Result<Self, NoTable> {
        let joined = Box::new(join(disk).await?);
        let repaired = carry_out(disk, joined.repair()).await;
        Ok(Self { found: joined.condition(), repaired, table: Box::new(joined.repaired()) })
    }

    /// What the copies were like.
    pub(crate) const fn found(&self) -> (Condition, Result<(), DiskError>) {
        (self.found, self.repaired)
    }

    pub(crate) const fn table(&self) -> &Table {
        &self.table
    }

    /// The only partition of this name.
    pub(crate) fn named(&self, name: &str) -> Option<Partition> {
        let mut named = self.table.partitions().filter(|partition| partition.is_named(name));
        named.next().filter(|_| named.next().is_none())
    }

    /// Writes a changed table: the second copy, then the first. A future that is dropped, and an error, leave
    /// the disk with one of the two tables; which of them, reading it anew says.
    pub(crate) async fn store<D: BlockDevice>(
        mut self,
        disk: &Disk<D>,
        change: impl FnOnce(&mut Table),
    ) -> Result<Self, ChangeError> {
        self.repaired.map_err(ChangeError::NotRepaired)?;
        change(&mut self.table);
        carry_out(disk, self.table.store()).await.map_err(ChangeError::Disk)?;
        Ok(self)
    }
}

async fn join<D: BlockDevice>(disk: &Disk<D>) -> Result<Joined, NoTable> {
    let geometry = Geometry {
        block_bytes: disk.block_bytes() as u32,
        last_block: disk.geometry().blocks.saturating_sub(1),
    };
    let primary = copy(disk, geometry, Which::Primary, PRIMARY_BLOCK).await;
    let at = backup_block(primary.as_ref().map(|(header, _)| header), geometry);
    let backup = copy(disk, geometry, Which::Backup, at).await;
    Table::join(geometry, whole(&primary), whole(&backup))
}

/// The header of a copy, and the bytes of its entries.
async fn copy<D: BlockDevice>(
    disk: &Disk<D>,
    geometry: Geometry,
    which: Which,
    block: u64,
) -> Result<(Header, Vec<u8>), CopyError> {
    let bytes = read(disk, block, disk.block_bytes()).await?;
    let header = Header::parse(which, &bytes, block, geometry)?;
    let entries = read(disk, header.entries_block(), header.entries_bytes()).await?;
    Ok((header, entries))
}

/// A copy, checked as a whole.
fn whole(copy: &Result<(Header, Vec<u8>), CopyError>) -> Result<TableCopy<'_>, CopyError> {
    let (header, entries) = copy.as_ref().map_err(|why| *why)?;
    TableCopy::parse(*header, entries)
}

async fn read<D: BlockDevice>(disk: &Disk<D>, block: u64, bytes: usize) -> Result<Vec<u8>, CopyError> {
    let mut into = vec![0; bytes.next_multiple_of(disk.block_bytes())];
    // A block that no disk has is one that cannot be read.
    let at = block.saturating_mul(disk.block_bytes() as u64);
    disk.read(disk.whole(), at, &mut into).await.map_err(|_| CopyError::Unreadable)?;
    Ok(into)
}

/// Carries out steps in their order, to the first that fails.
async fn carry_out<'a, D: BlockDevice>(
    disk: &Disk<D>,
    steps: impl Iterator<Item = Step<'a>>,
) -> Result<(), DiskError> {
    for step in steps {
        match step {
            Step::Write { block, bytes } => {
                let mut whole = bytes.as_ref().to_vec();
                // The rest of the last block is zero.
                whole.resize(whole.len().next_multiple_of(disk.block_bytes()), 0);
                let at = block.saturating_mul(disk.block_bytes() as u64);
                disk.write(disk.whole(), at, &whole).await?;
            }
            Step::Flush => disk.flush().await?,
        }
    }
    Ok(())
}

/// The window of the state store, if there is exactly one.
pub(crate) fn persist(partitions: &Partitions) -> Option<Window> {
    partitions.named(PERSIST).as_ref().map(Window::of)
}
