//! Page tables of four levels with 512 entries each: the shape that x86_64 and aarch64 (4 KiB
//! granule, 48 bits) share. Only the bits of an entry differ; they come from an [`Encoding`].
//!
//! The map is always the identity: a virtual address is mapped to the equal physical one, or not at
//! all. Tables are reached by their physical address too, so the walker runs unchanged on the host,
//! on tables that a test allocates.

use core::{
    fmt,
    marker::PhantomData,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use crate::memory_map::Span;

/// Entries of a table.
pub const ENTRIES: usize = 512;
/// Bytes of the smallest page, and of a table.
pub const PAGE: u64 = 4096;
/// Bytes of the pages that the walker uses where it can.
pub const LARGE_PAGE: u64 = 512 * PAGE;

/// Level of the tables whose entries are the smallest pages.
const LEAF: u32 = 0;
/// Level of the tables whose entries may be large pages.
const LARGE: u32 = 1;
/// Level of the root.
const ROOT: u32 = 3;

/// What may be done with a page. Nothing is both writable and executable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    /// Code.
    ReadExecute,
    /// Constants.
    Read,
    /// Data.
    ReadWrite,
    /// Registers of devices: as data, but never cached.
    Device,
}

/// The bits of an entry.
pub trait Encoding {
    /// An entry that points to the table at `address`.
    fn table(address: u64) -> u64;
    /// An entry that maps the page at `address`; `large` says that it is one of 2 MiB.
    fn page(address: u64, rights: Rights, large: bool) -> u64;
    /// Whether the entry maps or points to anything.
    fn is_present(entry: u64) -> bool;
    /// Whether a present entry of the level above the leaves is a large page.
    fn is_large(entry: u64) -> bool;
    /// The address in a present entry.
    fn address(entry: u64) -> u64;
    /// The same entry one level down, as the first of the pages that replace it.
    fn shrink(entry: u64) -> u64;
}

/// Why a map could not be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapError {
    /// No frame is left for a table.
    NoFrame,
    /// The range has ends inside a page, or lies outside of what the tables reach.
    BadRange(Span),
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoFrame => write!(f, "no frame for a page table"),
            Self::BadRange(span) => write!(f, "{:#x}..{:#x} cannot be mapped", span.start, span.end),
        }
    }
}

/// Whether translations that the processor may still hold have become wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Stale {
    /// Only absent entries were filled.
    Nothing,
    /// Flush before relying on the change.
    Translations,
}

/// The tables of the domain's one address space.
pub struct AddressSpace<E> {
    root: u64,
    _encoding: PhantomData<E>,
}

impl<E: Encoding> AddressSpace<E> {
    /// An empty address space with its root in a frame that `frames` gives.
    ///
    /// `frames` returns addresses of zeroed frames, each the caller's to give away for ever.
    ///
    /// # Errors
    /// [`MapError::NoFrame`].
    ///
    /// # Safety
    /// 1. Each frame that `frames` ever returns, here and in [`Self::map`], is aligned, can be read
    ///    and written at its physical address, and belongs to nobody else.
    pub unsafe fn new(frames: &mut dyn FnMut() -> Option<u64>) -> Result<Self, MapError> {
        Ok(Self { root: frames().ok_or(MapError::NoFrame)?, _encoding: PhantomData })
    }

    /// Physical address of the root table.
    #[must_use]
    pub fn root(&self) -> u64 {
        self.root
    }

    /// Maps `span` to itself with `rights`, over what was mapped there before.
    ///
    /// # Errors
    /// [`MapError`]; a part of the range may be mapped then.
    pub fn map(
        &mut self,
        span: Span,
        rights: Rights,
        frames: &mut dyn FnMut() -> Option<u64>,
    ) -> Result<Stale, MapError> {
        self.change(span, Some(rights), frames)
    }

    /// Unmaps `span`.
    ///
    /// # Errors
    /// [`MapError`]; a frame is needed where a large page has to be split.
    pub fn unmap(&mut self, span: Span, frames: &mut dyn FnMut() -> Option<u64>) -> Result<Stale, MapError> {
        self.change(span, None, frames)
    }

