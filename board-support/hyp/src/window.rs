//! Guest frames above all RAM at which foreign and granted memory appears.
//!
//! The runtime reserves one range whose addresses are mapped one to one, readable, writable and not
//! executable, and gives it to [`init`]. A [`Window`] owns a run of frames in it.
//!
//! A window is empty when it is free again: whoever gets it next must not find another domain's page there.
//! When Xen refuses to take a page out, the window is parked ([`Park`]), counted, and tried again whenever
//! another one is allocated.

use core::ptr::NonNull;

use proto_xen::{Gaddr, Gfn, PAGE_SHIFT, PAGE_SIZE};
use spin::Mutex;

use crate::{foreign, gnttab};

/// Most pages that the region can have: 32 MiB.
pub const MAX_PAGES: usize = 8192;
const BITS: usize = 64;

struct Region {
    first: u64,
    pages: usize,
    used: [u64; MAX_PAGES / BITS],
}

static REGION: Mutex<Region> = Mutex::new(Region { first: 0, pages: 0, used: [0; MAX_PAGES / BITS] });

/// Sets the region aside. At most [`MAX_PAGES`] pages of it are used.
///
/// # Safety
/// 1. The frames hold no memory and are used by nobody else.
/// 2. Their addresses are mapped one to one, writable, for ever.
/// 3. It is called once, before any [`Window`] exists.
pub unsafe fn init(first: Gfn, pages: usize) {
    let mut region = REGION.lock();
    region.first = first.0;
    region.pages = pages.min(MAX_PAGES);
}

/// What is not done yet, because Xen refused it: each is tried again, one after the other.
#[derive(Debug)]
pub struct Park<T, const N: usize = 64> {
    waiting: [Option<T>; N],
    next: usize,
    lost: usize,
}

impl<T, const N: usize> Park<T, N> {
    /// Nothing is parked.
    #[must_use]
    pub const fn new() -> Self {
        Self { waiting: [const { None }; N], next: 0, lost: 0 }
    }

    /// Keeps `item` until it is undone; for ever if no place is free.
    pub fn add(&mut self, item: T) {
        match self.waiting.iter_mut().find(|place| place.is_none()) {
            Some(place) => *place = Some(item),
            None => {
                core::mem::forget(item);
                self.lost += 1;
            }
        }
    }

    /// Tries to undo one item, another one each time, and drops it if `undo` says that it is done.
    pub fn retry(&mut self, undo: impl FnOnce(&mut T) -> bool) {
        let after = (0..N).map(|step| (self.next + step) % N);
        let Some(index) = after.into_iter().find(|&index| self.waiting[index].is_some()) else { return };
        self.next = (index + 1) % N;
        if self.waiting[index].as_mut().is_some_and(undo) {
            self.waiting[index] = None;
        }
    }

    /// How many items are not undone.
    #[must_use]
    pub fn count(&self) -> usize {
        self.waiting.iter().flatten().count() + self.lost
    }
}

impl<T, const N: usize> Default for Park<T, N> {
    fn default() -> Self {
        Self::new()
    }
}

/// What is still in a window.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Left {
    /// Pages of another domain.
    Foreign,
    /// A granted page, which Xen knows by this number.
    Grant(u32),
}

impl Left {
    /// Takes it out. False if Xen refuses.
    fn undo(self, window: &Window) -> bool {
        match self {
            Self::Foreign => foreign::unmap(window),
            Self::Grant(handle) => gnttab::unmap(window, handle),
        }
    }
}

static PARKED: Mutex<Park<(Window, Left)>> = Mutex::new(Park::new());

/// What is in use of the region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Pages of windows, parked ones too.
    pub pages: usize,
    /// Windows that are parked.
    pub parked: usize,
}

/// What is in use of the region.
#[must_use]
pub fn usage() -> Usage {
    let parked = PARKED.lock().count();
    let pages = REGION.lock().used.iter().map(|word| word.count_ones() as usize).sum();
    Usage { pages, parked }
}

