//! Guest frames above all RAM at which foreign and granted memory appears.
//!
//! The runtime reserves one range whose addresses are mapped one to one, readable, writable and not
//! executable, and gives it to [`init`]. A [`Window`] owns a run of frames in it.

use core::ptr::NonNull;

use proto_xen::{Gaddr, Gfn, PAGE_SHIFT, PAGE_SIZE};
use spin::Mutex;

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
        let mut region = REGION.lock();
        let start = find_run(&region.used, region.pages, pages)?;
        for page in start..start + pages {
            region.used[page / BITS] |= 1 << (page % BITS);
        }
        Some(Self { first: Gfn(region.first + start as u64), pages })
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
    use super::find_run;

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
