//! Reading of a slot, and checking.

use alloc::format;

use proto_gpt::partition::Partition;
use proto_handoff::record::{Refused, Version};
use proto_update::manifest::{ALIGN, Contents, HEADER_BYTES, Header, Machine, SlotError, Trusted};

use uefi::Status;

use crate::disk::{Disk, DiskError};
use crate::pages::Pages;
use crate::select::Failure;
use crate::trust;

#[cfg(target_arch = "x86_64")]
const MACHINE: Machine = Machine::X86_64;
#[cfg(target_arch = "aarch64")]
const MACHINE: Machine = Machine::Aarch64;

/// A slot in memory, by a header that was verified. Its contents are not: see [`Loaded::contents`].
pub(crate) struct Loaded {
    header: Trusted,
    pages: Pages,
}

impl Loaded {
    /// Reads what is in a partition, and checks its header.
    pub(crate) fn read(disk: &mut Disk, partition: &Partition) -> Result<Self, Failure> {
        let block_bytes = u64::from(disk.geometry().block_bytes);
        let room = partition.blocks().saturating_mul(block_bytes);
        let first = disk.read(partition.first_block(), HEADER_BYTES).map_err(unreadable)?;
        let header = Header::parse(&first, room).map_err(refused)?;
        let header = header.verify(trust::key().as_slice(), MACHINE).map_err(refused)?;
        // The contents fit into the partition: `parse` saw to that.
        let block = partition.first_block() + ALIGN as u64 / block_bytes;
        let length = usize::try_from(header.length()).unwrap_or(usize::MAX);
        let mut pages = disk.read(block, length).map_err(unreadable)?;
        pages.shorten(length);
        Ok(Self { header, pages })
    }

    /// The system's version.
    pub(crate) fn version(&self) -> Version {
        self.header.version()
    }

    /// SHA-256 of the contents, as it was signed.
    pub(crate) const fn sha256(&self) -> &[u8; 32] {
        self.header.sha256()
    }

    /// Bytes of the contents.
    pub(crate) const fn length(&self) -> u64 {
        self.header.length()
    }

    /// The contents as bytes, whatever they are.
    #[cfg_attr(
        target_arch = "x86_64",
        expect(dead_code, reason = "its one program is measured by the firmware")
    )]
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.pages
    }

    /// The contents, if they are what was signed. What is started is what this gives.
    pub(crate) fn contents(&self) -> Result<Contents<'_>, Failure> {
        self.header.contents(&self.pages).map_err(refused)
    }
}

fn unreadable(why: DiskError) -> Failure {
    let refused = match why {
        DiskError::Firmware(Status::OUT_OF_RESOURCES) => Refused::NoMemory,
        _ => Refused::Unreadable,
    };
    Failure { refused, why: format!("it cannot be read: {why}") }
}

fn refused(why: SlotError) -> Failure {
    Failure { refused: why.into(), why: format!("{why}") }
}
