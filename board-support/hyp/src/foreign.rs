//! Memory of another domain in dom0's address space, without that domain's consent.

use core::sync::atomic::{AtomicU32, Ordering};

use proto_xen::{
    DomId, Errno, Gfn, PAGE_SIZE,
    hypercall::Hypercall,
    memory::{AcquireResource, AddToPhysmapBatch, RemoveFromPhysmap, op, resource, space},
};

use crate::{
    Xen, call, gnttab,
    load::{self, CopyOut, Piece},
    shared::{Shared, WORDS_PER_PAGE},
    window::{Left, Window},
};

/// Most pages of one mapping.
pub const MAX_PAGES: usize = 512;

/// The right of dom0 to see other domains' memory.
pub trait Foreign {
    /// Pages of another domain that are mapped here; unmapped when dropped.
    type Mapped: ForeignPages;

    /// Maps `count` frames of `domain` from `first` on, at most [`MAX_PAGES`].
    ///
    /// # Errors
    /// What Xen says: `EINVAL` if a frame holds no memory, `ESRCH` if there is no such domain;
    /// `ENOSPC` if no window is free.
    fn map(&self, domain: DomId, first: Gfn, count: usize) -> Result<Self::Mapped, Errno>;

    /// Maps the first page of `domain`'s grant table. While the domain does not run, what is written there
    /// is what it grants.
    ///
    /// # Errors
    /// What Xen says: `ESRCH` if there is no such domain; `ENOSPC` if no window is free.
    fn map_grant_table(&self, domain: DomId) -> Result<Self::Mapped, Errno>;

