//! Ports whose events are looked at as often as they are of use.

use alloc::rc::Rc;
use core::{
    cell::RefCell,
    task::{Context, Poll},
};

use board_support_rt::timer::{Instant, now, poll_until, sleep_until};
use dom0_toolstack::budget::{Budget, EVENTS, Rate};
use proto_xen::Errno;

use crate::ground::Line;

/// A port of ours whose other end pays for events that bring nothing. When it cannot pay, the port is not
/// looked at for a while; an event of that while is seen after it.
pub(crate) struct Patient {
    line: Line,
    events: Patience,
}

/// What is left to the other end, for who sees what it brings.
#[derive(Clone)]
pub(crate) struct Patience(Rc<RefCell<Budget>>);

impl Patient {
    /// A port with a full bucket.
    pub(crate) fn new(line: Line) -> Self {
        Self { line, events: Patience::new(EVENTS) }
    }

    /// What is left to the other end.
    pub(crate) fn events(&self) -> Patience {
        self.events.clone()
    }
}

impl board_support_pv::port::Line for Patient {
    fn notify(&self) -> Result<(), Errno> {
        self.line.notify()
    }

    fn poll_look(&self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(until) = self.events.wait_until()
            && poll_until(until, cx).is_pending()
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

impl Patience {
    /// A full bucket.
    pub(crate) fn new(rate: Rate) -> Self {
        Self(Rc::new(RefCell::new(Budget::new(rate))))
    }

    /// Takes something out.
    pub(crate) fn spend(&self, count: u64) {
        self.0.borrow_mut().spend(now().as_nanos(), count);
    }

    /// Puts back what one event cost: it brought something.
    pub(crate) fn was_of_use(&self) {
        self.0.borrow_mut().refund(1);
    }

    /// So many messages were asked for.
    pub(crate) fn expect(&self, count: u32) {
        self.0.borrow_mut().expect(count);
    }

    /// Waits until there is something in the bucket.
    pub(crate) async fn wait(&self) {
        while let Some(until) = self.wait_until() {
            sleep_until(until).await;
        }
    }

    fn wait_until(&self) -> Option<Instant> {
        self.0.borrow_mut().wait_until_ns(now().as_nanos()).map(Instant::from_nanos)
    }
}
