//! Steps whose order every device with rings in memory relies on, by themselves, so that a model checker can try
//! them in every order. The models, each with twins that must fail, are `e1000e` in `tests/ring`.
//!
//! Registers are written by the caller's function: to a model they are words as all others.

use core::sync::atomic::Ordering;

use board_support_hyp::word::{Word, fence};

/// Writes a register that lets the device look at memory. What was written there before is there, and what was
/// read there before was read before the device may write over it.
pub fn tell(write: impl FnOnce()) {
    fence(Ordering::SeqCst);
    write();
}

/// Reads the word of an entry in which the device says that it is done: what it wrote before is read after.
pub fn observe(done: &impl Word) -> u32 {
    done.load(Ordering::Acquire)
}
