//! The pages that outlive a reset, in which dom0 leaves its last words ([`proto_handoff::kept`]): taken from the
//! firmware at each start, and the start counted in them.

use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicU32, Ordering};

use board_support_arch::cache;
use proto_errors::slot;
use proto_handoff::kept::{Kept, PAGES};
use uefi::boot::{self, AllocateType, MemoryType, PAGE_SIZE};
use uefi::println;

/// Where they are: far from what firmware, which takes its memory from the top, and boot loaders use, and in each
/// machine that has 256 MiB.
#[cfg(target_arch = "x86_64")]
const AT: usize = 0x0fff_e000;
#[cfg(target_arch = "aarch64")]
const AT: usize = 0x4fff_e000;

/// Words of a page.
const WORDS: usize = PAGE_SIZE / 4;

/// Takes the pages and counts this start in them. None if the firmware has other uses for them.
pub(crate) fn take() -> Option<u64> {
    let place = AllocateType::Address(AT as u64);
    // Of a kind that Xen leaves alone, and dom0 reaches.
    let pages = match boot::allocate_pages(place, MemoryType::RESERVED, PAGES) {
        Ok(pages) => pages,
        Err(error) => {
            println!("selector: no last words outlive a reset: {} [{}]", error.status(), slot::NOT_KEPT);
            return None;
        }
    };
    let [note, words] = [0, 1].map(|page| page_of(pages, page));
    if !Kept::count_start(note) {
        // Of a time before the power was lost, or nothing at all.
        words.iter().for_each(|word| word.store(0, Ordering::Relaxed));
    }
    // A reset ahead of dom0 would lose a start that is counted in a cache only. And Xen turns the caches off on its way on
    // aarch64, having written back no more than its own image.
    [note, words].into_iter().for_each(cache::write_back);
    Some(AT as u64)
}

/// One of the pages as words. What is in it is what was before the reset, or after the power came.
fn page_of(pages: NonNull<u8>, page: usize) -> &'static [AtomicU32] {
    let at = ptr::with_exposed_provenance(pages.as_ptr().expose_provenance() + page * PAGE_SIZE);
    // SAFETY:
    // 1. The firmware has just given us these pages, which are never given back, and nobody else has them.
    // 2. Memory has some value whatever happened to it before, and any is one of a word.
    unsafe { core::slice::from_raw_parts(at, WORDS) }
}
