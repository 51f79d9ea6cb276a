//! What a PC with Intel's chipset has.

use alloc::boxed::Box;
use core::arch::asm;
use core::sync::atomic::AtomicU32;

use board_support_drv::watchdog::itco::{Itco, Place, Ports};

use super::Found;

/// Address and data of the first way to configuration space.
const ADDRESS: u16 = 0xcf8;
const DATA: u16 = 0xcfc;
/// The LPC bridge's place in it, and the host bridge's.
const LPC: u32 = 1 << 31 | 0x1f << 11;
const HOST: u32 = 1 << 31;

/// The host bridge of Intel's Q35, by its number.
const Q35: u32 = 0x29c0_8086;
/// PCIEXBAR: where configuration space is mapped, and in the first bit whether it is. Source: Intel 3 Series Express
/// Chipset datasheet (316966), section 5.1.16.
const PCIEXBAR: u16 = 0x60;

/// The chipset's timer.
pub(super) fn chipset() -> Option<Found> {
    let place = Place::find(|offset| read_config(LPC, offset))?;
    // SAFETY:
    // 1. The address is that of a register of 32 bits in the chipset: `Place::find` saw that the bridge
    //    decodes it there, and firmware maps all registers one to one.
    // 2. Nothing else of ours reaches it; it is there as long as the machine runs.
    let gcs = unsafe { AtomicU32::from_ptr(core::ptr::with_exposed_provenance_mut(place.gcs() as usize)) };
    Some(Box::new(Itco::new(Ports::new(place, gcs))))
}

/// Where configuration space of the first bus is mapped, if this is a chipset of which it is known.
pub(super) fn configuration_space() -> Option<u64> {
    let bar = read_config(HOST, PCIEXBAR);
    let is_mapped = read_config(HOST, 0) == Q35 && bar & 1 != 0;
    is_mapped.then_some(u64::from(read_config(HOST, PCIEXBAR + 4)) << 32 | u64::from(bar & 0xf000_0000))
}

/// A word of a function's configuration space.
fn read_config(function: u32, offset: u16) -> u32 {
    let value;
    // SAFETY:
    // 1. The instructions touch no memory.
    // 2. Address and data port read configuration space, which changes nothing of a bridge; firmware, which
    //    uses them too, does not run meanwhile.
    unsafe {
        asm!(
            "out dx, eax", "mov dx, {data}", "in eax, dx", data = const DATA,
            inout("dx") ADDRESS => _, inout("eax") function | u32::from(offset & 0xfc) => value,
            options(nomem, nostack, preserves_flags),
        );
    }
    value
}
