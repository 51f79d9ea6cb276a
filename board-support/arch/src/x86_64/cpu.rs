//! Single instructions that need a privilege.

use core::arch::asm;

/// Reads a model-specific register that exists.
///
/// # Safety
/// 1. The processor has the register.
pub(super) unsafe fn read_msr(number: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY:
    // 1. The register exists: what the caller owes. Reading has no effect on memory.
    unsafe {
        asm!("rdmsr", in("ecx") number, out("eax") low, out("edx") high,
             options(nomem, nostack, preserves_flags));
    }
    u64::from(high) << 32 | u64::from(low)
}

/// Writes a model-specific register.
///
/// # Safety
/// 1. The processor has the register and takes the value.
/// 2. What the value changes breaks nothing that Rust relies on.
pub(super) unsafe fn write_msr(number: u32, value: u64) {
    // SAFETY:
    // 1. and 2. are what the caller owes.
    unsafe {
        asm!("wrmsr", in("ecx") number, in("eax") value as u32, in("edx") (value >> 32) as u32,
             options(nostack, preserves_flags));
    }
}
