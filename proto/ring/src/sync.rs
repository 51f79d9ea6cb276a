//! The atomics of this crate and the orders that its machines keep, in one place: under `--cfg loom` a model
//! checker's atomics take their seats, and one of the orders can be left out ([`crate::order`]).

#[cfg(not(loom))]
pub use core::sync::atomic::AtomicU32;
#[cfg(not(loom))]
pub(crate) use core::sync::atomic::{Ordering, fence};

#[cfg(loom)]
pub use loom::sync::atomic::AtomicU32;
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{Ordering, fence};

use crate::order::{Order, is_kept};

/// Stores an index or flag: what we wrote before is visible to a peer that observes this value.
pub(crate) fn publish(word: &AtomicU32, value: u32) {
    let order = if is_kept(Order::Publish) { Ordering::Release } else { Ordering::Relaxed };
    word.store(value, order);
}

/// Loads an index or flag: what the peer wrote before it published this value is visible after.
pub(crate) fn observe(word: &AtomicU32) -> u32 {
    let order = if is_kept(Order::Observe) { Ordering::Acquire } else { Ordering::Relaxed };
    word.load(order)
}

/// The full fence between publishing an index and looking at the peer's threshold. It pairs with
/// [`fence_armed`] in the peer: one of the two ends has to see the other's store.
pub(crate) fn fence_published() {
    if is_kept(Order::Published) {
        fence(Ordering::SeqCst);
    }
}

/// The full fence between writing the own threshold and the last look ahead of sleeping. It pairs with
/// [`fence_published`] in the peer.
pub(crate) fn fence_armed() {
    if is_kept(Order::Armed) {
        fence(Ordering::SeqCst);
    }
}
