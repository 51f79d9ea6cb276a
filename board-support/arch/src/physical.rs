//! Physical memory at the start, before anything is handed out: what the loader left for us.

use crate::{boot_info::Physical, memory_map::Span};

/// Memory of the domain, read at its own addresses. Used by the entry only, while the start info and
/// the modules are parsed and nothing else runs.
pub struct Identity {
    reach: Span,
}

impl Identity {
    /// Memory within `reach`.
    ///
    /// # Safety
    /// 1. All of `reach` is mapped at its own addresses and stays so.
    /// 2. What is read through this value is written by nobody for as long as the domain runs: the
    ///    caller keeps every range that it asked for out of the pools.
    #[must_use]
    pub const unsafe fn new(reach: Span) -> Self {
        Self { reach }
    }
}

impl Physical for Identity {
    fn bytes(&self, address: u64, length: usize) -> Option<&'static [u8]> {
        let span = Span::of(address, length as u64);
        if !self.reach.contains(span) || span.length() != length as u64 || length > isize::MAX as usize {
            return None;
        }
        let at = core::ptr::with_exposed_provenance::<u8>(address as usize);
        // SAFETY:
        // 1. The range is mapped and not written: what the caller of `new` owes.
        // 2. It is not at address 0: `reach` starts above it.
        Some(unsafe { core::slice::from_raw_parts(at, length) })
    }
}
