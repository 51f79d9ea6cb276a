//! Event channels: who waits for which port.
//!
//! The upcall clears what is pending, marks it and wakes; tasks do the rest. Which ports are masked meanwhile is
//! decided by [`Slot`].

use core::{
    cell::RefCell,
    future::poll_fn,
    sync::atomic::{AtomicU32, Ordering},
    task::{Context, Poll},
};

use board_support_hyp::{EventChannels, Xen};
use critical_section::Mutex;
use proto_errors::svc;
use proto_xen::Port;

use crate::{
    executor, platform,
    slots::{Look, Slot},
    timer,
};

/// Ports that can be waited for. Xen hands out the lowest free number.
pub const PORTS: usize = 1024;

/// The port of Xen's timer, which no task waits for.
static TIMER: AtomicU32 = AtomicU32::new(u32::MAX);

/// Says which port the timer's is.
pub(crate) fn set_timer_port(port: Port) {
    TIMER.store(port.0, Ordering::Relaxed);
}

static SLOTS: Mutex<RefCell<[Slot; PORTS]>> = Mutex::new(RefCell::new([const { Slot::NEW }; PORTS]));

/// Waits until `port` is raised. An event says "look", never "what".
pub async fn wait(port: Port) {
    poll_fn(|context| poll(port, context)).await;
}

/// Ready once if `port` was raised since the last time. The last waker counts.
///
/// # Panics
/// If the port's number is not below [`PORTS`]: Xen gives lower ones first.
pub fn poll(port: Port, context: &mut Context<'_>) -> Poll<()> {
    let look = critical_section::with(|section| {
        let mut slots = SLOTS.borrow_ref_mut(section);
        slots.get_mut(port.0 as usize).expect("ports are few").look(context.waker())
    });
    match look {
        Look::Raised => return Poll::Ready(()),
        Look::Quiet => {}
        Look::QuietAndMasked => {
            // What came before raises the port now. A port that is not there never does.
            if let Err(errno) = Xen.unmask(port) {
                log::warn!("port {} cannot be unmasked: {errno} [{}]", port.0, svc::PORT);
            }
        }
    }
    Poll::Pending
}

/// Forgets what is known of a port that is about to be closed: the next owner of the number starts
/// anew.
pub fn forget(port: Port) {
    if let Some(shared) = platform::shared_info() {
        shared.mask(port);
    }
    critical_section::with(|section| {
        if let Some(slot) = SLOTS.borrow_ref_mut(section).get_mut(port.0 as usize) {
            *slot = Slot::NEW;
        }
    });
}

/// The upcall.
pub(crate) fn upcall() {
    let Some(shared) = platform::shared_info() else { return };
    critical_section::with(|section| {
        let mut slots = SLOTS.borrow_ref_mut(section);
        shared.take_events(|port| match slots.get_mut(port.0 as usize) {
            _ if port.0 == TIMER.load(Ordering::Relaxed) => timer::fired(),
            Some(slot) => {
                let (again, waker) = slot.raise();
                if again {
                    shared.mask(port);
                }
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
            None => shared.mask(port),
        });
    });
    // Also for the timer: the executor looks at the clock.
    executor::pend();
}
