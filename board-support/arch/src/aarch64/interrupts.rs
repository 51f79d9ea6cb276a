//! Masking, and the interrupt controller.

use core::arch::asm;

use super::{gic, system};
use crate::boot_info::InterruptController;

/// Upcalls come by an interrupt that Xen chose; nothing has to be said.
pub const CALLBACK_VIA: Option<u64> = None;

/// INTIDs below this are ours to wait for.
pub const VECTORS: usize = 1020;

const IRQ_MASKED: u64 = 1 << 7;

/// Masks interrupts; returns whether they were allowed before.
pub fn mask() -> bool {
    let before = system::read!("daif");
    // SAFETY:
    // 1. Masking changes nothing that Rust relies on. Without `nomem` no access moves across it.
    unsafe { asm!("msr daifset, #2", options(nostack, preserves_flags)) };
    before & IRQ_MASKED == 0
}

/// Allows interrupts.
pub fn allow() {
    // SAFETY:
    // 1. The handlers were set before the first call (`rt` does), and everything they touch is atomic
    //    or guarded by `mask`.
    unsafe { asm!("msr daifclr, #2", options(nostack, preserves_flags)) };
}

/// Switches the interrupt controller on, and in it the upcall. `false` if none was told.
pub fn enable_controller(told: Option<InterruptController>) -> bool {
    let Some(controller) = told else { return false };
    gic::init(controller);
    gic::enable(controller.upcall);
    true
}

/// Lets `vector` through.
pub fn enable_vector(vector: u32) {
    gic::enable(vector);
}
