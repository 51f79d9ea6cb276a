//! Caches, where what is in them is not enough.

use core::{arch::asm, sync::atomic::AtomicU32};

/// Bytes of a cache line, on every processor that this runs on.
const LINE: usize = 64;

/// Has what was written to these words be in memory: a reset loses what is only in a cache.
pub fn write_back(words: &[AtomicU32]) {
    for line in words.chunks(LINE / size_of::<AtomicU32>()) {
        // SAFETY:
        // 1. The line holds a word of the slice, which is mapped; writing it back changes nothing that is read.
        unsafe { asm!("clflush [{}]", in(reg) line.as_ptr(), options(nostack, preserves_flags)) };
    }
    // SAFETY:
    // 1. A fence has no other effect than to wait for the lines.
    unsafe { asm!("mfence", options(nostack, preserves_flags)) };
}
