//! The first Rust code.

use super::vectors;
use crate::{boot_info::InterruptController, layout, memory_map::Span};

unsafe extern "Rust" {
    /// Written by `rt`: what comes after this crate's part. `argument` is the address of the device
    /// tree, `began` the counter at the first instruction.
    safe fn __sarsen_start(argument: u64, began: u64) -> !;
}

/// How far the entry's page tables reach.
#[must_use]
pub fn reach() -> Span {
    let start = layout::image_start() & !((1 << 30) - 1);
    Span { start: start.max(4096), end: start + (2 << 30) }
}

/// Registers that stay mapped for ever, those of the interrupt controller.
///
/// # Panics
/// If none was told: a domain without interrupts does nothing.
#[must_use]
pub fn registers(told: Option<InterruptController>) -> [Span; 2] {
    let controller = told.expect("the device tree names a GICv3 and Xen's interrupt");
    // The first redistributor has two frames of 64 KiB.
    let ours = Span::of(controller.redistributors.start, 0x2_0000);
    [controller.distributor, ours]
}

/// Called by the entry on the main stack.
pub(super) extern "C" fn from_assembly(argument: u64, began: u64) -> ! {
    vectors::load();
    __sarsen_start(argument, began)
}
