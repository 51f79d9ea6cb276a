//! The steps of a queue whose order the device relies on, by themselves, so that a model checker can try
//! them in every order. The models, each with twins that must fail, are `virtqueue` in `tests/ring`.

use core::sync::atomic::Ordering;

use board_support_hyp::word::{Word, fence};

/// Writes flags and index of the available ring: descriptors and ring are out before them.
pub fn publish(available: &impl Word, value: u32) {
    available.store(value, Ordering::Release);
}

/// Reads flags and index of the used ring: what the device wrote before them is read after.
pub fn observe(used: &impl Word) -> u32 {
    used.load(Ordering::Acquire)
}

/// Reads flags and index of the used ring after [`publish`], to go to sleep or not to notify.
///
/// A full fence stands between. Without it, driver and device could each still see the other's old word,
/// the driver sleep over a buffer that came back, or the device over one that is available. It pairs with
/// the device's own, between its index or flag and its look at ours.
pub fn observe_after_publish(used: &impl Word) -> u32 {
    fence(Ordering::SeqCst);
    used.load(Ordering::Relaxed)
}
