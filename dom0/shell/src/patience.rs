//! Ports whose events are looked at as often as they are of use.

use alloc::rc::Rc;
use core::{
    cell::RefCell,
    task::{Context, Poll},
};

use board_support_hyp::{Instant, Timer};
use board_support_pv::port::Line;
use dom0_toolstack::budget::{Budget, EVENTS, Rate};
use proto_xen::Errno;

/// A port of ours whose other end pays for events that bring nothing. When it cannot pay, the port is not
/// looked at for a while; an event of that while is seen after it.
pub struct Patient<L, T> {
    line: L,
    events: Patience<T>,
}

/// What is left to the other end, for who sees what it brings.
#[derive(Clone)]
pub struct Patience<T> {
    budget: Rc<RefCell<Budget>>,
    timer: T,
}

impl<L: Line, T: Timer + Clone> Patient<L, T> {
    /// A port with a full bucket.
    pub fn new(line: L, timer: T) -> Self {
        Self { line, events: Patience::new(timer, EVENTS) }
    }

    /// What is left to the other end.
    pub fn events(&self) -> Patience<T> {
        self.events.clone()
    }
}

impl<L: Line, T: Timer> Line for Patient<L, T> {
    fn notify(&self) -> Result<(), Errno> {
        self.line.notify()
    }

    fn has_peer(&self) -> bool {
        self.line.has_peer()
    }

    fn poll_look(&self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(until) = self.events.wait_until()
            && self.events.timer.poll_until(until.as_nanos(), cx).is_pending()
        {
            return Poll::Pending;
        }
        let told = self.line.poll_look(cx);
        if told.is_ready() {
            self.events.spend(1);
        }
        told
    }
}

impl<T: Timer> Patience<T> {
    /// A full bucket.
    pub fn new(timer: T, rate: Rate) -> Self {
        Self { budget: Rc::new(RefCell::new(Budget::new(rate))), timer }
    }

    /// Takes something out.
    pub fn spend(&self, count: u64) {
        self.budget.borrow_mut().spend(self.timer.now_ns(), count);
    }

    /// Puts back what one event cost: it brought something.
    pub fn was_of_use(&self) {
        self.budget.borrow_mut().refund(1);
    }

    /// So many messages were asked for.
    pub fn expect(&self, count: u32) {
        self.budget.borrow_mut().expect(count);
    }

    /// Waits until there is something in the bucket.
    pub async fn wait(&self) {
        while let Some(until) = self.wait_until() {
            self.timer.sleep_until(until).await;
        }
    }

    fn wait_until(&self) -> Option<Instant> {
        self.budget.borrow_mut().wait_until_ns(self.timer.now_ns()).map(Instant::from_nanos)
    }
}

#[cfg(test)]
mod tests;
