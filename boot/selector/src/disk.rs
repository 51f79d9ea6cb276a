//! The disk that this program came from.

use alloc::vec::Vec;
use core::fmt;

use proto_gpt::copy::{CopyError, Geometry, Header, PRIMARY_BLOCK, TableCopy, Which, backup_block};
use proto_gpt::table::{Joined, NoTable, Step, Table};
use uefi::boot::{self, MemoryType, OpenProtocolAttributes, OpenProtocolParams, ScopedProtocol, SearchType};
use uefi::proto::ProtocolPointer;
use uefi::proto::device_path::DevicePath;
use uefi::proto::loaded_image::LoadedImage;
use uefi::proto::media::block::BlockIO;
use uefi::{Handle, Status};

use crate::pages::Pages;

/// Bytes that are read from the disk at once.
const CHUNK: usize = 1 << 20;

/// Why the disk is not found, or does not do what it is asked to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum DiskError {
    /// The firmware says so.
    Firmware(Status),
    /// It does not say from which device we came.
    NoDevice,
    /// No disk contains that device.
    NoDisk,
    /// The disk has blocks of a size that is not known.
    BlockSize(u32),
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Firmware(status) => write!(f, "the firmware says {status}"),
            Self::NoDevice => f.write_str("the firmware does not say where it is"),
            Self::NoDisk => f.write_str("no disk has the partition that this program came from"),
            Self::BlockSize(bytes) => write!(f, "its blocks have {bytes} bytes"),
        }
    }
}

impl From<uefi::Error> for DiskError {
    fn from(error: uefi::Error) -> Self {
        Self::Firmware(error.status())
    }
}

/// Opens a protocol beside whoever else uses it: exclusively would take the disk away from the firmware's own
/// drivers.
pub(crate) fn open<P: ProtocolPointer + ?Sized>(handle: Handle) -> uefi::Result<ScopedProtocol<P>> {
    let params = OpenProtocolParams { handle, agent: boot::image_handle(), controller: None };
    // SAFETY:
    // 1. Nothing here disconnects a driver or uninstalls a protocol, so it stays while it is open.
    // 2. The firmware runs one program at a time: nobody else uses it meanwhile.
    unsafe { boot::open_protocol::<P>(params, OpenProtocolAttributes::GetProtocol) }
}

/// The disk.
pub(crate) struct Disk {
    path: Vec<u8>,
    blocks: ScopedProtocol<BlockIO>,
    geometry: Geometry,
}

impl Disk {
    /// Finds it: the one whose device path is the beginning of that of our partition.
    pub(crate) fn find() -> Result<Self, DiskError> {
        let image = open::<LoadedImage>(boot::image_handle())?;
        let partition = open::<DevicePath>(image.device().ok_or(DiskError::NoDevice)?)?;
        let ours = nodes(&partition);
        for &handle in boot::locate_handle_buffer(SearchType::from_proto::<BlockIO>())?.iter() {
            let (Ok(blocks), Ok(path)) = (open::<BlockIO>(handle), open::<DevicePath>(handle)) else {
                continue;
            };
            let path = nodes(&path);
            let contains = ours.starts_with(path) && ours.len() > path.len();
            if !contains || blocks.media().is_logical_partition() || !blocks.media().is_media_present() {
                continue;
            }
            let (block_bytes, last_block) = (blocks.media().block_size(), blocks.media().last_block());
            if !matches!(block_bytes, 512 | 4096) {
                return Err(DiskError::BlockSize(block_bytes));
            }
            let path = path.to_vec();
            return Ok(Self { path, blocks, geometry: Geometry { block_bytes, last_block } });
        }
        Err(DiskError::NoDisk)
    }

    /// Its shape.
    pub(crate) const fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// Its device path, without the end.
    pub(crate) fn path(&self) -> &[u8] {
        &self.path
    }

    /// Reads `length` bytes from a block on, into pages of their own.
    pub(crate) fn read(&mut self, block: u64, length: usize) -> Result<Pages, DiskError> {
        let block_bytes = self.geometry.block_bytes as usize;
        let mut pages = Pages::new(length.next_multiple_of(block_bytes), MemoryType::LOADER_DATA)?;
        let media = self.blocks.media().media_id();
        for (chunk, block) in pages.chunks_mut(CHUNK).zip((block..).step_by(CHUNK / block_bytes)) {
            self.blocks.read_blocks(media, block, chunk)?;
        }
        Ok(pages)
    }

    fn write(&mut self, block: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let whole = bytes.len().next_multiple_of(self.geometry.block_bytes as usize);
        let mut pages = Pages::new(whole, MemoryType::LOADER_DATA)?;
        // The rest of the last block is zero.
        pages.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        let media = self.blocks.media().media_id();
        Ok(self.blocks.write_blocks(media, block, &pages)?)
    }

    /// Carries out steps in their order, to the first that fails.
    pub(crate) fn carry_out<'a>(&mut self, steps: impl Iterator<Item = Step<'a>>) -> Result<(), DiskError> {
        for step in steps {
            match step {
                Step::Write { block, bytes } => self.write(block, bytes.as_ref())?,
                Step::Flush => self.blocks.flush_blocks()?,
            }
        }
        Ok(())
    }

    /// Reads both copies of the partition table.
    pub(crate) fn table(&mut self) -> Result<Joined, NoTable> {
        let geometry = self.geometry;
        let primary = self.copy(Which::Primary, PRIMARY_BLOCK);
        let at = backup_block(primary.as_ref().map(|(header, _)| header), geometry);
        let backup = self.copy(Which::Backup, at);
        Table::join(geometry, whole(&primary), whole(&backup))
    }

    /// The header of a copy, and the bytes of its entries.
    fn copy(&mut self, which: Which, block: u64) -> Result<(Header, Pages), CopyError> {
        let block_bytes = self.geometry.block_bytes as usize;
        let bytes = self.read(block, block_bytes).map_err(|_| CopyError::Unreadable)?;
        let header = Header::parse(which, &bytes, block, self.geometry)?;
        let entries = self.read(header.entries_block(), header.entries_bytes());
        Ok((header, entries.map_err(|_| CopyError::Unreadable)?))
    }
}

/// A copy, checked as a whole.
fn whole(copy: &Result<(Header, Pages), CopyError>) -> Result<TableCopy<'_>, CopyError> {
    let (header, entries) = copy.as_ref().map_err(|why| *why)?;
    TableCopy::parse(*header, entries)
}

/// A device path without its end.
pub(crate) fn nodes(path: &DevicePath) -> &[u8] {
    const END: usize = 4;
    let bytes = path.as_bytes();
    bytes.get(..bytes.len().saturating_sub(END)).unwrap_or_default()
}
