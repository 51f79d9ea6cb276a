//! PCI configuration space by the two ports 0xcf8 and 0xcfc. In dom0 Xen stands behind them.
//!
//! Source: PCI Local Bus Specification 3.0, section 3.2.2.3.2.

use core::arch::asm;

const ADDRESS: u16 = 0xcf8;
const DATA: u16 = 0xcfc;

/// Offsets at and above this need another mechanism.
pub const BYTES: u16 = 256;

/// Reads the aligned 32-bit word at `offset` of the function `bus << 8 | device << 3 | function`.
/// Ones where there is nothing, and for an offset past [`BYTES`].
#[must_use]
pub fn read32(function: u16, offset: u16) -> u32 {
    if offset >= BYTES {
        return u32::MAX;
    }
    select(function, offset);
    let value: u32;
    // SAFETY:
    // 1. Reading the data port reads the configuration word that was selected: no memory is touched.
    unsafe { asm!("in eax, dx", in("dx") DATA, out("eax") value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Writes the aligned 32-bit word at `offset`. Nothing happens for an offset past [`BYTES`].
pub fn write32(function: u16, offset: u16, value: u32) {
    if offset >= BYTES {
        return;
    }
    select(function, offset);
    // SAFETY:
    // 1. The write changes how a device is reached, which only dom0 can and has to answer for. What a
    //    device may write in memory is up to the IOMMU.
    unsafe { asm!("out dx, eax", in("dx") DATA, in("eax") value, options(nostack, preserves_flags)) };
}

/// Writes the aligned 16-bit word at `offset`. Nothing happens for an offset past [`BYTES`].
pub fn write16(function: u16, offset: u16, value: u16) {
    if offset >= BYTES {
        return;
    }
    select(function, offset);
    // SAFETY:
    // 1. As for `write32`; bit 1 of the offset selects the half.
    unsafe {
        asm!("out dx, ax", in("dx") DATA + (offset & 2), in("ax") value, options(nostack, preserves_flags));
    }
}

fn select(function: u16, offset: u16) {
    let address = 1 << 31 | u32::from(function) << 8 | u32::from(offset & 0xfc);
    // SAFETY:
    // 1. Selecting a configuration word touches nothing.
    unsafe {
        asm!("out dx, eax", in("dx") ADDRESS, in("eax") address, options(nomem, nostack, preserves_flags))
    };
}
