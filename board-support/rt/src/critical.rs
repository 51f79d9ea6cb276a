//! Critical sections: interrupts masked. One vCPU, so that is all it takes.
//!
//! All, but for one thing that was seen under QEMU's emulation of nested paging: an upcall that came
//! while interrupts were masked, in the middle of another one. A section therefore also counts its
//! depth. An interrupt that comes inside of one is noted and served when the section ends.

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

use board_support_arch::interrupts;
use critical_section::RawRestoreState;

use crate::{event, irq};

/// Sections that are entered and not left.
static DEPTH: AtomicU32 = AtomicU32::new(0);
/// Something is noted below.
static LATE: AtomicBool = AtomicBool::new(false);
static LATE_UPCALL: AtomicBool = AtomicBool::new(false);
static LATE_VECTORS: [AtomicU64; interrupts::VECTORS.div_ceil(64)] =
    [const { AtomicU64::new(0) }; interrupts::VECTORS.div_ceil(64)];

struct Masked;

critical_section::set_impl!(Masked);

// SAFETY:
// 1. Between `acquire` and `release` no interrupt is served, and there is no other vCPU: nothing runs
//    but the section, and what [`upcall`] and [`vector`] note in atomics.
// 2. Nested sections leave the masking to the outermost one.
unsafe impl critical_section::Impl for Masked {
    unsafe fn acquire() -> RawRestoreState {
        let allowed_before = interrupts::mask();
        DEPTH.fetch_add(1, Relaxed);
        allowed_before
    }

    unsafe fn release(allowed_before: RawRestoreState) {
        if DEPTH.fetch_sub(1, Relaxed) == 1 && LATE.swap(false, Relaxed) {
            serve_late();
        }
        if allowed_before {
            interrupts::allow();
        }
    }
}

/// Xen's upcall.
pub(crate) fn upcall() {
    if DEPTH.load(Relaxed) == 0 {
        return event::upcall();
    }
    LATE_UPCALL.store(true, Relaxed);
    LATE.store(true, Relaxed);
}

/// A device's interrupt.
pub(crate) fn vector(vector: u32) {
    if DEPTH.load(Relaxed) == 0 {
        return irq::arrived(vector);
    }
    if let Some(word) = LATE_VECTORS.get(vector as usize / 64) {
        word.fetch_or(1 << (vector % 64), Relaxed);
    }
    LATE.store(true, Relaxed);
}

/// Serves what was noted. Interrupts are masked, and no section is entered.
fn serve_late() {
    if LATE_UPCALL.swap(false, Relaxed) {
        event::upcall();
    }
    for (index, word) in LATE_VECTORS.iter().enumerate() {
        let mut noted = word.swap(0, Relaxed);
        while noted != 0 {
            irq::arrived(index as u32 * 64 + noted.trailing_zeros());
            noted &= noted - 1;
        }
    }
}
