//! The atomics of this crate, in one place, so that a model checker's take their seats under `--cfg loom`.

#[cfg(not(loom))]
pub use core::sync::atomic::AtomicU32;
#[cfg(not(loom))]
pub(crate) use core::sync::atomic::{Ordering, fence};

#[cfg(loom)]
pub use loom::sync::atomic::AtomicU32;
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{Ordering, fence};

/// Orders everything before it against everything after it, stores against later loads included.
///
/// That last pair is the point: "publish, then look at the threshold" here meets "write the threshold, then
/// look at the index" in the peer, and one of the two has to see the other's store.
pub(crate) fn full_fence() {
    fence(Ordering::SeqCst);
}
