//! The memory orders of this crate by name, so that a model can leave one out.

/// An order that the machines keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Release of an index or flag.
    Publish,
    /// Acquire of an index or flag.
    Observe,
    /// Full fence between publishing an index and looking at the peer's threshold.
    Published,
    /// Full fence between arming the own threshold and the last look.
    Armed,
}

#[cfg(not(loom))]
pub(crate) const fn is_kept(_order: Order) -> bool {
    true
}

#[cfg(loom)]
std::thread_local! {
    static LEFT_OUT: core::cell::Cell<Option<Order>> = const { core::cell::Cell::new(None) };
}

#[cfg(loom)]
pub(crate) fn is_kept(order: Order) -> bool {
    LEFT_OUT.get() != Some(order)
}

/// Runs a model on machines that do not keep `order`. It has to fail, or it proves nothing.
///
/// Loom runs all threads of a model on the thread that calls this, so models beside it are not touched.
#[cfg(loom)]
pub fn without<T>(order: Order, model: impl FnOnce() -> T) -> T {
    /// Keeps the order again, also when the model panics.
    struct Restore;
    impl Drop for Restore {
        fn drop(&mut self) {
            LEFT_OUT.set(None);
        }
    }
    let _restore = Restore;
    LEFT_OUT.set(Some(order));
    model()
}
