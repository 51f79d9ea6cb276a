//! What is mapped: everything to its own address, nothing both writable and executable.
//!
//! RAM is data, except for the image's code and constants. The null page and the page below each
//! stack are absent. Special pages, registers of devices and tables of the firmware are mapped when
//! they are asked for.

use core::{cell::RefCell, sync::atomic::AtomicU32};

use board_support_arch::{
    cache, layout,
    memory_map::{Kind, MemoryMap, Span},
    page_table::{MapError, Rights, Stale},
    paging,
};
use board_support_hyp::shared::{Shared, WORDS_PER_PAGE};
use critical_section::Mutex;
use proto_xen::{Gaddr, Gfn, PAGE_SIZE};

use crate::{once::Once, platform, pool};

static SPACE: Mutex<RefCell<Option<paging::Space>>> = Mutex::new(RefCell::new(None));
static MAP: Once<MemoryMap> = Once::new();
/// Where Xen's pages and the window begin.
static WINDOW: Once<u64> = Once::new();

fn frame() -> Option<u64> {
    pool::take_frame().map(|frame| frame.base().0)
}

/// Builds the page tables and switches to them. Returns the map, kept for ever, and where Xen's
/// pages and the window can go.
///
/// # Errors
/// [`MapError`].
///
/// # Safety
/// 1. The pool is set up, and its memory is mapped already.
/// 2. All references that anybody holds lead into RAM of `map` below `reach`.
/// 3. `registers` are registers of the interrupt controller.
/// 4. It is called once.
pub(crate) unsafe fn init(
    map: MemoryMap,
    reach: u64,
    room: Option<Span>,
    registers: &[Span],
) -> Result<(&'static MemoryMap, u64), MapError> {
    let window = match room {
        Some(room) => room.start.next_multiple_of(paging::LARGE_PAGE),
        None => map.window(),
    };
    if room.is_some_and(|room| !room.contains(Span::of(window, platform::BYTES))) {
        return Err(MapError::BadRange(Span::of(window, platform::BYTES)));
    }
    // SAFETY:
    // 1. Frames of the pool are aligned, mapped, zeroed and nobody else's.
    let mut space = unsafe { paging::Space::new(&mut frame) }?;
    let mut change = |span: Span, rights| space.map(span, rights, &mut frame).map(drop_stale);
    for ram in map.ram() {
        let span = Span { start: ram.start.max(PAGE_SIZE as u64), end: ram.end.min(reach) };
        if !span.is_empty() {
            change(span, Rights::ReadWrite)?;
        }
    }
    change(layout::text(), Rights::ReadExecute)?;
    change(layout::rodata(), Rights::Read)?;
    change(Span::of(window, platform::BYTES), Rights::ReadWrite)?;
    for span in registers {
        change(*span, Rights::Device)?;
    }
    for guard in layout::guards() {
        drop_stale(space.unmap(Span::of(guard, PAGE_SIZE as u64), &mut frame)?);
    }
    // SAFETY:
    // 1. Code and stack are mapped above.
    // 2. So is all RAM below `reach`.
    unsafe { paging::switch_to(&space) };
    critical_section::with(|section| *SPACE.borrow_ref_mut(section) = Some(space));
    let Ok(map) = MAP.set(map) else { unreachable!("called once") };
    let _ = WINDOW.set(window);
    Ok((map, window))
}

/// Nothing was used through the new tables yet, so nothing in them can be stale.
fn drop_stale(stale: Stale) {
    let (Stale::Nothing | Stale::Translations) = stale;
}

/// Maps `span`, which must not be RAM.
fn map_more(span: Span, rights: Rights) -> Result<(), MapError> {
    critical_section::with(|section| {
        let mut space = SPACE.borrow_ref_mut(section);
        let space = space.as_mut().ok_or(MapError::NoFrame)?;
        match space.map(span, rights, &mut frame)? {
            Stale::Nothing => paging::publish(),
            Stale::Translations => paging::flush(),
        }
        Ok(())
    })
}

/// A page of the domain that dom0 set aside for a channel, a console or the last words. Its peer may
/// write it at any instant.
#[derive(Clone, Copy, Debug)]
pub struct SpecialPage {
    at: Gfn,
}

impl SpecialPage {
    /// The page's frame.
    #[must_use]
    pub fn gfn(&self) -> Gfn {
        self.at
    }

    /// Has what was written to it be in memory, for it to outlive a reset.
    pub fn write_back(&self) {
        cache::write_back(self.words());
    }
}

impl Shared for SpecialPage {
    fn words(&self) -> &[AtomicU32; WORDS_PER_PAGE] {
        let at = self.at.base().0 as usize;
        let at = core::ptr::with_exposed_provenance::<[AtomicU32; WORDS_PER_PAGE]>(at);
        // SAFETY:
        // 1. `special_page` mapped it for ever and made this value; a page is aligned.
        // 2. It is reserved in the memory map, so no other part of us uses it, and atomics permit the
        //    peer's writes.
        unsafe { &*at }
    }
}

