//! Virtio transports, as dom0 itself reaches them: to reset the device, and the memory that it is lent.

use core::{
    fmt,
    sync::atomic::{
        AtomicU32,
        Ordering::{Acquire, Release},
    },
};

use board_support_hyp::Domctl;
use board_support_rt::{
    memory::{DeviceMemory, device_memory},
    pool::{Run, allocate_run},
};
use dom0_toolstack::transport::Hands;
use proto_errors::{Code, Coded, build};
use proto_manifest::table::VirtioMmio;
use proto_xen::{DomId, Errno, Gaddr, Gfn, Maddr, PAGE_SIZE};

use crate::device::XEN;

/// Offset of the device's status. Writing zero resets the device, and it reads as zero when that is done.
/// Source: Virtio 1.2, 4.2.2.
const STATUS: u64 = 0x70;

/// How often the end of a reset is looked for.
const LOOKS: u32 = 10_000;

/// Why a transport cannot be held.
#[derive(Debug)]
pub(crate) enum TransportError {
    /// dom0 has no room for its pool.
    NoMemory { pages: u16 },
    /// Xen does not let dom0 at its registers.
    Refused(Errno),
    /// They cannot be mapped.
    Registers,
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMemory { pages } => write!(f, "dom0 has no {pages} pages in a row for its pool"),
            Self::Refused(errno) => write!(f, "Xen refuses its registers: {errno}"),
            Self::Registers => write!(f, "its registers cannot be mapped"),
        }
    }
}

impl Coded for TransportError {
    fn code(&self) -> Code {
        match self {
            Self::NoMemory { .. } => build::MEMORY,
            Self::Refused(_) | Self::Registers => build::NO_TRANSPORT,
        }
    }
}

/// A transport and its pool.
#[derive(Debug)]
pub(crate) struct Transport {
    registers: DeviceMemory,
    /// Where the status is among the words of the registers' page.
    status: usize,
    pool: Run,
}

impl Transport {
    /// Maps the registers and takes the pool.
    pub(crate) fn open(mmio: VirtioMmio) -> Result<Self, TransportError> {
        let page = Gaddr(mmio.address()).frame();
        // dom0 has everything of the machine at its own address, but Xen leaves this page to others.
        XEN.memory_mapping(DomId::DOM0, page, Maddr(mmio.address()).frame(), 1, true)
            .map_err(TransportError::Refused)?;
        let registers = device_memory(page.base(), PAGE_SIZE as u64).ok_or(TransportError::Registers)?;
        let status = ((mmio.address() + STATUS - page.base().0) / 4) as usize;
        let pages = mmio.pool_pages;
        let pool = allocate_run(pages.into(), 1).ok_or(TransportError::NoMemory { pages })?;
        Ok(Self { registers, status, pool })
    }

    /// The first frame of the pool.
    pub(crate) fn pool(&self) -> Gfn {
        self.pool.gfn()
    }

    fn status(&self) -> Option<&AtomicU32> {
        self.registers.words().get(self.status)
    }
}

impl Hands for Transport {
    fn reset(&self) -> bool {
        let Some(status) = self.status() else { return false };
        status.store(0, Release);
        (0..LOOKS).any(|_| status.load(Acquire) == 0)
    }

    fn clear_pool(&self) {
        self.pool.words().iter().for_each(|word| word.store(0, Release));
    }
}
