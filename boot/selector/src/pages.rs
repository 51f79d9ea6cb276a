//! Memory by the page.

use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

use uefi::boot::{self, AllocateType, MemoryType, PAGE_SIZE};

/// Pages, zeroed at first, which are given back when this is dropped.
pub(crate) struct Pages {
    at: NonNull<u8>,
    count: usize,
    length: usize,
}

impl Pages {
    /// At least one page for so many bytes.
    pub(crate) fn new(length: usize, kind: MemoryType) -> uefi::Result<Self> {
        let count = length.div_ceil(PAGE_SIZE).max(1);
        let at = boot::allocate_pages(AllocateType::AnyPages, kind, count)?;
        // SAFETY:
        // 1. The firmware has just given us these pages, and nobody else has them.
        unsafe { at.as_ptr().write_bytes(0, count * PAGE_SIZE) };
        Ok(Self { at, count, length })
    }

    /// Leaves out what lies behind so many bytes.
    pub(crate) fn shorten(&mut self, length: usize) {
        self.length = self.length.min(length);
    }
}

impl Deref for Pages {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY:
        // 1. The pages are ours and initialised from `new` until `drop`, and `length` lies within them.
        // 2. The borrow of `self` keeps others from writing.
        unsafe { core::slice::from_raw_parts(self.at.as_ptr(), self.length) }
    }
}

impl DerefMut for Pages {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY:
        // 1. As above.
        // 2. The borrow of `self` is the only one.
        unsafe { core::slice::from_raw_parts_mut(self.at.as_ptr(), self.length) }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY:
        // 1. `new` got them from the firmware, with this count.
        // 2. Whoever borrowed from `self` has ended.
        let _ = unsafe { boot::free_pages(self.at, self.count) };
    }
}
