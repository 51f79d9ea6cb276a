//! Doing nothing until something happens.

use core::arch::asm;

use super::interrupts;

/// Blocks until the next interrupt, unless `awake` says that there is work. `awake` is asked with
/// interrupts masked, and `wfi` ends for a masked interrupt too: one in between is not missed.
/// Interrupts are allowed afterwards.
pub fn block_unless(awake: impl FnOnce() -> bool) {
    interrupts::mask();
    if !awake() {
        // SAFETY:
        // 1. Waiting changes nothing.
        unsafe { asm!("dsb sy", "wfi", options(nostack, preserves_flags)) };
    }
    interrupts::allow();
}
