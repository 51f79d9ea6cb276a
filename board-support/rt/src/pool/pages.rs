//! The pool itself.

use core::{
    cell::RefCell,
    ptr::NonNull,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

use board_support_arch::memory_map::{MemoryMap, Span};
use board_support_hyp::shared::{Shared, WORDS_PER_PAGE};
use critical_section::Mutex;
use proto_xen::{Gaddr, Gfn, PAGE_SHIFT, PAGE_SIZE};

use super::frames::Frames;

static FRAMES: Mutex<RefCell<Option<Frames<'static>>>> = Mutex::new(RefCell::new(None));

/// Sets the pool up with all RAM of `map` that no span of `taken` touches, and that is below
/// `reach`. Returns `false` if there is no room for its own bookkeeping.
///
/// # Safety
/// 1. RAM of `map` outside of `taken` and below `reach` is mapped at its own addresses, and used by
///    nobody.
/// 2. It stays mapped, writable, for ever.
/// 3. It is called once.
pub(crate) unsafe fn init(map: &MemoryMap, taken: &[Span], reach: u64) -> bool {
    let mut end = 0;
    map.free(taken, |span| end = span.end.min(reach).max(end));
    let count = (end >> PAGE_SHIFT) as usize;
    let words = Frames::words_for(count);
    let pages = (words * 8).div_ceil(PAGE_SIZE) as u64;
    // The bits lie in the first free span that holds them.
    let mut home = None;
    map.free(taken, |span| {
        if home.is_none() && span.length() >= pages << PAGE_SHIFT && span.end <= reach {
            home = Some(span.start);
        }
    });
    let Some(home) = home else { return false };
    let at = core::ptr::with_exposed_provenance_mut::<u64>(home as usize);
    // SAFETY:
    // 1. Zeros are written to free memory that is long enough (above) and mapped (the caller).
    unsafe { at.write_bytes(0, words) };
    // SAFETY:
    // 1. The memory is initialised (above), aligned to a page, and from here on ours alone: it is not
    //    released into the pool below.
    let bits = unsafe { core::slice::from_raw_parts_mut(at, words) };
    let mut frames = Frames::new(0, count, bits);
    map.free(taken, |span| {
        let start = if span.start == home { home + (pages << PAGE_SHIFT) } else { span.start };
        let end = span.end.min(reach);
        if start < end {
            frames.release(start >> PAGE_SHIFT, ((end - start) >> PAGE_SHIFT) as usize);
        }
    });
    critical_section::with(|section| *FRAMES.borrow_ref_mut(section) = Some(frames));
    true
}

fn with<T>(work: impl FnOnce(&mut Frames<'static>) -> Option<T>) -> Option<T> {
    critical_section::with(|section| FRAMES.borrow_ref_mut(section).as_mut().and_then(work))
}

/// Pages that are free now.
#[must_use]
pub fn available() -> usize {
    with(|frames| Some(frames.available())).unwrap_or(0)
}

/// Takes a frame for ever, zeroed: for page tables.
pub(crate) fn take_frame() -> Option<Gfn> {
    let gfn = Gfn(with(Frames::take)?);
    clear(gfn, 1);
    Some(gfn)
}

/// Takes `count` frames in a row for ever, as they are: for the heap.
pub(crate) fn take_run(count: usize) -> Option<Gfn> {
    with(|frames| frames.take_run(count, 1)).map(Gfn)
}

/// Writes zeros into frames that were just taken out of the pool.
fn clear(first: Gfn, count: usize) {
    let at = core::ptr::with_exposed_provenance_mut::<u8>(first.base().0 as usize);
    // SAFETY:
    // 1. The frames were taken out of the pool, so nobody else uses them, and the pool's memory is
    //    mapped (what the caller of `init` owes).
    unsafe { at.write_bytes(0, count * PAGE_SIZE) };
}

/// One page of zeros, or `None` if the pool is empty.
#[must_use]
pub fn allocate() -> Option<Page> {
    allocate_run(1, 1).map(|run| Page { run })
}

/// `count` pages of zeros in a row, starting at a multiple of `alignment` pages.
#[must_use]
pub fn allocate_run(count: usize, alignment: usize) -> Option<Run> {
    let first = match (count, alignment) {
        (1, 0 | 1) => with(Frames::take),
        _ => with(|frames| frames.take_run(count, alignment)),
    }
    .map(Gfn)?;
    clear(first, count);
    Some(Run { first, count })
}

/// Pages in a row, for memory that a device reads and writes. They go back into the pool when
/// dropped: whoever lets a device write there has to stop it before.
#[derive(Debug)]
pub struct Run {
    first: Gfn,
    count: usize,
}

impl Run {
    /// The first frame.
    #[must_use]
    pub fn gfn(&self) -> Gfn {
        self.first
    }

    /// Address of the first byte, for the device and for us.
    #[must_use]
    pub fn gaddr(&self) -> Gaddr {
        self.first.base()
    }

    /// How many pages.
    #[must_use]
    pub fn pages(&self) -> usize {
        self.count
    }

    /// Where it begins in our address space. Writing through it is as unsafe as any pointer; the
    /// device may write at any instant too.
    #[must_use]
    pub fn as_ptr(&self) -> NonNull<u8> {
        let at = core::ptr::with_exposed_provenance_mut(self.first.base().0 as usize);
        // Frame 0 is never in the pool.
        NonNull::new(at).unwrap_or(NonNull::dangling())
    }

    /// Page `index` as words, or `None` past the end.
    #[must_use]
    pub fn page(&self, index: usize) -> Option<&[AtomicU32; WORDS_PER_PAGE]> {
        if index >= self.count {
            return None;
        }
        let at = self.first.plus(index as u64).base().0 as usize;
        let at = core::ptr::with_exposed_provenance::<[AtomicU32; WORDS_PER_PAGE]>(at);
        // SAFETY:
        // 1. The page is part of the run, aligned, mapped, and ours until `self` is dropped.
        // 2. Atomics permit whatever a peer or a device writes, and no plain reference leads there.
        Some(unsafe { &*at })
    }

    /// The whole run as words, 1024 for each page.
    #[must_use]
    pub fn words(&self) -> &[AtomicU32] {
        let at = core::ptr::with_exposed_provenance::<AtomicU32>(self.first.base().0 as usize);
        // SAFETY:
        // 1. As for `page`, for all pages of the run, which lie in a row.
        unsafe { core::slice::from_raw_parts(at, self.count * WORDS_PER_PAGE) }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // Whatever was in there is not for the next owner, who may grant it to somebody.
        for word in self.words() {
            word.store(0, Relaxed);
        }
        with(|frames| {
            frames.release(self.first.0, self.count);
            Some(())
        });
    }
}

/// One page of our memory, to be granted or shared. It goes back into the pool when dropped: whoever
/// granted it has to end the grant before.
#[derive(Debug)]
pub struct Page {
    run: Run,
}

impl Page {
    /// The page's frame.
    #[must_use]
    pub fn gfn(&self) -> Gfn {
        self.run.first
    }
}

impl Shared for Page {
    fn words(&self) -> &[AtomicU32; WORDS_PER_PAGE] {
        // A page is a run of one.
        self.run.page(0).expect("a page has a first page")
    }
}

#[cfg(all(test, miri))]
mod tests {
    use board_support_arch::memory_map::Kind;
    use std::alloc::{Layout, alloc};

    use super::*;

    /// One test, for there is one pool.
    #[test]
    fn pages_are_zeros_are_taken_once_and_come_back() {
        const PAGES: usize = 12;
        let layout = Layout::from_size_align(PAGES * PAGE_SIZE, 4 * PAGE_SIZE).unwrap();
        // SAFETY:
        // 1. The layout is not empty.
        let ram = unsafe { alloc(layout) };
        let start = ram.expose_provenance() as u64;
        let mut map = MemoryMap::new();
        assert!(map.add(Span::of(start, (PAGES * PAGE_SIZE) as u64), Kind::Ram));
        // SAFETY:
        // 1. The memory was allocated for this, and is never freed.
        // 2. It stays writable.
        // 3. This is the only test.
        assert!(unsafe { init(&map, &[], u64::MAX) });
        let all = available();
        assert!((1..PAGES).contains(&all), "the bits take a page");

        let page = allocate().unwrap();
        assert!(page.words().iter().all(|word| word.swap(0xffff_ffff, Relaxed) == 0));
        let run = allocate_run(4, 4).unwrap();
        assert!(run.gfn().0.is_multiple_of(4) && run.pages() == 4);
        run.words()[3 * WORDS_PER_PAGE].store(1, Relaxed);
        assert_eq!(run.page(3).map(|page| page[0].load(Relaxed)), Some(1));
        assert!(run.page(4).is_none());
        // As a device writes.
        // SAFETY:
        // 1. The run is ours, and four pages long.
        unsafe { run.as_ptr().add(4 * PAGE_SIZE - 4).cast::<u32>().write(7) };
        assert_eq!(run.words()[4 * WORDS_PER_PAGE - 1].load(Relaxed), 7);
        assert_eq!(available(), all - 5);

        assert_eq!(run.gaddr(), run.gfn().base());
        let gfn = page.gfn();
        drop((page, run));
        assert_eq!(available(), all);
        let again = allocate().unwrap();
        assert_eq!(again.gfn(), gfn);
        assert!(again.words().iter().all(|word| word.load(Relaxed) == 0), "somebody's words are left");
        assert!(allocate_run(PAGES, 1).is_none());
        let taken = take_run(2).unwrap();
        assert_ne!(taken, take_frame().unwrap());
    }
}
