//! PCI configuration space and registers of functions, for dom0: Xen answers other domains with ones.

use core::{cell::RefCell, sync::atomic::Ordering};

use alloc::collections::{BTreeMap, btree_map::Entry};
use board_support_arch::pci;
use critical_section::Mutex;
use proto_xen::{Gaddr, Maddr, PAGE_SIZE, Sbdf};

use crate::memory::{DeviceMemory, device_memory};

/// Pages of registers that were looked at.
static PAGES: Mutex<RefCell<BTreeMap<u64, DeviceMemory>>> = Mutex::new(RefCell::new(BTreeMap::new()));

/// Reads the aligned 32-bit word at `offset`; ones where there is no function.
#[must_use]
pub fn read32(function: Sbdf, offset: u16) -> u32 {
    critical_section::with(|_| pci::read32(number(function), offset))
}

/// Writes the aligned 32-bit word at `offset`.
pub fn write32(function: Sbdf, offset: u16, value: u32) {
    critical_section::with(|_| pci::write32(number(function), offset, value));
}

/// Writes the aligned 16-bit word at `offset`.
pub fn write16(function: Sbdf, offset: u16, value: u16) {
    critical_section::with(|_| pci::write16(number(function), offset, value));
}

/// Reads a 32-bit register; ones if it is none, as for an address that is not aligned or is RAM.
#[must_use]
pub fn read_register(at: Maddr) -> u32 {
    register(at, |word| word.load(Ordering::Relaxed)).unwrap_or(u32::MAX)
}

/// Writes a 32-bit register. Nothing happens where there is none.
pub fn write_register(at: Maddr, value: u32) {
    let _ = register(at, |word| word.store(value, Ordering::Relaxed));
}

/// Segment 0 is all that the ports reach.
fn number(function: Sbdf) -> u16 {
    function.0 as u16
}

/// dom0's map of devices is the identity, so a machine address is ours too.
fn register<T>(at: Maddr, access: impl FnOnce(&core::sync::atomic::AtomicU32) -> T) -> Option<T> {
    if !at.0.is_multiple_of(4) {
        return None;
    }
    let (page, word) = (at.0 / PAGE_SIZE as u64, at.0 as usize % PAGE_SIZE / 4);
    critical_section::with(|section| {
        let mut pages = PAGES.borrow_ref_mut(section);
        let mapping = match pages.entry(page) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                place.insert(device_memory(Gaddr(page * PAGE_SIZE as u64), PAGE_SIZE as u64)?)
            }
        };
        mapping.words().get(word).map(access)
    })
}
