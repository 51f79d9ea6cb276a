//! Grants: pages of ours that others may use, and pages of others that we use.
//!
//! The granting side writes entries of its table, which Xen reads and marks concurrently; this
//! module owns the table ([`init`]) and the references in it. The using side maps or copies.

use core::{
    fmt,
    ptr::NonNull,
    sync::atomic::{AtomicU16, AtomicU32, Ordering},
};

use proto_xen::{
    Dfn, DomId, Errno, Gfn, Gref, PAGE_SHIFT, PAGE_SIZE,
    grant_table::{
        self, Copy, CopyEnd, ENTRIES_PER_FRAME, GrantStatus, MapGrantRef, RESERVED, UnmapGrantRef,
        copy_flags, flags, map_flags, op,
    },
    hypercall::Hypercall,
};
use spin::Mutex;

use crate::{
    Xen, call,
    load::{CopyOut, MAX_COPIES},
    shared::{Shared, WORDS_PER_PAGE},
    window::{Left, Window},
};

pub mod order;

/// What the peer may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read.
    ReadOnly,
    /// Read and write.
    ReadWrite,
}

/// Why a grant could not be made, ended or mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantError {
    /// No reference is free.
    NoReference,
    /// The reference is past the end of the table, or one that Xen keeps.
    OutOfRange,
    /// The peer still has the page mapped; try again later.
    StillMapped,
    /// No frame is free at which it could appear.
    NoWindow,
    /// What Xen says of this grant.
    Status(GrantStatus),
    /// What Xen says of the call.
    Call(Errno),
}

impl fmt::Display for GrantError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoReference => f.write_str("no grant reference is free"),
            Self::OutOfRange => f.write_str("grant reference is outside the table"),
            Self::StillMapped => f.write_str("the peer still maps the page"),
            Self::NoWindow => f.write_str("no frame is free for the mapping"),
            Self::Status(status) => f.write_str(status.meaning()),
            Self::Call(errno) => write!(f, "{errno}"),
        }
    }
}

/// Why bytes of a granted page could not be copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyError {
    /// The range crosses the end of the page.
    OutOfPage,
    /// What Xen says of this copy: the peer's fault.
    Status(GrantStatus),
    /// What Xen says of the call.
    Call(Errno),
}

/// Grants, in both directions.
pub trait Grants {
    /// A granted page that we have mapped; unmapped when dropped.
    type Mapped: Shared;

    /// Takes a free reference. It grants nothing until [`offer`](Self::offer).
    ///
    /// # Errors
    /// [`GrantError::NoReference`].
    fn allocate(&self) -> Result<Gref, GrantError>;

    /// Grants `frame` to `to` by `reference`, which is one that [`allocate`](Self::allocate) gave or
    /// that the wiring names.
    ///
    /// # Errors
    /// [`GrantError::OutOfRange`].
    fn offer(&self, reference: Gref, to: DomId, frame: Gfn, access: Access) -> Result<(), GrantError>;

    /// Ends a grant and frees the reference.
    ///
    /// # Errors
    /// [`GrantError::StillMapped`]: the page must not be reused yet. [`GrantError::OutOfRange`].
    fn end(&self, reference: Gref) -> Result<(), GrantError>;

    /// Maps page `reference` of `granter`.
    ///
    /// # Errors
    /// [`GrantError::NoWindow`], or what Xen says of it.
    fn map(&self, granter: DomId, reference: Gref, access: Access) -> Result<Self::Mapped, GrantError>;

    /// Copies `into.len()` bytes from `offset` of the granted page.
    ///
    /// # Errors
    /// As [`CopyError`] says; `into` then holds nothing of value.
    fn copy_from(
        &self,
        granter: DomId,
        reference: Gref,
        offset: u16,
        into: &mut [u8],
    ) -> Result<(), CopyError>;

    /// Copies `from` to `offset` of the granted page.
    ///
    /// # Errors
    /// As [`CopyError`] says; a part may have been written.
    fn copy_to(&self, granter: DomId, reference: Gref, offset: u16, from: &[u8]) -> Result<(), CopyError>;
}

