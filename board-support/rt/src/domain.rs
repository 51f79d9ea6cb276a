//! What the ends of devices need of a runtime.

use core::task::{Context, Poll};

use board_support_hyp::{Clock, Pages, Wait};
use proto_xen::{Gfn, Port};

use crate::{event, pool, timer};

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

impl Pages for Domain {
    type Page = pool::Page;

    fn allocate(&self) -> Option<pool::Page> {
        pool::allocate()
    }

    fn gfn(&self, page: &pool::Page) -> Gfn {
        page.gfn()
    }
}
