//! The first Rust code.

use super::{segments, trap};
use crate::{boot_info::InterruptController, memory_map::Span};

/// How far the entry's page tables reach: the null page is left out, so that nothing is read there.
#[must_use]
pub fn reach() -> Span {
    Span { start: 4096, end: 4 << 30 }
}

/// Registers that stay mapped for ever: none, the interrupt controller is reached by instructions.
#[must_use]
pub fn registers(_told: Option<InterruptController>) -> [Span; 0] {
    []
}

unsafe extern "Rust" {
    /// Written by `rt`: what comes after this crate's part. `argument` is the address of the start
    /// info, `began` the counter at the first instruction.
    safe fn __sarsen_start(argument: u64, began: u64) -> !;
}

/// Called by the entry on the main stack.
pub(super) extern "C" fn from_assembly(start_info: u32, began: u64) -> ! {
    segments::load();
    trap::load();
    __sarsen_start(u64::from(start_info), began)
}