    /// Has Xen copy bytes of ours to pages that `domain` grants to us, at most [`load::MAX_COPIES`] at a time.
    /// Each has a status of its own.
    ///
    /// # Errors
    /// What Xen says of all of them together. `EINVAL` if there are too many, or if one crosses the end of a
    /// page, ours or theirs.
    fn copy_out(&self, domain: DomId, copies: &mut [CopyOut<'_>]) -> Result<(), Errno>;

    /// Writes pieces, in their order, into a domain that does not run yet.
    ///
    /// # Errors
    /// As [`map_grant_table`](Self::map_grant_table) and [`copy_out`](Self::copy_out); `EFAULT` if a frame holds
    /// no memory. Some of the pieces may have been written.
    fn load(&self, domain: DomId, pieces: &[Piece<'_>]) -> Result<(), Errno> {
        load::by_copy(self, domain, pieces)
    }
}

/// Mapped pages of another domain. Every byte of them may change at any instant.
pub trait ForeignPages: Shared {
    /// How many.
    fn pages(&self) -> usize;

    /// Page `index` as words.
    ///
    /// # Panics
    /// If `index` is not below [`pages`](Self::pages).
    fn page(&self, index: usize) -> &[AtomicU32; WORDS_PER_PAGE];

    /// Writes `bytes` at byte `offset`.
    ///
    /// # Panics
    /// If they do not fit: where they go is the caller's own arithmetic.
    fn write(&self, offset: usize, bytes: &[u8]);

    /// Writes zeros to all pages.
    fn zero(&self);

    /// Copies bytes from byte `offset`.
    ///
    /// # Panics
    /// If they reach past the end.
    fn read(&self, offset: usize, into: &mut [u8]);
}

/// Foreign pages in a window.
#[derive(Debug)]
pub struct MappedForeign {
    window: Window,
}

impl Foreign for Xen {
    type Mapped = MappedForeign;

    fn map(&self, domain: DomId, first: Gfn, count: usize) -> Result<MappedForeign, Errno> {
        if count == 0 || count > MAX_PAGES {
            return Err(Errno::EINVAL);
        }
        let window = Window::allocate(count).ok_or(Errno::ENOSPC)?;
        let mapped = MappedForeign { window };
        // In batches of a size that fits the stack.
        const BATCH: usize = 64;
        for start in (0..count).step_by(BATCH) {
            let size = BATCH.min(count - start);
            let mut theirs = [0u64; BATCH];
            let mut ours = [0u64; BATCH];
            let mut results = [0i32; BATCH];
            for index in 0..size {
                theirs[index] = first.0 + (start + index) as u64;
                ours[index] = mapped.window.first().0 + (start + index) as u64;
            }
            let mut argument = AddToPhysmapBatch {
                domid: DomId::SELF.0,
                space: space::GMFN_FOREIGN,
                size: size as u16,
                foreign_domid: domain.0,
                idxs: theirs.as_ptr() as u64,
                gpfns: ours.as_ptr() as u64,
                errs: results.as_mut_ptr() as u64,
            };
            // SAFETY: the operation takes an `AddToPhysmapBatch`; the three arrays have `size`
            // elements and live until it returns; the pages appear in a window that is ours.
            unsafe { call::with(Hypercall::MemoryOp, op::ADD_TO_PHYSMAP_BATCH, &mut argument) }?;
            // Results are written behind the compiler's back, through their address.
            let results = core::hint::black_box(results);
            for &result in &results[..size] {
                Errno::check(result.into())?;
            }
        }
        Ok(mapped)
    }

    fn map_grant_table(&self, domain: DomId) -> Result<MappedForeign, Errno> {
        let mapped = MappedForeign { window: Window::allocate(1).ok_or(Errno::ENOSPC)? };
        let mut frame = mapped.window.first().0;
        let mut argument = AcquireResource {
            domid: domain.0,
            kind: resource::GRANT_TABLE,
            id: resource::SHARED,
            nr_frames: 1,
            padding: 0,
            frame: 0,
            frame_list: core::ptr::from_mut(&mut frame) as u64,
        };
        // SAFETY: the operation takes an `AcquireResource`, with a list of one frame that lives until it
        // returns; the page appears in a window that is ours and empty.
        unsafe { call::with(Hypercall::MemoryOp, op::ACQUIRE_RESOURCE, &mut argument) }?;
        Ok(mapped)
    }

    fn copy_out(&self, domain: DomId, copies: &mut [CopyOut<'_>]) -> Result<(), Errno> {
        gnttab::copy_out(domain, copies)
    }
}

/// Takes all pages out of a window. False if Xen refused one of them.
pub(crate) fn unmap(window: &Window) -> bool {
    let mut all = true;
    for index in 0..window.pages() {
        let gpfn = window.first().0 + index as u64;
        let mut argument = RemoveFromPhysmap { domid: DomId::SELF.0, padding: [0; 3], gpfn };
        // SAFETY: the operation takes a `RemoveFromPhysmap`; the page leaves a window that nobody refers to
        // any more.
        let removed = unsafe { call::with(Hypercall::MemoryOp, op::REMOVE_FROM_PHYSMAP, &mut argument) };
        // A frame that was not mapped yet, or was removed before, answers that there is nothing.
        all &= matches!(removed, Ok(_) | Err(Errno::ENOENT));
    }
    all
}

impl Drop for MappedForeign {
    fn drop(&mut self) {
        self.window.vacate(Left::Foreign);
    }
}

impl Shared for MappedForeign {
    fn words(&self) -> &[AtomicU32; WORDS_PER_PAGE] {
        self.page(0)
    }
}

impl ForeignPages for MappedForeign {
    fn pages(&self) -> usize {
        self.window.pages()
    }

    fn page(&self, index: usize) -> &[AtomicU32; WORDS_PER_PAGE] {
        assert!(index < self.window.pages(), "page {index} of a window of {}", self.window.pages());
        // SAFETY: the index is within the window (above).
        let at = unsafe { self.window.pointer().add(index * PAGE_SIZE) };
        // SAFETY: page-aligned, mapped until `self` is dropped; atomics permit the domain's
        // concurrent writes, and no plain reference leads there.
        unsafe { at.cast::<[AtomicU32; WORDS_PER_PAGE]>().as_ref() }
    }

    fn write(&self, offset: usize, bytes: &[u8]) {
        assert!(bytes.len() <= self.window.bytes() && offset <= self.window.bytes() - bytes.len());
        // SAFETY: the offset is within the window (above).
        let at = unsafe { self.window.pointer().add(offset) };
        // SAFETY: source and destination are both good for the length (above) and do not overlap:
        // the window holds foreign pages only. The domain is not running or must not rely on what
        // it sees meanwhile; no reference to the destination exists.
        unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), at.as_ptr(), bytes.len()) };
    }

    fn zero(&self) {
        // SAFETY: the whole window is mapped; no plain reference leads there.
        unsafe { core::ptr::write_bytes(self.window.pointer().as_ptr(), 0, self.window.bytes()) };
    }

    fn read(&self, offset: usize, into: &mut [u8]) {
        assert!(into.len() <= self.window.bytes() && offset <= self.window.bytes() - into.len());
        for (index, byte) in into.iter_mut().enumerate() {
            let at = offset + index;
            let word = self.page(at / PAGE_SIZE)[at % PAGE_SIZE / 4].load(Ordering::Relaxed);
            *byte = word.to_le_bytes()[at % 4];
        }
    }
}
