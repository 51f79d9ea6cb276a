//! What the code above needs of a runtime: to wait for an event, and to know the time. The runtime
//! implements both; tests do with virtual time.

use core::task::{Context, Poll};

use proto_xen::Port;

/// Waiting for events.
pub trait Wait {
    /// Ready once if `port` was raised since the last time, else pending with `context`'s waker
    /// kept. One task waits for a port; the last waker counts. An event says "look", never "what":
    /// after it, look until nothing is left.
    fn poll_event(&self, port: Port, context: &mut Context<'_>) -> Poll<()>;
}

/// Xen's system time.
pub trait Clock {
    /// Nanoseconds since power-on.
    fn now_ns(&self) -> u64;

    /// Ready once `deadline_ns` is reached, else pending with the waker kept.
    fn poll_until(&self, deadline_ns: u64, context: &mut Context<'_>) -> Poll<()>;
}

/// Waits for the next event of `port`.
pub fn event<W: Wait>(waiter: &W, port: Port) -> impl Future<Output = ()> + '_ {
    core::future::poll_fn(move |context| waiter.poll_event(port, context))
}
