//! What the ends of devices need of a runtime.

use core::task::{Context, Poll};

use board_support_hyp::{Clock, Instant, Pages, Runtime, Spawn, Timer, Wait, runtime::Item};
use proto_xen::{Gaddr, Gfn, Port};

use crate::{Spawner, event, executor, irq, log, memory, pool, timer};

/// This domain: its events, its clock, its pages.
#[derive(Clone, Copy, Debug, Default)]
pub struct Domain;

impl Wait for Domain {
    fn poll_event(&self, port: Port, context: &mut Context<'_>) -> Poll<()> {
        event::poll(port, context)
    }
}

impl Clock for Domain {
    fn now_ns(&self) -> u64 {
        timer::now().as_nanos()
    }

    fn poll_until(&self, deadline_ns: u64, context: &mut Context<'_>) -> Poll<()> {
        timer::poll_until(timer::Instant::from_nanos(deadline_ns), context)
    }
}

impl Timer for Domain {
    type Sleep = timer::Sleep;

    fn sleep_until(&self, deadline: Instant) -> timer::Sleep {
        timer::sleep_until(deadline)
    }
}

impl Runtime for Domain {
    type Special = memory::SpecialPage;

    fn special_page(&self, at: Gaddr) -> Option<memory::SpecialPage> {
        memory::special_page(at)
    }

    fn poll_interrupt(&self, vector: u32, context: &mut Context<'_>) -> Poll<()> {
        irq::poll(vector, context)
    }

    fn next_line(&self) -> impl Future<Output = Item> {
        log::next()
    }

    fn rounds(&self) -> u64 {
        executor::rounds()
    }

    fn hang(&self) {
        loop {
            core::hint::spin_loop();
        }
    }
}

impl Spawn for Spawner {
    fn spawn(&self, work: impl Future<Output = ()> + 'static) {
        (*self).spawn(work);
    }
}

impl Pages for Domain {
    type Page = pool::Page;

    fn allocate(&self) -> Option<pool::Page> {
        pool::allocate()
    }

    fn gfn(&self, page: &pool::Page) -> Gfn {
        page.gfn()
    }
}