/// Pages of another domain for a device of ours, where no IOMMU translates what the device says.
pub trait DeviceGrants: Grants {
    /// Maps page `reference` of `granter` for reading and writing, and tells the frame at which a device
    /// finds it.
    ///
    /// # Errors
    /// As [`Grants::map`].
    fn map_for_device(&self, granter: DomId, reference: Gref) -> Result<(Self::Mapped, Dfn), GrantError>;
}

/// One entry: flags and domid in one word, then the frame.
#[repr(C)]
struct Entry {
    flags: AtomicU16,
    domid: AtomicU16,
    frame: AtomicU32,
}

const _: () = assert!(size_of::<Entry>() == 8);

/// Most references that the table can have: eight frames.
const MAX_ENTRIES: usize = 8 * ENTRIES_PER_FRAME as usize;
const BITS: usize = 64;

struct Table {
    entries: Option<NonNull<Entry>>,
    count: u32,
    used: [u64; MAX_ENTRIES / BITS],
}

// SAFETY: the pointer leads to atomics that live for ever (`init`), and the table is behind a lock.
unsafe impl Send for Table {}

static TABLE: Mutex<Table> = Mutex::new(Table { entries: None, count: 0, used: [0; MAX_ENTRIES / BITS] });

/// Takes over the grant table, `frames` pages from `base` on.
///
/// # Safety
/// 1. `base` is page-aligned and leads to the domain's own grant frames, mapped writable for ever.
/// 2. Nobody else touches them.
/// 3. It is called once.
pub unsafe fn init(base: NonNull<u8>, frames: u32) {
    let mut table = TABLE.lock();
    table.entries = Some(base.cast());
    table.count = (frames * ENTRIES_PER_FRAME).min(MAX_ENTRIES as u32);
    for reference in 0..RESERVED as usize {
        table.used[reference / BITS] |= 1 << (reference % BITS);
    }
}

impl Table {
    fn entry(&self, reference: Gref) -> Result<&Entry, GrantError> {
        let entries = self.entries.ok_or(GrantError::OutOfRange)?;
        if reference.0 < RESERVED || reference.0 >= self.count {
            return Err(GrantError::OutOfRange);
        }
        // SAFETY: the offset is below `count`, which `init` bounded by the frames that are mapped.
        let at = unsafe { entries.add(reference.0 as usize) };
        // SAFETY: it leads to atomics that live for ever (`init`).
        Ok(unsafe { at.as_ref() })
    }

    fn mark(&mut self, reference: Gref, used: bool) {
        let (word, bit) = (reference.0 as usize / BITS, reference.0 as usize % BITS);
        if used {
            self.used[word] |= 1 << bit;
        } else {
            self.used[word] &= !(1 << bit);
        }
    }
}

/// A page of another domain in our address space.
#[derive(Debug)]
pub struct MappedGrant {
    window: Window,
    handle: u32,
}

impl Shared for MappedGrant {
    fn words(&self) -> &[AtomicU32; WORDS_PER_PAGE] {
        // SAFETY: the window is page-aligned and holds the granted page until `self` is dropped;
        // atomics permit the peer's concurrent writes, and no plain reference leads there.
        unsafe { self.window.pointer().cast::<[AtomicU32; WORDS_PER_PAGE]>().as_ref() }
    }
}

impl Drop for MappedGrant {
    fn drop(&mut self) {
        self.window.vacate(Left::Grant(self.handle));
    }
}

/// Takes a granted page out of its window. False if Xen refuses.
pub(crate) fn unmap(window: &Window, handle: u32) -> bool {
    let mut argument = UnmapGrantRef { host_addr: window.base().0, handle, ..UnmapGrantRef::default() };
    // SAFETY: the operation takes `UnmapGrantRef`s, here one; the page leaves a window that nobody refers to
    // any more.
    let done = unsafe { grant_op(op::UNMAP_GRANT_REF, &mut argument) };
    done.is_ok() && GrantStatus(argument.status) == GrantStatus::OKAY
}