    /// The entry that translates `address`, if any.
    #[must_use]
    pub fn lookup(&self, address: u64) -> Option<u64> {
        let mut table = self.root;
        for level in (LEAF..=ROOT).rev() {
            let entry = entries(table)[index(address, level)].load(Relaxed);
            if !E::is_present(entry) {
                return None;
            }
            if level == LEAF || (level == LARGE && E::is_large(entry)) {
                return Some(entry);
            }
            table = E::address(entry);
        }
        None
    }

    fn change(
        &mut self,
        span: Span,
        rights: Option<Rights>,
        frames: &mut dyn FnMut() -> Option<u64>,
    ) -> Result<Stale, MapError> {
        if !span.start.is_multiple_of(PAGE)
            || !span.end.is_multiple_of(PAGE)
            || span.end < span.start
            || span.end > 1 << 47
        {
            return Err(MapError::BadRange(span));
        }
        let mut stale = Stale::Nothing;
        let mut at = span.start;
        while at < span.end {
            let large = at.is_multiple_of(LARGE_PAGE) && span.end - at >= LARGE_PAGE;
            let level = if large { LARGE } else { LEAF };
            let slot = self.slot(at, level, frames)?;
            let new = rights.map_or(0, |rights| E::page(at, rights, large));
            let old = slot.load(Relaxed);
            // A table that a large page replaces is not given back: it happens once, at the start.
            slot.store(new, Relaxed);
            if E::is_present(old) && old != new {
                stale = Stale::Translations;
            }
            at += if large { LARGE_PAGE } else { PAGE };
        }
        Ok(stale)
    }

    /// The entry for `address` at `level`, with the tables above it made as needed.
    fn slot(
        &mut self,
        address: u64,
        level: u32,
        frames: &mut dyn FnMut() -> Option<u64>,
    ) -> Result<&AtomicU64, MapError> {
        let mut table = self.root;
        for above in (level + 1..=ROOT).rev() {
            let slot = &entries(table)[index(address, above)];
            let entry = slot.load(Relaxed);
            if !E::is_present(entry) {
                table = frames().ok_or(MapError::NoFrame)?;
                slot.store(E::table(table), Relaxed);
            } else if above == LARGE && E::is_large(entry) {
                table = frames().ok_or(MapError::NoFrame)?;
                let first = E::shrink(entry);
                for (number, small) in entries(table).iter().enumerate() {
                    small.store(first + number as u64 * PAGE, Relaxed);
                }
                slot.store(E::table(table), Relaxed);
            } else {
                table = E::address(entry);
            }
        }
        Ok(&entries(table)[index(address, level)])
    }
}

const fn index(address: u64, level: u32) -> usize {
    (address >> (12 + 9 * level)) as usize % ENTRIES
}

/// The table at `address`. The processor reads it at any time and may set accessed bits.
fn entries<'a>(address: u64) -> &'a [AtomicU64; ENTRIES] {
    let at = core::ptr::with_exposed_provenance::<[AtomicU64; ENTRIES]>(address as usize);
    // SAFETY:
    // 1. `address` is a frame that `frames` gave to `AddressSpace::new` or `map`: aligned, readable
    //    and writable there, and nobody else's (what the caller of `new` owes). Only such addresses
    //    are stored in a table entry or as the root.
    // 2. Tables are never freed.
    unsafe { &*at }
}

#[cfg(test)]
mod tests {
    use std::{boxed::Box, collections::BTreeMap};

    use super::*;

    /// Present 1, table 2, large 4, rights in bits 8 to 9.
    struct Plain;

    impl Encoding for Plain {
        fn table(address: u64) -> u64 {
            address | 3
        }
        fn page(address: u64, rights: Rights, large: bool) -> u64 {
            address | 1 | if large { 4 } else { 0 } | (rights as u64) << 8
        }
        fn is_present(entry: u64) -> bool {
            entry & 1 != 0
        }
        fn is_large(entry: u64) -> bool {
            entry & 4 != 0
        }
        fn address(entry: u64) -> u64 {
            entry & !0xfff
        }
        fn shrink(entry: u64) -> u64 {
            entry & !4
        }
    }

