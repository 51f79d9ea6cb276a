//! Memory reservation and the physical map.

use proto_xen::{
    DomId, Errno, Gfn,
    hypercall::Hypercall,
    memory::{AddToPhysmap, E820_ENTRY_SIZE, MemoryMap, RemoveFromPhysmap, Reservation, op, space},
};

use crate::{Xen, call};

/// A page of Xen's that a domain may place in its own map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XenPage {
    /// shared_info.
    SharedInfo,
    /// Frame `0` and up of the grant table.
    GrantTable(u32),
}

/// One range of the caller's memory map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryRange {
    /// First address.
    pub start: u64,
    /// Bytes.
    pub length: u64,
    /// As in the E820 map: 1 is RAM.
    pub kind: u32,
}

/// Memory for other domains.
pub trait Populate {
    /// Gives `domain` memory: for each of `first_frames` a run of 2^`order` pages. Returns how many
    /// runs were filled.
    ///
    /// # Errors
    /// What Xen says. Fewer runs than asked is no error of the call.
    fn populate(&self, domain: DomId, first_frames: &[Gfn], order: u32) -> Result<usize, Errno>;
}

/// The physical map of the caller. Apart from [`Populate`], for its calls can take memory away from
/// under running code.
pub trait Memory {
    /// Places a page of Xen's at frame `at` of the caller.
    ///
    /// # Safety
    /// Frame `at` is the caller's to lose: whatever it held is no longer there.
    ///
    /// # Errors
    /// What Xen says.
    unsafe fn place(&self, page: XenPage, at: Gfn) -> Result<(), Errno>;

    /// Takes frame `at` out of the caller's map, or of `domain`'s.
    ///
    /// # Safety
    /// Nobody relies on what was there.
    ///
    /// # Errors
    /// What Xen says.
    unsafe fn remove(&self, domain: DomId, at: Gfn) -> Result<(), Errno>;

    /// The caller's memory map, at most `into.len()` and 128 ranges. Returns how many.
    ///
    /// # Errors
    /// What Xen says.
    fn memory_map(&self, into: &mut [MemoryRange]) -> Result<usize, Errno>;
}

impl Populate for Xen {
    fn populate(&self, domain: DomId, first_frames: &[Gfn], order: u32) -> Result<usize, Errno> {
        // Gfn is a transparent u64 in all but name; copied so that the layout need not be promised.
        const BATCH: usize = 128;
        let mut done = 0;
        for batch in first_frames.chunks(BATCH) {
            let mut frames = [0u64; BATCH];
            for (frame, gfn) in frames.iter_mut().zip(batch) {
                *frame = gfn.0;
            }
            let mut argument = Reservation {
                extent_start: frames.as_ptr() as u64,
                nr_extents: batch.len() as u64,
                extent_order: order,
                mem_flags: 0,
                domid: domain.0,
                padding: [0; 3],
            };
            // SAFETY: the operation takes a `Reservation`; `frames` has that many elements, lives
            // until it returns, and Xen may write it. It adds memory to frames that have none.
            let filled = unsafe { call::with(Hypercall::MemoryOp, op::POPULATE_PHYSMAP, &mut argument) }?;
            done += filled as usize;
            if (filled as usize) < batch.len() {
                break;
            }
        }
        Ok(done)
    }
}

impl Memory for Xen {
    unsafe fn place(&self, page: XenPage, at: Gfn) -> Result<(), Errno> {
        let (space, idx) = match page {
            XenPage::SharedInfo => (space::SHARED_INFO, 0),
            XenPage::GrantTable(index) => (space::GRANT_TABLE, index.into()),
        };
        let mut argument =
            AddToPhysmap { domid: DomId::SELF.0, size: 0, space: space.into(), idx, gpfn: at.0 };
        // SAFETY: the operation takes an `AddToPhysmap`; the frame is the caller's to lose.
        unsafe { call::with(Hypercall::MemoryOp, op::ADD_TO_PHYSMAP, &mut argument) }.map(drop)
    }

    unsafe fn remove(&self, domain: DomId, at: Gfn) -> Result<(), Errno> {
        let mut argument = RemoveFromPhysmap { domid: domain.0, padding: [0; 3], gpfn: at.0 };
        // SAFETY: the operation takes a `RemoveFromPhysmap`; nobody relies on the frame.
        unsafe { call::with(Hypercall::MemoryOp, op::REMOVE_FROM_PHYSMAP, &mut argument) }.map(drop)
    }

    fn memory_map(&self, into: &mut [MemoryRange]) -> Result<usize, Errno> {
        const MAX_ENTRIES: usize = 128;
        let mut buffer = [0u8; MAX_ENTRIES * E820_ENTRY_SIZE];
        let mut argument =
            MemoryMap { nr_entries: MAX_ENTRIES as u32, padding: 0, buffer: buffer.as_mut_ptr() as u64 };
        // SAFETY: the operation takes a `MemoryMap` and writes at most `nr_entries` entries.
        unsafe { call::with(Hypercall::MemoryOp, op::MEMORY_MAP, &mut argument) }?;
        // The entries are written behind the compiler's back, through their address.
        let buffer = core::hint::black_box(buffer);
        let count = (argument.nr_entries as usize).min(MAX_ENTRIES).min(into.len());
        for (range, entry) in into[..count].iter_mut().zip(buffer.as_chunks::<E820_ENTRY_SIZE>().0) {
            let word = |at: usize| {
                let mut bytes = [0; 8];
                bytes.copy_from_slice(&entry[at..at + 8]);
                u64::from_le_bytes(bytes)
            };
            // The last four bytes of the entry are its type.
            *range = MemoryRange { start: word(0), length: word(8), kind: (word(12) >> 32) as u32 };
        }
        Ok(count)
    }
}
