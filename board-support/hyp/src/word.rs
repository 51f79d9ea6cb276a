//! Words that another party reads and writes at the same time, as traits.
//!
//! Where the order of our steps is what the other party relies on, the steps stand by themselves and take
//! such words ([`crate::gnttab::order`], and `order` modules of drivers and runtime), so that a model checker
//! can try every order of both. The models, each with twins that must fail, are in `tests/ring`.

#[cfg(not(loom))]
pub use core::sync::atomic::fence;
use core::sync::atomic::{AtomicU16, AtomicU32, Ordering};
#[cfg(loom)]
pub use loom::sync::atomic::fence;

/// A word that both parties see.
pub trait Word<T = u32> {
    /// Reads it.
    fn load(&self, order: Ordering) -> T;
    /// Writes it.
    fn store(&self, value: T, order: Ordering);
}

/// A word in which both parties change bits.
pub trait Exchange<T>: Word<T> {
    /// Writes `new` if the word still is `seen`; else says what it is. Acquires, and releases if it writes.
    ///
    /// # Errors
    /// What the word is.
    fn exchange(&self, seen: T, new: T) -> Result<T, T>;
}

impl Word for AtomicU32 {
    fn load(&self, order: Ordering) -> u32 {
        AtomicU32::load(self, order)
    }

    fn store(&self, value: u32, order: Ordering) {
        AtomicU32::store(self, value, order);
    }
}

impl Word<u16> for AtomicU16 {
    fn load(&self, order: Ordering) -> u16 {
        AtomicU16::load(self, order)
    }

    fn store(&self, value: u16, order: Ordering) {
        AtomicU16::store(self, value, order);
    }
}

impl Exchange<u16> for AtomicU16 {
    fn exchange(&self, seen: u16, new: u16) -> Result<u16, u16> {
        self.compare_exchange(seen, new, Ordering::AcqRel, Ordering::Acquire)
    }
}
