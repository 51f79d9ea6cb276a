//! The first Rust code.

use super::{segments, trap};
use crate::memory_map::Span;

/// How far the entry's page tables reach: the null page is left out, so that nothing is read there.
pub const REACH: Span = Span { start: 4096, end: 4 << 30 };

unsafe extern "Rust" {
    /// Written by `rt`: what comes after this crate's part. `argument` is the address of the start
    /// info.
    safe fn __sarsen_start(argument: u64) -> !;
}

/// Called by the entry on the main stack.
pub(super) extern "C" fn from_assembly(start_info: u32) -> ! {
    segments::load();
    trap::load();
    __sarsen_start(u64::from(start_info))
}
