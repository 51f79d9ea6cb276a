//! Whether there may be something to do: how the executor and the interrupts keep from missing each other.
//!
//! ```text
//!   executor:   clear -> work -> mask interrupts -> look -> block, which allows them again
//!   interrupt:  make a task ready -> set
//! ```
//!
//! Pure, so that `tests/ring` models it against an interrupt at any instant.

use self::atomic::{AtomicBool, Ordering};

mod atomic {
    #[cfg(not(loom))]
    pub(super) use core::sync::atomic::{AtomicBool, Ordering};
    #[cfg(loom)]
    pub(super) use loom::sync::atomic::{AtomicBool, Ordering};
}

/// The flag.
#[derive(Debug)]
pub struct Awake(AtomicBool);

impl Awake {
    /// A flag that is set: there is something to do at the start.
    #[cfg(not(loom))]
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicBool::new(true))
    }

    /// The same for a model checker, whose atomics are made at run time.
    #[cfg(loom)]
    #[must_use]
    pub fn new() -> Self {
        Self(AtomicBool::new(true))
    }

    /// Has the executor look again before it blocks. From any context.
    pub fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// One round of the executor: does what there is to do, then blocks unless the flag was set meanwhile.
    ///
    /// `block_unless` asks its argument with interrupts masked, and blocks in such a way that an interrupt
    /// after the question ends it.
    pub fn round(&self, work: impl FnOnce(), block_unless: impl FnOnce(&dyn Fn() -> bool)) {
        // Cleared first: whatever happens from here on makes another round.
        self.0.store(false, Ordering::Release);
        work();
        block_unless(&|| self.0.load(Ordering::Acquire));
    }
}

impl Default for Awake {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::Awake;

    #[test]
    fn what_comes_during_the_work_keeps_the_round_from_blocking() {
        let awake = Awake::new();
        let mut blocked = None;
        awake.round(|| awake.set(), |is_set| blocked = Some(!is_set()));
        assert_eq!(blocked, Some(false));
        awake.round(|| (), |is_set| blocked = Some(!is_set()));
        assert_eq!(blocked, Some(true));
    }
}
