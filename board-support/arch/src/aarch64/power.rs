//! The last resort.

use core::arch::asm;

/// Stops the vCPU with interrupts masked.
pub fn halt_for_ever() {
    loop {
        // SAFETY:
        // 1. Nothing runs any more after this.
        unsafe { asm!("msr daifset, #15", "wfi", options(nomem, nostack)) };
    }
}

/// The caller's frame pointer, where its backtrace begins.
#[inline(always)]
#[must_use]
pub fn frame_pointer() -> u64 {
    let frame: u64;
    // SAFETY:
    // 1. Copying a register has no effect.
    unsafe { asm!("mov {}, x29", out(reg) frame, options(nomem, nostack, preserves_flags)) };
    frame
}
