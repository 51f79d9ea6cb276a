//! Masking, and the local interrupt controller for the vectors of passed-through devices.

use core::{
    arch::{asm, x86_64::__cpuid},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use super::cpu::{read_msr, write_msr};
use crate::boot_info::InterruptController;

/// The vector by which Xen says that an event channel was raised.
pub const UPCALL_VECTOR: u64 = 0xf3;
/// The vector that the interrupt controller uses when it changed its mind.
pub(super) const SPURIOUS_VECTOR: u64 = 0xff;

/// What `HVM_PARAM_CALLBACK_IRQ` has to be for upcalls to come: type 2 (vector) in the upper byte.
/// Source: `hvm/params.h`.
pub const CALLBACK_VIA: Option<u64> = Some(2 << 56 | UPCALL_VECTOR);

/// Vectors, all together.
pub const VECTORS: usize = 256;

const INTERRUPT_FLAG: u64 = 1 << 9;

/// The local interrupt controller is on.
static CONTROLLER: AtomicBool = AtomicBool::new(false);

/// Masks interrupts; returns whether they were allowed before.
pub fn mask() -> bool {
    let flags: u64;
    // SAFETY:
    // 1. Reading the flags and masking interrupts changes nothing that Rust relies on. Without
    //    `nomem` no access moves across it.
    unsafe { asm!("pushfq", "pop {}", "cli", out(reg) flags) };
    flags & INTERRUPT_FLAG != 0
}

/// Allows interrupts.
pub fn allow() {
    // SAFETY:
    // 1. The handlers were set before the first call (`rt` does), and everything they touch is
    //    atomic or guarded by `mask`.
    unsafe { asm!("sti", options(nostack)) };
}

/// Switches the local interrupt controller on, so that device vectors arrive. `false` if the
/// processor has none in x2APIC mode: then only event channels work.
pub fn enable_controller(_told: Option<InterruptController>) -> bool {
    const X2APIC: u32 = 1 << 21;
    if __cpuid(1).ecx & X2APIC == 0 {
        return false;
    }
    // SAFETY:
    // 1. Every processor with a local APIC has IA32_APIC_BASE.
    let base = unsafe { read_msr(0x1b) };
    // SAFETY:
    // 1. x2APIC was found above; bits 10 and 11 switch it on.
    // 2. It sends nothing yet: all its sources are masked.
    unsafe { write_msr(0x1b, base | 0xc00) };
    // SAFETY:
    // 1. TPR exists in x2APIC mode; 0 lets every vector pass.
    // 2. Vectors arrive at stubs.
    unsafe { write_msr(0x808, 0) };
    // SAFETY:
    // 1. SVR exists in x2APIC mode; bit 8 is the switch, the rest the spurious vector.
    // 2. As above.
    unsafe { write_msr(0x80f, 0x100 | SPURIOUS_VECTOR) };
    CONTROLLER.store(true, Relaxed);
    true
}

/// A device's vector needs no switching on at the controller.
pub fn enable_vector(_vector: u32) {}

/// Ends the interrupt that is being served.
pub(super) fn end() {
    if CONTROLLER.load(Relaxed) {
        // SAFETY:
        // 1. x2APIC is on, so EOI exists and takes 0.
        // 2. It is sent once for each vector that arrived.
        unsafe { write_msr(0x80b, 0) };
    }
}
