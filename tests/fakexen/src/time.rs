//! Virtual time.

use core::task::{Context, Poll, Waker};

use board_support_hyp::Clock;

use crate::world::{Domain, World};

/// The machine's clock, and who waits for it.
#[derive(Debug, Default)]
pub(crate) struct Time {
    now_ns: u64,
    waiting: Vec<(u64, Waker)>,
}

impl World {
    /// Nanoseconds since power-on.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        self.state().time.now_ns
    }

    /// Lets time pass, and wakes those whose time has come.
    pub fn advance(&self, ns: u64) {
        let mut state = self.state_mut();
        let time = &mut state.time;
        time.now_ns += ns;
        let now = time.now_ns;
        let (due, waiting) = core::mem::take(&mut time.waiting).into_iter().partition(|(at, _)| *at <= now);
        time.waiting = waiting;
        drop(state);
        let due: Vec<(u64, Waker)> = due;
        due.into_iter().for_each(|(_, waker)| waker.wake());
    }

    /// When the next of those who wait is to be woken.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        self.state().time.waiting.iter().map(|(at, _)| *at).min()
    }
}

impl Clock for Domain {
    fn now_ns(&self) -> u64 {
        self.world().now_ns()
    }

    fn poll_until(&self, deadline_ns: u64, context: &mut Context<'_>) -> Poll<()> {
        if !self.runs() {
            return Poll::Pending;
        }
        let mut state = self.state();
        if state.time.now_ns >= deadline_ns {
            return Poll::Ready(());
        }
        state.time.waiting.retain(|(_, waker)| !waker.will_wake(context.waker()));
        state.time.waiting.push((deadline_ns, context.waker().clone()));
        Poll::Pending
    }
}
