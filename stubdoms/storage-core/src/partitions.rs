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

/// The copy that was being written when the disk failed: what is read of it may be the disk's cache, so it is
/// written again before anything is believed or changed.
pub(crate) type Doubt = Option<Which>;

impl Partitions {
    /// Reads both copies, and repairs one from the other: that in doubt, or a damaged one. One that cannot be
    /// repaired can be read all the same.
    pub(crate) async fn read<D: BlockDevice>(disk: &Disk<D>, doubt: &mut Doubt) -> Result<Self, NoTable> {
        let (joined, alone) = join(disk, *doubt).await?;
        let (joined, before) = (Box::new(joined), *doubt);
        let mut repaired = carry_out(disk, doubt, joined.condition().to_repair(), joined.repair()).await;
        if alone && repaired.is_ok() {
            // That in doubt had to be believed. It is written when the table is read again.
            (*doubt, repaired) = (before, Err(DiskError::InDoubt));
        }
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
        doubt: &mut Doubt,
        change: impl FnOnce(&mut Table),
    ) -> Result<Self, ChangeError> {
        self.repaired.map_err(ChangeError::NotRepaired)?;
        change(&mut self.table);
        let order = [Which::Backup, Which::Primary];
        carry_out(disk, doubt, order, self.table.store()).await.map_err(ChangeError::Disk)?;
        Ok(self)
    }
}

/// Both copies, that in doubt taken for one that cannot be read unless it is all that there is, which is said.
async fn join<D: BlockDevice>(disk: &Disk<D>, doubt: Doubt) -> Result<(Joined, bool), NoTable> {
    let geometry = Geometry {
        block_bytes: disk.block_bytes() as u32,
        last_block: disk.geometry().blocks.saturating_sub(1),
    };
    let primary = copy(disk, geometry, Which::Primary, PRIMARY_BLOCK).await;
    let at = backup_block(primary.as_ref().map(|(header, _)| header), geometry);
    let backup = copy(disk, geometry, Which::Backup, at).await;
    let (primary, backup) = (whole(&primary), whole(&backup));
    let unless = |which, copy| if doubt == Some(which) { Err(CopyError::Unreadable) } else { copy };
    let certain = Table::join(geometry, unless(Which::Primary, primary), unless(Which::Backup, backup));
    match certain {
        Ok(joined) => Ok((joined, false)),
        Err(_) => Table::join(geometry, primary, backup).map(|joined| (joined, doubt.is_some())),
    }
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

/// Carries out steps in their order, to the first that fails. They write these copies, each up to a flush; the one
/// that is under way is in doubt.
async fn carry_out<'a, D: BlockDevice>(
    disk: &Disk<D>,
    doubt: &mut Doubt,
    copies: impl IntoIterator<Item = Which>,
    steps: impl Iterator<Item = Step<'a>>,
) -> Result<(), DiskError> {
    let mut copies = copies.into_iter();
    let mut since = disk.epoch();
    *doubt = copies.next();
    for step in steps {
        match step {
            Step::Write { block, bytes } => {
                let mut whole = bytes.as_ref().to_vec();
                // The rest of the last block is zero.
                whole.resize(whole.len().next_multiple_of(disk.block_bytes()), 0);
                let at = block.saturating_mul(disk.block_bytes() as u64);
                disk.write(disk.whole(), at, &whole).await?;
            }
            Step::Flush => {
                disk.flush(since).await?;
                since = disk.epoch();
                *doubt = copies.next();
            }
        }
    }
    Ok(())
}

/// The window of the state store, if there is exactly one.
pub(crate) fn persist(partitions: &Partitions) -> Option<Window> {
    partitions.named(PERSIST).as_ref().map(Window::of)
}
