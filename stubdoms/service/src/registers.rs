//! Registers of a device of the domain's own, as dom0 has mapped them.

use core::sync::atomic::AtomicU32;

use board_support_drv::mmio::DeviceWords;
use board_support_rt::memory::{DeviceMemory, device_memory};
use proto_manifest::wiring::{DeviceGrant, MmioWindow};
use proto_xen::{Gaddr, PAGE_SIZE};

/// A window, which need not begin a page.
pub struct Registers {
    pages: DeviceMemory,
    /// In words, from the first page on.
    first: usize,
    length: usize,
}

impl Registers {
    /// Maps the front of a device's BAR 0, or of the registers of one that has no BARs. `None` if the wiring
    /// names none that can be mapped.
    #[must_use]
    pub fn of(device: &DeviceGrant) -> Option<Self> {
        device.mmio.iter().find(|window| window.bar == 0 && window.offset == 0).and_then(Self::map)
    }

    fn map(window: &MmioWindow) -> Option<Self> {
        let page = PAGE_SIZE as u64;
        let start = window.gaddr - window.gaddr % page;
        let end = window.gaddr.checked_add(window.len)?.checked_next_multiple_of(page)?;
        let pages = device_memory(Gaddr(start), end - start)?;
        let (first, length) = ((window.gaddr - start) as usize / 4, window.len as usize / 4);
        Some(Self { pages, first, length })
    }
}

impl DeviceWords for Registers {
    fn words(&self) -> &[AtomicU32] {
        // Within the pages: `map` took as many as it needs.
        &self.pages.words()[self.first..][..self.length]
    }
}
