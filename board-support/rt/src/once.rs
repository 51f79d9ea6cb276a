//! Values that are set once and then only read.

use core::{
    cell::UnsafeCell,
    mem::MaybeUninit,
    sync::atomic::{AtomicU8, Ordering},
};

const EMPTY: u8 = 0;
const BUSY: u8 = 1;
const SET: u8 = 2;

/// A place for one value.
pub struct Once<T> {
    state: AtomicU8,
    value: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY:
// 1. The value is written by the one caller that moved the state from EMPTY to BUSY, and read only
//    after SET, which is stored behind the write: shared references are all that is handed out, so
//    `T: Sync` is enough for those, and `T: Send` for the move in.
unsafe impl<T: Send + Sync> Sync for Once<T> {}

impl<T> Once<T> {
    /// An empty place.
    #[must_use]
    pub const fn new() -> Self {
        Self { state: AtomicU8::new(EMPTY), value: UnsafeCell::new(MaybeUninit::uninit()) }
    }

    /// Puts the value in and returns it.
    ///
    /// # Errors
    /// The value, if there is one already.
    pub fn set(&self, value: T) -> Result<&T, T> {
        if self.state.compare_exchange(EMPTY, BUSY, Ordering::Acquire, Ordering::Relaxed).is_err() {
            return Err(value);
        }
        // SAFETY:
        // 1. The exchange succeeded for us alone, and nobody reads before SET.
        let place = unsafe { &mut *self.value.get() };
        let value = place.write(value);
        self.state.store(SET, Ordering::Release);
        Ok(value)
    }

    /// The value, once it is set.
    #[must_use]
    pub fn get(&self) -> Option<&T> {
        if self.state.load(Ordering::Acquire) != SET {
            return None;
        }
        // SAFETY:
        // 1. After SET nobody writes any more.
        let place = unsafe { &*self.value.get() };
        // SAFETY:
        // 1. SET is stored after the value was written.
        Some(unsafe { place.assume_init_ref() })
    }
}

impl<T> Default for Once<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::Once;

    #[test]
    fn the_first_value_stays() {
        let once = Once::new();
        assert_eq!(once.get(), None);
        assert_eq!(once.set(1), Ok(&1));
        assert_eq!(once.set(2), Err(2));
        assert_eq!(once.get(), Some(&1));
    }
}
