//! The heap: talc over runs of pages from the pool, up to a ceiling.

use alloc::alloc::{GlobalAlloc, Layout};
use core::{cell::RefCell, ptr::null_mut};

use critical_section::Mutex;
use proto_xen::PAGE_SIZE;
use talc::{
    base::{Talc, binning::Binning},
    source::Source,
};

use crate::pool;

/// Pages that the heap takes at a time, unless one request needs more.
const STEP_PAGES: usize = 64;

/// Room for the allocator's own words beside a large request.
const OVERHEAD_BYTES: usize = 4096;

/// Takes pages from the pool when the heap is used up.
#[derive(Debug)]
struct Growth {
    /// Bytes taken.
    taken: usize,
    /// Bytes that may be taken.
    limit: usize,
}

// SAFETY:
// 1. `acquire` uses the pool only, which never allocates, and talc through the argument alone.
unsafe impl Source for Growth {
    fn acquire<B: Binning>(talc: &mut Talc<Self, B>, layout: Layout) -> Result<(), ()> {
        let room = talc.source.limit.saturating_sub(talc.source.taken) / PAGE_SIZE;
        let need = layout.size().checked_add(layout.align()).ok_or(())?;
        let need = need.checked_add(OVERHEAD_BYTES).ok_or(())?.div_ceil(PAGE_SIZE);
        if need > room {
            return Err(());
        }
        // A large step while there is room, else just what is needed.
        let wanted = need.max(STEP_PAGES).min(room);
        let (first, pages) = pool::take_run(wanted)
            .map(|first| (first, wanted))
            .or_else(|| pool::take_run(need).map(|first| (first, need)))
            .ok_or(())?;
        let at = core::ptr::with_exposed_provenance_mut(first.base().0 as usize);
        // SAFETY:
        // 1. The run was taken out of the pool for ever: nobody else uses it, and it stays mapped.
        unsafe { talc.claim(at, pages * PAGE_SIZE) };
        talc.source.taken += pages * PAGE_SIZE;
        Ok(())
    }
}

struct Heap(Mutex<RefCell<Talc<Growth, talc::DefaultBinning>>>);

#[global_allocator]
static HEAP: Heap = Heap(Mutex::new(RefCell::new(Talc::new(Growth { taken: 0, limit: usize::MAX }))));

// SAFETY:
// 1. talc upholds the contract of an allocator; the critical section gives it to one caller at a
//    time, and interrupt handlers do not allocate.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        critical_section::with(|section| {
            let mut talc = self.0.borrow_ref_mut(section);
            // SAFETY:
            // 1. The layout is not empty: what the caller owes.
            unsafe { talc.allocate(layout) }.map_or(null_mut(), |at| at.as_ptr())
        })
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        critical_section::with(|section| {
            let mut talc = self.0.borrow_ref_mut(section);
            // SAFETY:
            // 1. `at` came from `alloc` with this layout: what the caller owes.
            unsafe { talc.deallocate(at, layout) };
        });
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let in_place = critical_section::with(|section| {
            let mut talc = self.0.borrow_ref_mut(section);
            // SAFETY:
            // 1. `at` came from `alloc` with this layout, and the size is not 0: what the caller owes.
            unsafe { talc.try_realloc_in_place(at, layout, new_size) }
        });
        if in_place {
            return at;
        }
        let Ok(new_layout) = Layout::from_size_align(new_size, layout.align()) else { return null_mut() };
        // SAFETY:
        // 1. The size is not 0: what the caller owes.
        let new = unsafe { self.alloc(new_layout) };
        if !new.is_null() {
            // SAFETY:
            // 1. Both are good for the smaller of the sizes, and do not overlap: both are allocated.
            unsafe { new.copy_from_nonoverlapping(at, layout.size().min(new_size)) };
            // SAFETY:
            // 1. As for the call itself; nothing refers to the old place any more.
            unsafe { self.dealloc(at, layout) };
        }
        new
    }
}

/// How full the heap is, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// In use.
    pub allocated: usize,
    /// Taken from the pool.
    pub taken: usize,
    /// The most that may be taken.
    pub limit: usize,
}

/// How full the heap is.
#[must_use]
pub fn usage() -> Usage {
    critical_section::with(|section| {
        let talc = HEAP.0.borrow_ref(section);
        Usage {
            allocated: talc.counters().allocated_bytes,
            taken: talc.source.taken,
            limit: talc.source.limit,
        }
    })
}

/// Sets the ceiling, in bytes. What is taken already stays.
pub fn set_limit(bytes: usize) {
    critical_section::with(|section| HEAP.0.borrow_ref_mut(section).source.limit = bytes);
}