/// The special page at `address`. `None` if it is not aligned, or the memory map does not call it
/// reserved, or no page table is left.
#[must_use]
pub fn special_page(address: Gaddr) -> Option<SpecialPage> {
    let span = Span::of(address.0, PAGE_SIZE as u64);
    let reserved = MAP.get()?.is(span, Kind::Reserved);
    if !address.0.is_multiple_of(PAGE_SIZE as u64) || !reserved {
        return None;
    }
    map_more(span, Rights::ReadWrite).ok()?;
    Some(SpecialPage { at: address.frame() })
}

/// Copies bytes of the firmware's memory, such as ACPI tables. `false` if any of them is RAM that is
/// ours, or cannot be mapped. What lies in a hole reads as ones.
pub fn read_firmware(address: Gaddr, into: &mut [u8]) -> bool {
    let span = Span::of(address.0, into.len() as u64);
    if MAP.get().is_none_or(|map| map.touches(span, Kind::Ram) || span.start < PAGE_SIZE as u64)
        || map_more(span.outward(), Rights::Read).is_err()
    {
        return false;
    }
    for (byte, at) in into.iter_mut().zip(address.0..) {
        let at = core::ptr::with_exposed_provenance::<u8>(at as usize);
        // SAFETY:
        // 1. Mapped above; it is no RAM of ours, so no reference of ours leads there.
        *byte = unsafe { at.read_volatile() };
    }
    true
}

/// How many bytes of the firmware's memory there are from `address` on, to the end of its range in the memory map; 0 for
/// what is no memory of the firmware. Behind it may be a hole, of which Xen emulates each read.
#[must_use]
pub fn firmware_reach(address: Gaddr) -> u64 {
    let firmware = |kind| matches!(kind, Kind::AcpiTables | Kind::AcpiStorage | Kind::Reserved);
    let mut ranges = MAP.get().into_iter().flat_map(MemoryMap::ranges);
    let range = ranges.find(|range| firmware(range.kind) && range.span.contains(Span::of(address.0, 1)));
    range.map_or(0, |range| range.span.end - address.0)
}

/// Whether `length` bytes from `address` on can be registers of a device: the memory map has no memory there,
/// be it ours, the firmware's or somebody else's, and the window is elsewhere. What it calls reserved may be
/// either: dom0's map lists devices there.
#[must_use]
pub fn can_be_device(address: Gaddr, length: u64) -> bool {
    let span = Span::of(address.0, length).outward();
    let (Some(map), Some(&window)) = (MAP.get(), WINDOW.get()) else { return false };
    let ours = Span::of(window, platform::BYTES);
    let touches = |other: Span| other.start < span.end && span.start < other.end;
    !touches(ours) && map.ranges().all(|range| range.kind == Kind::Reserved || !touches(range.span))
}

/// Where an address range of a device is mapped, never cached. Reads and writes have the effects
/// that the device gives them.
#[derive(Debug)]
pub struct DeviceMemory {
    span: Span,
}

impl DeviceMemory {
    /// Address of the first byte.
    #[must_use]
    pub fn gaddr(&self) -> Gaddr {
        Gaddr(self.span.start)
    }

    /// Bytes.
    #[must_use]
    pub fn length(&self) -> usize {
        self.span.length() as usize
    }

    /// As words of 32 bits, for registers of that width. A device's registers change by themselves,
    /// like any memory that a peer writes; each access is one instruction.
    #[must_use]
    pub fn words(&self) -> &[AtomicU32] {
        let at = core::ptr::with_exposed_provenance::<AtomicU32>(self.span.start as usize);
        // SAFETY:
        // 1. `device_memory` mapped the whole pages for ever and made this value.
        // 2. It is no memory of ours, and atomics permit changes by the device.
        unsafe { core::slice::from_raw_parts(at, self.length() / 4) }
    }
}

/// Maps registers of a device, whole pages. `None` if the range is not page-aligned, or touches RAM or
/// the window, or cannot be mapped. Ranges that the map calls reserved are allowed: dom0's map lists
/// devices there.
#[must_use]
pub fn device_memory(address: Gaddr, length: u64) -> Option<DeviceMemory> {
    let span = Span::of(address.0, length);
    let map = MAP.get()?;
    let ours = Span::of(*WINDOW.get()?, platform::BYTES);
    if span != span.outward()
        || span.is_empty()
        || map.touches(span, Kind::Ram)
        || (span.start < ours.end && ours.start < span.end)
    {
        return None;
    }
    map_more(span, Rights::Device).ok()?;
    Some(DeviceMemory { span })
}