    #[repr(align(4096))]
    struct Frame(#[allow(dead_code, reason = "memory for the walker, which takes it by address")] [u64; 512]);

    fn frame() -> Option<u64> {
        Some(Box::into_raw(Box::new(Frame([0; 512]))).expose_provenance() as u64)
    }

    fn space() -> AddressSpace<Plain> {
        // SAFETY:
        // 1. `frame` leaks a fresh aligned box each time.
        unsafe { AddressSpace::new(&mut frame) }.unwrap()
    }

    fn rights(space: &AddressSpace<Plain>, address: u64) -> Option<u64> {
        space.lookup(address).map(|entry| entry >> 8 & 3)
    }

    #[test]
    fn pages_are_large_where_they_can_be() {
        let mut space = space();
        let span = Span { start: LARGE_PAGE - PAGE, end: 3 * LARGE_PAGE + PAGE };
        assert_eq!(space.map(span, Rights::ReadWrite, &mut frame), Ok(Stale::Nothing));
        assert_eq!(
            space.lookup(LARGE_PAGE - PAGE),
            Some(Plain::page(LARGE_PAGE - PAGE, Rights::ReadWrite, false))
        );
        assert_eq!(space.lookup(LARGE_PAGE + 5), Some(Plain::page(LARGE_PAGE, Rights::ReadWrite, true)));
        assert_eq!(space.lookup(3 * LARGE_PAGE), Some(Plain::page(3 * LARGE_PAGE, Rights::ReadWrite, false)));
        assert_eq!(space.lookup(3 * LARGE_PAGE + PAGE), None);
        assert_eq!(space.lookup(0), None);
    }

    #[test]
    fn a_large_page_is_split_for_a_hole_in_it() {
        let mut space = space();
        let whole = Span { start: 0, end: 2 * LARGE_PAGE };
        assert_eq!(space.map(whole, Rights::ReadWrite, &mut frame), Ok(Stale::Nothing));
        let hole = Span { start: LARGE_PAGE + 3 * PAGE, end: LARGE_PAGE + 4 * PAGE };
        assert_eq!(space.unmap(hole, &mut frame), Ok(Stale::Translations));
        let text = Span { start: LARGE_PAGE, end: LARGE_PAGE + PAGE };
        assert_eq!(space.map(text, Rights::ReadExecute, &mut frame), Ok(Stale::Translations));
        assert_eq!(rights(&space, LARGE_PAGE), Some(Rights::ReadExecute as u64));
        assert_eq!(rights(&space, LARGE_PAGE + PAGE), Some(Rights::ReadWrite as u64));
        assert_eq!(space.lookup(hole.start), None);
        assert_eq!(space.lookup(hole.end), Some(Plain::page(hole.end, Rights::ReadWrite, false)));
        assert_eq!(rights(&space, 0), Some(Rights::ReadWrite as u64));
    }

    #[test]
    fn random_changes_agree_with_a_plain_list_of_pages() {
        let mut space = space();
        let mut model = BTreeMap::new();
        let mut random = 1u64;
        for _ in 0..300 {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let start = (random >> 33) % 2048;
            let count = (random >> 50) % 1200;
            let span = Span { start: start * PAGE, end: (start + count) * PAGE };
            let rights = match random >> 62 {
                0 => None,
                1 => Some(Rights::Read),
                2 => Some(Rights::ReadWrite),
                _ => Some(Rights::Device),
            };
            let _ = match rights {
                Some(rights) => space.map(span, rights, &mut frame).unwrap(),
                None => space.unmap(span, &mut frame).unwrap(),
            };
            for page in start..start + count {
                model.insert(page, rights);
            }
        }
        for page in 0..4096 {
            let expected = model.get(&page).copied().flatten().map(|rights| rights as u64);
            assert_eq!(rights(&space, page * PAGE), expected, "page {page}");
        }
    }

    #[test]
    fn ranges_that_make_no_sense_are_refused() {
        let mut space = space();
        for span in
            [Span { start: 1, end: PAGE }, Span { start: 0, end: 5 }, Span { start: 1 << 47, end: !4095 }]
        {
            assert_eq!(space.map(span, Rights::Read, &mut frame), Err(MapError::BadRange(span)));
        }
        let span = Span { start: 0, end: PAGE };
        assert_eq!(space.map(span, Rights::Read, &mut || None), Err(MapError::NoFrame));
    }
}
