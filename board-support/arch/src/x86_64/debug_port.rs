//! Xen's debug port, on which a domain is heard when Xen's console refuses it.
//!
//! Xen prints the lines with the domain's number, if it was started with `guest_loglvl=all`.
//! Source: `hvm/ioreq` intercepts, `XEN_HVM_DEBUGCONS_IOPORT`.

use core::arch::asm;

const PORT: u16 = 0xe9;

/// Whether there is one.
pub const IS_THERE: bool = true;

/// Writes `text`.
pub fn write(text: &[u8]) {
    // SAFETY:
    // 1. The instruction reads `text` and nothing else; the direction flag is clear, as the ABI says.
    // 2. Nothing but Xen's debug console stands behind the port.
    unsafe {
        asm!("rep outsb", in("dx") PORT, inout("rsi") text.as_ptr() => _, inout("rcx") text.len() => _,
             options(readonly, nostack, preserves_flags));
    }
}
