//! Virtual time.

use core::task::{Context, Poll, Waker};
use std::collections::BTreeMap;

use board_support_hyp::Clock;

use crate::world::{Domain, World};

/// Names one who waits: the deadline, and a number that is unique.
pub(crate) type Ticket = (u64, u64);

/// The machine's clock, and who waits for it.
#[derive(Debug, Default)]
pub(crate) struct Time {
    now_ns: u64,
    waiting: BTreeMap<Ticket, Waker>,
    next: u64,
}

impl Time {
    pub(crate) fn now_ns(&self) -> u64 {
        self.now_ns
    }

    /// Has `waker` woken at a moment.
    pub(crate) fn add(&mut self, at_ns: u64, waker: Waker) -> Ticket {
        let ticket = (at_ns, self.next);
        self.next += 1;
        self.waiting.insert(ticket, waker);
        ticket
    }

    /// Forgets one who waits, if it was not woken.
    pub(crate) fn forget(&mut self, ticket: Ticket) {
        self.waiting.remove(&ticket);
    }
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
        for dom in state.domains.values_mut().filter(|dom| dom.own.spins) {
            dom.own.cpu_ns += ns;
        }
        let time = &mut state.time;
        time.now_ns += ns;
        let later = time.waiting.split_off(&(time.now_ns + 1, 0));
        let due = core::mem::replace(&mut time.waiting, later);
        drop(state);
        due.into_values().for_each(Waker::wake);
    }

    /// When the next of those who wait is to be woken.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        self.state().time.waiting.first_key_value().map(|(&(at, _), _)| at)
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
        let time = &mut self.state().time;
        if time.now_ns >= deadline_ns {
            return Poll::Ready(());
        }
        let mut same = time.waiting.range((deadline_ns, 0)..=(deadline_ns, u64::MAX));
        // The same wish is kept once.
        if !same.any(|(_, waker)| waker.will_wake(context.waker())) {
            time.add(deadline_ns, context.waker().clone());
        }
        Poll::Pending
    }
}
