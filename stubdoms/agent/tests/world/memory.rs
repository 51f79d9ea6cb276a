//! A heap that counts, for each thread on its own.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

#[global_allocator]
static HEAP: Counting = Counting;

struct Counting;

fn count(bytes: isize) {
    let live = LIVE.get() + bytes;
    LIVE.set(live);
    PEAK.set(PEAK.get().max(live));
}

// SAFETY: all is left to the system's allocator; counting touches plain cells, which allocate nothing.
// `realloc` is the trait's own, so that old and new storage are both counted while one is copied.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-layout.size().cast_signed());
        // SAFETY: the caller's promise is passed on; `at` came from `alloc` above.
        unsafe { System.dealloc(at, layout) }
    }
}

/// Runs `what`; tells by how many bytes the heap of this thread grew at most meanwhile.
pub fn peak<R>(what: impl FnOnce() -> R) -> (R, usize) {
    let before = LIVE.get();
    PEAK.set(before);
    let result = what();
    (result, (PEAK.get() - before).cast_unsigned())
}
