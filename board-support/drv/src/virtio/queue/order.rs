//! The steps of a queue whose order the device relies on, by themselves, so that a model checker can try
//! them in every order. The models, each with twins that must fail, are `virtqueue` in `tests/ring`.

#[cfg(not(loom))]
use core::sync::atomic::fence;
use core::sync::atomic::{AtomicU32, Ordering};
#[cfg(loom)]
use loom::sync::atomic::fence;

/// A word that driver and device share.
pub trait Word {
    /// Reads it.
    fn load(&self, order: Ordering) -> u32;
    /// Writes it.
    fn store(&self, value: u32, order: Ordering);
}

impl Word for AtomicU32 {
    fn load(&self, order: Ordering) -> u32 {
        AtomicU32::load(self, order)
    }

    fn store(&self, value: u32, order: Ordering) {
        AtomicU32::store(self, value, order);
    }
}

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
