//! aarch64: the `hvc` instruction with Xen's tag.

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
