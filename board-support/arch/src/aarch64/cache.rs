//! Caches, where what is in them is not enough.

use core::{arch::asm, sync::atomic::AtomicU32};

/// Bytes of the smallest cache line of the architecture. Source: Arm ARM DDI 0487, D7.5.9.
const LINE: usize = 16;

/// Has what was written to these words be in memory: a reset loses what is only in a cache.
pub fn write_back(words: &[AtomicU32]) {
    for line in words.chunks(LINE / size_of::<AtomicU32>()) {
        // SAFETY:
        // 1. The line holds a word of the slice, which is mapped; writing it back changes nothing that is read.
        unsafe { asm!("dc cvac, {}", in(reg) line.as_ptr(), options(nostack, preserves_flags)) };
    }
    // SAFETY:
    // 1. A barrier has no other effect than to wait for the lines.
    unsafe { asm!("dsb sy", options(nostack, preserves_flags)) };
}
