//! aarch64: the `hvc` instruction, with Xen's tag for a hypercall.

use core::arch::asm;

use proto_xen::arch_arm::HYPERCALL_TAG;

/// Whether Xen is below us: the device tree says it, and we are started by nothing else.
#[must_use]
pub fn is_present() -> bool {
    true
}

/// Nothing is to be prepared. Returns true, as where something is.
pub fn init() -> bool {
    true
}

/// Traps.
///
/// # Safety
/// As [`super::raw`].
pub(super) unsafe fn trap(number: u64, args: [u64; 5]) -> i64 {
    let result: i64;
    // SAFETY: Xen takes number and arguments from these registers and may overwrite all of them; the
    // rest is the caller's.
    unsafe {
        asm!(
            "hvc #{tag}",
            tag = const HYPERCALL_TAG,
            inlateout("x0") args[0] => result,
            inlateout("x1") args[1] => _,
            inlateout("x2") args[2] => _,
            inlateout("x3") args[3] => _,
            inlateout("x4") args[4] => _,
            inlateout("x16") number => _,
            options(nostack),
        );
    };
    result
}

/// Asks Xen as the firmware of its domains: PSCI, by `hvc` without Xen's tag. Returns its code. Source: Arm DEN 0028, 2.6
/// for the registers.
///
/// # Safety
/// 1. What the function does to the domain's vCPUs upholds what Rust relies on.
pub(crate) unsafe fn psci(function: u32, args: [u64; 3]) -> i64 {
    let result: u64;
    // SAFETY: function and arguments go into these registers, and no others than a function may overwrite are
    // overwritten; the rest is the caller's.
    unsafe {
        asm!(
            "hvc #0",
            inlateout("x0") u64::from(function) => result,
            inlateout("x1") args[0] => _,
            inlateout("x2") args[1] => _,
            inlateout("x3") args[2] => _,
            clobber_abi("C"),
            options(nostack),
        );
    };
    i64::from(result as i32)
}