/// A run of frames of the region, free for others again when dropped.
#[derive(Debug)]
pub struct Window {
    first: Gfn,
    pages: usize,
}

impl Window {
    /// `pages` frames in a row, or `None` if there is no such run.
    #[must_use]
    pub fn allocate(pages: usize) -> Option<Self> {
        PARKED.lock().retry(|(window, left)| left.undo(window));
        let mut region = REGION.lock();
        let start = find_run(&region.used, region.pages, pages)?;
        for page in start..start + pages {
            region.used[page / BITS] |= 1 << (page % BITS);
        }
        Some(Self { first: Gfn(region.first + start as u64), pages })
    }

    /// Takes out what is in it, for its frames to be used again; parks it if Xen refuses. What is left in
    /// its place has no frames.
    pub(crate) fn vacate(&mut self, left: Left) {
        let window = Self { first: self.first, pages: core::mem::take(&mut self.pages) };
        if !left.undo(&window) {
            PARKED.lock().add((window, left));
        }
    }

    /// The first frame.
    #[must_use]
    pub const fn first(&self) -> Gfn {
        self.first
    }

    /// How many.
    #[must_use]
    pub const fn pages(&self) -> usize {
        self.pages
    }

    /// Address of the first byte.
    #[must_use]
    pub const fn base(&self) -> Gaddr {
        Gaddr(self.first.0 << PAGE_SHIFT)
    }

    /// Bytes.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.pages * PAGE_SIZE
    }

    /// Where the window appears in our address space.
    pub(crate) fn pointer(&self) -> NonNull<u8> {
        // The region never starts at 0: it lies above all RAM.
        NonNull::new(self.base().0 as *mut u8).unwrap_or(NonNull::dangling())
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        let mut region = REGION.lock();
        let start = (self.first.0 - region.first) as usize;
        for page in start..start + self.pages {
            region.used[page / BITS] &= !(1 << (page % BITS));
        }
    }
}

/// Start of the first run of `wanted` clear bits among the first `limit`.
fn find_run(used: &[u64], limit: usize, wanted: usize) -> Option<usize> {
    if wanted == 0 || wanted > limit {
        return None;
    }
    let mut start = 0;
    let mut length = 0;
    for page in 0..limit {
        if used[page / BITS] & 1 << (page % BITS) != 0 {
            start = page + 1;
            length = 0;
            continue;
        }
        length += 1;
        if length == wanted {
            return Some(start);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::{rc::Rc, vec::Vec};

    use super::{Park, find_run};

    #[test]
    fn what_is_parked_is_tried_in_turn_until_it_is_done() {
        let mut park = Park::<_, 4>::new();
        let kept = Rc::new(());
        for number in 0..3 {
            park.add((number, kept.clone()));
        }
        let mut tried = Vec::new();
        for _ in 0..6 {
            park.retry(|(number, _)| {
                tried.push(*number);
                *number == 1
            });
        }
        assert_eq!(tried, [0, 1, 2, 0, 2, 0]);
        assert_eq!((park.count(), Rc::strong_count(&kept)), (2, 3));
    }

    #[test]
    fn what_finds_no_place_in_the_park_is_never_dropped() {
        let mut park = Park::<_, 1>::new();
        let kept = Rc::new(());
        (0..3).for_each(|_| park.add(kept.clone()));
        assert_eq!(park.count(), 3);
        park.retry(|_| true);
        park.retry(|_| panic!("it cannot be undone"));
        assert_eq!((park.count(), Rc::strong_count(&kept)), (2, 3));
    }

    #[test]
    fn a_run_is_found_between_used_pages() {
        let used = [0b1011, 0];
        assert_eq!(find_run(&used, 128, 1), Some(2));
        assert_eq!(find_run(&used, 128, 2), Some(4));
        assert_eq!(find_run(&used, 128, 124), Some(4));
        assert_eq!(find_run(&used, 128, 125), None);
        assert_eq!(find_run(&used, 3, 1), Some(2));
        assert_eq!(find_run(&used, 2, 1), None);
        assert_eq!(find_run(&used, 128, 0), None);
    }
}
