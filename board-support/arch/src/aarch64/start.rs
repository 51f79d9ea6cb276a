//! The first Rust code.

use super::vectors;
use crate::{boot_info::InterruptController, layout, memory_map::Span};

/// Guest addresses of the interrupt controller in a domain that dom0 built. Source: `arch-arm.h`,
/// `GUEST_GICV3_GICD0_BASE`, `GUEST_GICV3_GICR0_BASE`, `GUEST_EVTCHN_PPI`.
const DOMU_CONTROLLER: InterruptController = InterruptController {
    distributor: Span { start: 0x0300_1000, end: 0x0301_1000 },
    redistributors: Span { start: 0x0302_0000, end: 0x0304_0000 },
    upcall: 31,
};

unsafe extern "Rust" {
    /// Written by `rt`: what comes after this crate's part.
    safe fn __sarsen_start(argument: u64) -> !;
}

/// How far the entry's page tables reach.
#[must_use]
pub fn reach() -> Span {
    let start = layout::image_start() & !((1 << 30) - 1);
    Span { start: start.max(4096), end: start + (2 << 30) }
}

/// Registers that stay mapped for ever, those of the interrupt controller.
#[must_use]
pub fn registers(told: Option<InterruptController>) -> [Span; 2] {
    let controller = told.unwrap_or(DOMU_CONTROLLER);
    // The first redistributor has two frames of 64 KiB.
    let ours = Span::of(controller.redistributors.start, 0x2_0000);
    [controller.distributor, ours]
}

/// The controller that was told, or that of a domain that dom0 built.
pub(super) fn controller(told: Option<InterruptController>) -> InterruptController {
    told.unwrap_or(DOMU_CONTROLLER)
}

/// Called by the entry on the main stack.
pub(super) extern "C" fn from_assembly(argument: u64) -> ! {
    vectors::load();
    __sarsen_start(argument)
}
