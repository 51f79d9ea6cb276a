//! What the shells of domains need of a runtime beyond events, time and pages: to sleep, to start tasks, to read
//! their own log.
//!
//! A shell that is generic over these, and over Xen, runs in a domain on the real runtime, and on the host with
//! others in one process on a fake one.

use core::{
    future::poll_fn,
    pin::pin,
    task::{Context, Poll},
    time::Duration,
};

use heapless::String;
use proto_xen::Gaddr;

use crate::{Clock, Shared, Wait, instant::Instant};

/// Waiting for time to pass.
pub trait Timer: Clock {
    /// Waits for a moment. Dropping it forgets the deadline.
    type Sleep: Future<Output = ()>;

    /// Waits until `deadline`.
    fn sleep_until(&self, deadline: Instant) -> Self::Sleep;

    /// The present moment.
    fn now(&self) -> Instant {
        Instant::from_nanos(self.now_ns())
    }

    /// Waits for `duration`.
    fn sleep(&self, duration: Duration) -> Self::Sleep {
        self.sleep_until(self.now() + duration)
    }

    /// Runs `future` until `deadline` at most; it is dropped then, and the outcome is [`Elapsed`].
    fn with_deadline<F: Future>(
        &self,
        deadline: Instant,
        future: F,
    ) -> impl Future<Output = Result<F::Output, Elapsed>> {
        let sleep = self.sleep_until(deadline);
        async {
            let (mut future, mut sleep) = (pin!(future), pin!(sleep));
            poll_fn(|context| {
                if let Poll::Ready(output) = future.as_mut().poll(context) {
                    return Poll::Ready(Ok(output));
                }
                sleep.as_mut().poll(context).map(|()| Err(Elapsed))
            })
            .await
        }
    }

    /// Runs `future` for at most `duration`, as [`Timer::with_deadline`].
    fn with_timeout<F: Future>(
        &self,
        duration: Duration,
        future: F,
    ) -> impl Future<Output = Result<F::Output, Elapsed>> {
        self.with_deadline(self.now() + duration, future)
    }
}

/// The time was up before the future was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

impl core::fmt::Display for Elapsed {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("time is up")
    }
}

impl core::error::Error for Elapsed {}

/// Starting tasks.
pub trait Spawn: Clone + 'static {
    /// Starts `work` as a task of its own. It first runs when the current task waits.
    fn spawn(&self, work: impl Future<Output = ()> + 'static);
}

/// What a domain's shells stand on beside Xen.
pub trait Runtime: Wait + Timer + Clone + 'static {
    /// A page that dom0 set aside for a channel. Its peer may write it at any instant.
    type Special: Shared + 'static;

    /// The page that dom0 set aside at this address. `None` if there is no such page.
    fn special_page(&self, at: Gaddr) -> Option<Self::Special>;

    /// Ready once if a device raised `vector` (arm: the INTID) since the last time, else pending with the waker
    /// kept. One task waits for a vector.
    fn poll_interrupt(&self, vector: u32, context: &mut Context<'_>) -> Poll<()>;

    /// Takes the oldest line out of the domain's log, waiting for one. For one task.
    fn next_line(&self) -> impl Future<Output = Item>;

    /// How often the domain woke since its start.
    fn rounds(&self) -> u64;

    /// Keeps the processor busy for ever, for a drill. It returns only where other domains are in the same
    /// process; nothing of this one runs any more then.
    fn hang(&self);
}

/// Most bytes of a line of a domain's own log.
pub const MAX_LINE: usize = 480;

/// One line of a domain's own log.
#[derive(Clone, Debug)]
pub struct Record {
    /// How bad it is.
    pub level: log::Level,
    /// When it was written.
    pub at: Instant,
    /// `target: text`.
    pub text: String<MAX_LINE>,
}

/// What comes out of a domain's own log.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "it is looked at and dropped at once")]
pub enum Item {
    /// A line.
    Record(Record),
    /// So many lines were dropped here.
    Lost(u32),
}