/// References that are in use, but for those that Xen keeps.
#[must_use]
pub fn references_in_use() -> usize {
    let used = TABLE.lock().used.iter().map(|word| word.count_ones() as usize).sum::<usize>();
    used.saturating_sub(RESERVED as usize)
}

/// A grant table operation on one structure.
///
/// # Safety
/// As [`call::with`].
unsafe fn grant_op<T>(op: u64, argument: &mut T) -> Result<u64, Errno> {
    let address = core::ptr::from_mut(argument) as u64;
    // SAFETY: one structure at `address`; the rest is the caller's.
    Errno::check(unsafe { call::raw(Hypercall::GrantTableOp, [op, address, 1, 0, 0]) })
}

/// As [`Foreign::copy_out`](crate::Foreign::copy_out).
pub(crate) fn copy_out(domain: DomId, copies: &mut [CopyOut<'_>]) -> Result<(), Errno> {
    let mut arguments = [Copy::default(); MAX_COPIES];
    let arguments = arguments.get_mut(..copies.len()).ok_or(Errno::EINVAL)?;
    for (argument, copy) in arguments.iter_mut().zip(&*copies) {
        if !copy.is_within_pages() {
            return Err(Errno::EINVAL);
        }
        let from = copy.bytes.as_ptr() as u64;
        *argument = Copy {
            // Our memory is mapped one to one, so an address names its frame.
            source: CopyEnd {
                reference: from >> PAGE_SHIFT,
                domid: DomId::SELF.0,
                offset: (from as usize % PAGE_SIZE) as u16,
                padding: 0,
            },
            dest: CopyEnd {
                reference: copy.reference.0.into(),
                domid: domain.0,
                offset: copy.offset,
                padding: 0,
            },
            // At most a page.
            length: copy.bytes.len() as u16,
            flags: copy_flags::DEST_GREF,
            status: GrantStatus::OKAY.0,
            padding: 0,
        };
    }
    let (address, count) = (arguments.as_mut_ptr() as u64, arguments.len() as u64);
    // SAFETY: `count` structures at `address`, ours for the call. Every source lies within one page of ours
    // (checked above) and is borrowed; the destinations are another domain's.
    Errno::check(unsafe { call::raw(Hypercall::GrantTableOp, [op::COPY, address, count, 0, 0]) })?;
    for (argument, copy) in arguments.iter().zip(copies) {
        copy.status = GrantStatus(argument.status);
    }
    Ok(())
}

impl Grants for Xen {
    type Mapped = MappedGrant;

    fn allocate(&self) -> Result<Gref, GrantError> {
        let mut table = TABLE.lock();
        let count = table.count as usize;
        let word = table.used.iter().position(|&word| word != u64::MAX).ok_or(GrantError::NoReference)?;
        let reference = word * BITS + table.used[word].trailing_ones() as usize;
        if reference >= count {
            return Err(GrantError::NoReference);
        }
        let reference = Gref(reference as u32);
        table.mark(reference, true);
        Ok(reference)
    }

    fn offer(&self, reference: Gref, to: DomId, frame: Gfn, access: Access) -> Result<(), GrantError> {
        let mut table = TABLE.lock();
        let frame = u32::try_from(frame.0).map_err(|_| GrantError::OutOfRange)?;
        let entry = table.entry(reference)?;
        entry.frame.store(frame, Ordering::Relaxed);
        entry.domid.store(to.0, Ordering::Relaxed);
        let bits = match access {
            Access::ReadOnly => flags::PERMIT_ACCESS | flags::READONLY,
            Access::ReadWrite => flags::PERMIT_ACCESS,
        };
        order::publish(&entry.flags, bits);
        table.mark(reference, true);
        Ok(())
    }

    fn end(&self, reference: Gref) -> Result<(), GrantError> {
        let mut table = TABLE.lock();
        let entry = table.entry(reference)?;
        order::end(&entry.flags).map_err(|_| GrantError::StillMapped)?;
        table.mark(reference, false);
        Ok(())
    }

    fn map(&self, granter: DomId, reference: Gref, access: Access) -> Result<MappedGrant, GrantError> {
        map(granter, reference, access).map(|(mapped, _)| mapped)
    }

    fn copy_from(
        &self,
        granter: DomId,
        reference: Gref,
        offset: u16,
        into: &mut [u8],
    ) -> Result<(), CopyError> {
        let peer = CopyEnd { reference: reference.0.into(), domid: granter.0, offset, padding: 0 };
        in_pieces(peer, into.as_mut_ptr() as u64, into.len(), Direction::FromGrant)
    }

    fn copy_to(&self, granter: DomId, reference: Gref, offset: u16, from: &[u8]) -> Result<(), CopyError> {
        let peer = CopyEnd { reference: reference.0.into(), domid: granter.0, offset, padding: 0 };
        in_pieces(peer, from.as_ptr() as u64, from.len(), Direction::ToGrant)
    }
}

impl DeviceGrants for Xen {
    fn map_for_device(&self, granter: DomId, reference: Gref) -> Result<(MappedGrant, Dfn), GrantError> {
        map(granter, reference, Access::ReadWrite)
    }
}

/// Maps a grant. Xen tells the bus address of each mapping; it is asked for as one of the host only,
/// because it refuses device mappings (`GNTMAP_device_map`) to domains whose memory it translates.
fn map(granter: DomId, reference: Gref, access: Access) -> Result<(MappedGrant, Dfn), GrantError> {
    let window = Window::allocate(1).ok_or(GrantError::NoWindow)?;
    let readonly = match access {
        Access::ReadOnly => map_flags::READONLY,
        Access::ReadWrite => 0,
    };
    let mut argument = MapGrantRef {
        host_addr: window.base().0,
        flags: map_flags::HOST_MAP | readonly,
        gref: reference.0,
        domid: granter.0,
        ..MapGrantRef::default()
    };
    // SAFETY: the operation takes `MapGrantRef`s, here one; the page appears in a window that is
    // ours and empty.
    unsafe { grant_op(op::MAP_GRANT_REF, &mut argument) }.map_err(GrantError::Call)?;
    match GrantStatus(argument.status) {
        GrantStatus::OKAY => {
            let mapped = MappedGrant { window, handle: argument.handle };
            Ok((mapped, Dfn(argument.dev_bus_addr >> PAGE_SHIFT)))
        }
        status => Err(GrantError::Status(status)),
    }
}

#[derive(Clone, Copy)]
enum Direction {
    FromGrant,
    ToGrant,
}

/// Copies between a granted page and `length` bytes of ours at `address`: at most two pieces, for
/// our buffer may cross a page. Our memory is mapped one to one, so its address names its frame.
fn in_pieces(peer: CopyEnd, address: u64, length: usize, direction: Direction) -> Result<(), CopyError> {
    let page = proto_xen::PAGE_SIZE;
    if usize::from(peer.offset) + length > page {
        return Err(CopyError::OutOfPage);
    }
    let mut done = 0;
    while done < length {
        let at = address + done as u64;
        let within = at as usize % page;
        let piece = (length - done).min(page - within);
        let ours = CopyEnd {
            reference: at >> proto_xen::PAGE_SHIFT,
            domid: DomId::SELF.0,
            offset: within as u16,
            padding: 0,
        };
        let theirs = CopyEnd { offset: peer.offset + done as u16, ..peer };
        let (source, dest, flags) = match direction {
            Direction::FromGrant => (theirs, ours, copy_flags::SOURCE_GREF),
            Direction::ToGrant => (ours, theirs, copy_flags::DEST_GREF),
        };
        let mut argument = Copy { source, dest, length: piece as u16, flags, status: 0, padding: 0 };
        // SAFETY: the operation takes `Copy`s, here one; our end lies within the caller's buffer,
        // which is borrowed for the call in the direction that the copy has.
        unsafe { grant_op(op::COPY, &mut argument) }.map_err(CopyError::Call)?;
        match GrantStatus(argument.status) {
            GrantStatus::OKAY => done += piece,
            status => return Err(CopyError::Status(status)),
        }
    }
    Ok(())
}

const _: () = assert!(grant_table::RESERVED == 8);
