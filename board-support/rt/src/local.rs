//! Values for tasks alone, in places that ask for `Send` and `Sync`.

use core::ops::Deref;

/// A value that only tasks of this domain touch.
///
/// Crates that know threads want what they hold to be fit for several. A domain has one vCPU, and its tasks take
/// turns on it; upcalls run no code but this package's.
#[derive(Debug)]
pub struct Local<T>(T);

// SAFETY:
// 1. The domain has one vCPU and this module is for domains alone, so whoever gets the value runs on the one stack
//    on which it was made.
unsafe impl<T> Send for Local<T> {}

// SAFETY:
// 1. As above: two users never run at the same time. An upcall interrupts tasks, and runs the handlers of `event`
//    and `timer`, which wake tasks and are given no such value.
unsafe impl<T> Sync for Local<T> {}

impl<T> Local<T> {
    /// Takes the value.
    pub const fn new(value: T) -> Self {
        Self(value)
    }
}

impl<T> Deref for Local<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}
