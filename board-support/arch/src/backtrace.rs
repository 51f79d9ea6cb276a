//! The way back through the frames of a stack.
//!
//! A frame is two words on both architectures: the caller's frame pointer and the address to return
//! to. Everything is compiled with frame pointers (`.cargo/config.toml`).

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::{layout, memory_map::Span};

/// Return addresses, innermost first. Ends at the first frame that does not lie above the last one
/// on a stack of the image.
pub struct Backtrace {
    frame: u64,
    stack: Option<Span>,
}

impl Backtrace {
    /// From the frame whose pointer is `frame` on.
    #[must_use]
    pub fn from_frame(frame: u64) -> Self {
        let stacks = [layout::stack(), layout::fault_stack()];
        let stack = stacks.into_iter().find(|stack| stack.contains(Span::of(frame, 16)));
        Self { frame, stack }
    }
}

impl Iterator for Backtrace {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let stack = self.stack?;
        if !self.frame.is_multiple_of(8) || !stack.contains(Span::of(self.frame, 16)) {
            return None;
        }
        let at = core::ptr::with_exposed_provenance::<[AtomicU64; 2]>(self.frame as usize);
        // SAFETY:
        // 1. The 16 bytes are aligned and lie on one of the image's stacks, which are always mapped.
        // 2. Atomics allow for whatever else looks at the stack.
        let [caller, ret] = unsafe { &*at };
        let (caller, ret) = (caller.load(Relaxed), ret.load(Relaxed));
        self.stack = if caller > self.frame { Some(stack) } else { None };
        self.frame = caller;
        if layout::text().contains(Span::of(ret, 1)) { Some(ret) } else { None }
    }
}
