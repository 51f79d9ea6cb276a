//! Doing nothing until something happens.

use core::arch::asm;

use super::interrupts;

/// Blocks until the next interrupt, unless `awake` says that there is work. `awake` is asked with
/// interrupts masked, and the processor blocks in the instruction after the one that allows them: an
/// interrupt in between is not missed. Interrupts are allowed afterwards.
pub fn block_unless(awake: impl FnOnce() -> bool) {
    interrupts::mask();
    if awake() {
        interrupts::allow();
        return;
    }
    // SAFETY:
    // 1. `sti` takes effect after the next instruction, so the interrupt that ends `hlt` cannot come
    //    before it. As for `interrupts::allow`.
    unsafe { asm!("sti", "hlt", options(nostack)) };
}
