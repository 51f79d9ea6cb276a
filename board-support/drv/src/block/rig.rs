//! What the tests of both drivers stand on: virtual time, an interrupt, and the smallest executor.

use core::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};
use std::{boxed::Box, rc::Rc};

use super::wait::{Waits, Woken};

/// Something that happens while the driver waits. It may raise the interrupt.
type Meanwhile = Box<dyn FnMut(&Clock)>;

#[derive(Default)]
struct State {
    now: Cell<Duration>,
    raised: Cell<bool>,
    /// Interrupts do not arrive.
    deaf: Cell<bool>,
    meanwhile: RefCell<Option<Meanwhile>>,
}

/// Time that passes only while somebody waits, and the interrupt of one device.
#[derive(Clone, Default)]
pub(crate) struct Clock(Rc<State>);

impl Clock {
    /// The device raises its interrupt.
    pub(crate) fn raise(&self) {
        self.0.raised.set(!self.0.deaf.get());
    }

    /// Interrupts are lost from now on, one that has come and was not waited for among them.
    pub(crate) fn deafen(&self) {
        self.0.deaf.set(true);
        self.0.raised.set(false);
    }

    /// What happens at each wait.
    pub(crate) fn meanwhile(&self, action: impl FnMut(&Self) + 'static) {
        *self.0.meanwhile.borrow_mut() = Some(Box::new(action));
    }

    /// Time that has passed.
    pub(crate) fn passed(&self) -> Duration {
        self.0.now.get()
    }

    /// Pending at the first poll, so that a caller can drop the future there.
    async fn wait(&self) {
        let mut polled = false;
        poll_fn(|context| {
            if core::mem::replace(&mut polled, true) {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        let action = self.0.meanwhile.borrow_mut().take();
        if let Some(mut action) = action {
            action(self);
            self.0.meanwhile.borrow_mut().get_or_insert(action);
        }
    }
}

impl Waits for Clock {
    fn now(&self) -> Duration {
        self.0.now.get()
    }

    async fn interrupt(&self, until: Duration) -> Woken {
        self.wait().await;
        if self.0.raised.take() {
            return Woken::Interrupt;
        }
        self.0.now.set(until.max(self.0.now.get()));
        Woken::Time
    }

    async fn sleep(&self, until: Duration) {
        self.wait().await;
        self.0.now.set(until.max(self.0.now.get()));
    }
}

/// Runs a future to its end.
pub(crate) fn run<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    for _ in 0..1_000_000 {
        if let Poll::Ready(result) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return result;
        }
    }
    panic!("it never ends")
}

/// Polls a future so often and drops it, if it has not ended by then.
pub(crate) fn run_for<F: Future>(polls: u32, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    (0..polls).find_map(|_| match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => Some(result),
        Poll::Pending => None,
    })
}

/// Bytes that tell where they come from.
pub(crate) fn pattern(length: usize, seed: u8) -> std::vec::Vec<u8> {
    (0..length).map(|at| (at / 512) as u8 ^ (at as u8).wrapping_mul(7) ^ seed).collect()
}
