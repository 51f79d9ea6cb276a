//! Futures that wait for time to pass.

use core::{
    cell::{Cell, RefCell},
    task::{Context, Poll},
    time::Duration,
};

use board_support_arch::{clock, timer};
use board_support_hyp::{Timer, runtime::Elapsed};
use critical_section::Mutex;

use super::{
    Instant,
    deadlines::{Deadlines, Ticket},
};
use crate::{Domain, platform};

static DEADLINES: Mutex<RefCell<Deadlines>> = Mutex::new(RefCell::new(Deadlines::new()));

/// What the timer is set to. It may be earlier than any deadline: then it fires for nothing once.
static ARMED: Mutex<Cell<Option<u64>>> = Mutex::new(Cell::new(None));

/// The present moment.
#[must_use]
pub fn now() -> Instant {
    Instant::from_nanos(platform::shared_info().map_or(0, clock::now_ns))
}

/// Waits for `duration`.
pub fn sleep(duration: Duration) -> Sleep {
    sleep_until(now() + duration)
}

/// Waits until `deadline`.
pub fn sleep_until(deadline: Instant) -> Sleep {
    Sleep { deadline, ticket: None }
}

/// Ready once `deadline` is reached, else pending with `context`'s waker kept: for callers that have no
/// place for a [`Sleep`]. A deadline that nobody cares for any more wakes the task once for nothing.
pub fn poll_until(deadline: Instant, context: &mut Context<'_>) -> Poll<()> {
    if now() >= deadline {
        return Poll::Ready(());
    }
    critical_section::with(|section| {
        DEADLINES.borrow_ref_mut(section).keep(deadline.as_nanos(), context.waker());
    });
    Poll::Pending
}

/// Runs `future` for at most `duration`; it is dropped then.
///
/// # Errors
/// [`Elapsed`].
pub async fn with_timeout<F: Future>(duration: Duration, future: F) -> Result<F::Output, Elapsed> {
    with_deadline(now() + duration, future).await
}

/// Runs `future` until `deadline` at most; it is dropped then.
///
/// # Errors
/// [`Elapsed`].
pub async fn with_deadline<F: Future>(deadline: Instant, future: F) -> Result<F::Output, Elapsed> {
    Domain.with_deadline(deadline, future).await
}

/// Waits for a moment. Dropping it forgets the deadline.
#[derive(Debug)]
#[must_use = "nothing waits until it is awaited"]
pub struct Sleep {
    deadline: Instant,
    ticket: Option<Ticket>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: core::pin::Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if now() >= self.deadline {
            return Poll::Ready(());
        }
        let deadline = self.deadline.as_nanos();
        critical_section::with(|section| {
            let mut deadlines = DEADLINES.borrow_ref_mut(section);
            match self.ticket {
                Some(ticket) => deadlines.refresh(ticket, context.waker()),
                None => self.ticket = Some(deadlines.add(deadline, context.waker().clone())),
            }
        });
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            critical_section::with(|section| DEADLINES.borrow_ref_mut(section).remove(ticket));
        }
    }
}

/// The timer fired, so it is set no more. From the interrupt; the executor does the rest.
pub(crate) fn fired() {
    critical_section::with(|section| ARMED.borrow(section).set(None));
}

/// Wakes whoever waited for a moment that has come. Called by the executor before it polls.
pub(crate) fn expire() {
    let now_ns = now().as_nanos();
    while let Some(waker) =
        critical_section::with(|section| DEADLINES.borrow_ref_mut(section).expired(now_ns))
    {
        waker.wake();
    }
}

/// Sets the timer to the earliest deadline, if it is not set to that or to an earlier moment. Called
/// by the executor before it blocks.
pub(crate) fn arm() {
    let Some(shared) = platform::shared_info() else { return };
    let earliest = critical_section::with(|section| {
        let earliest = DEADLINES.borrow_ref(section).earliest()?;
        let armed = ARMED.borrow(section);
        if armed.get().is_some_and(|set| set <= earliest) {
            return None;
        }
        armed.set(Some(earliest));
        Some(earliest)
    });
    if let Some(deadline) = earliest
        && let Err(errno) = timer::set(shared, deadline)
    {
        panic!("Xen refuses to set the timer: {errno}");
    }
}
