//! The steps of the driver whose order the card relies on, by themselves, so that a model checker can try
//! them in every order. The models, each with twins that must fail, are `e1000e` in `tests/ring`.
//!
//! Registers are written by the caller's function: to a model they are words as all others.

use core::sync::atomic::Ordering;

use board_support_hyp::word::fence;

pub use crate::order::{observe, tell};

/// Writes a register that takes back the cause of an interrupt. The ring is looked at after this, not before:
/// else a frame that comes between the two raises nothing.
pub fn acknowledge(write: impl FnOnce()) {
    write();
    fence(Ordering::SeqCst);
}
