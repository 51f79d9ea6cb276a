//! Pages that Xen gives, and where they are.

use core::ptr::NonNull;

use board_support_arch::{paging, shared_info::SharedInfo};
use board_support_hyp::{Memory, Xen, gnttab, memory::XenPage, window};
use proto_xen::{Errno, Gfn, PAGE_SHIFT};

use crate::once::Once;

static SHARED_INFO: Once<SharedInfo> = Once::new();

/// Most frames of the grant table that are used.
const GRANT_FRAMES: u32 = 8;
/// Where the grant table begins in the range, in frames. shared_info is frame 0.
const GRANT_TABLE_AT: u64 = 1;
/// Bytes at the front of the range for Xen's pages.
const XEN_PAGES: u64 = paging::LARGE_PAGE;

/// Bytes that [`init`] uses from its start on: Xen's pages, then the window for grants and foreign
/// pages.
pub(crate) const BYTES: u64 = XEN_PAGES + ((window::MAX_PAGES as u64) << PAGE_SHIFT);

/// shared_info, once it is there.
pub(crate) fn shared_info() -> Option<&'static SharedInfo> {
    SHARED_INFO.get()
}

/// Places Xen's pages from address `start` on and sets the window up behind them.
///
/// # Errors
/// What Xen says.
///
/// # Safety
/// 1. The [`BYTES`] from `start` on hold no memory, and are mapped at their own addresses, writable
///    and not executable, for ever.
/// 2. Nobody else uses them, and it is called once.
pub(crate) unsafe fn init(start: u64) -> Result<(), Errno> {
    let first = Gfn(start >> PAGE_SHIFT);
    // SAFETY:
    // 1. The frame holds no memory: it is ours to lose.
    unsafe { Xen.place(XenPage::SharedInfo, first) }?;
    // SAFETY:
    // 1. Xen has just put shared_info there; the caller mapped the address for ever.
    // 2. The frame is used here only.
    let shared = unsafe { SharedInfo::new(pointer(first)) };
    shared.mask_all();
    let _ = SHARED_INFO.set(shared);

    let table = first.plus(GRANT_TABLE_AT);
    let mut frames = 0;
    while frames < GRANT_FRAMES {
        // SAFETY:
        // 1. The frame holds no memory: it is ours to lose.
        let placed = unsafe { Xen.place(XenPage::GrantTable(frames), table.plus(frames.into())) };
        // Past the number that the domain was created with: that is the end.
        if placed.is_err() {
            break;
        }
        frames += 1;
    }
    // SAFETY:
    // 1. `frames` frames of the table were placed there, in addresses that are mapped for ever.
    // 2. Nobody else knows them.
    // 3. `init` is called once.
    unsafe { gnttab::init(pointer(table), frames) };
    // SAFETY:
    // 1. to 3. are what the caller owes; the frames lie behind Xen's pages.
    unsafe { window::init(Gfn((start + XEN_PAGES) >> PAGE_SHIFT), window::MAX_PAGES) };
    Ok(())
}

fn pointer(frame: Gfn) -> NonNull<u8> {
    let at = core::ptr::with_exposed_provenance_mut(frame.base().0 as usize);
    // The range lies above all RAM, so never at 0.
    NonNull::new(at).unwrap_or(NonNull::dangling())
}
