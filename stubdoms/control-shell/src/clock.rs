//! Xen's time, as the agent and the way to the controller take it.

use alloc::rc::Rc;
use core::{cell::Cell, fmt, time::Duration};

use board_support_hyp::{Clock, Instant, Timer as _};
use stubdoms_agent::{Now, WallTime};
use stubdoms_web::{time::Timer, tls::WallClock};

use crate::system::System;

/// The domain's timer.
#[derive(Clone)]
pub(crate) struct Alarm<S>(pub(crate) S);

impl<S: System> Timer for Alarm<S> {
    fn now(&self) -> Duration {
        Duration::from_nanos(self.0.runtime().now_ns())
    }

    async fn sleep_until(&self, at: Duration) {
        self.0.runtime().sleep_until(instant(at)).await;
    }
}

/// The time of day: Xen's, which is the machine's clock, until another one is set.
pub(crate) struct TimeOfDay<S> {
    system: S,
    /// The time since 1970 at the zero of the domain's timer.
    set: Rc<Cell<Option<Duration>>>,
}

impl<S: Clone> Clone for TimeOfDay<S> {
    fn clone(&self) -> Self {
        Self { system: self.system.clone(), set: self.set.clone() }
    }
}

impl<S: System> TimeOfDay<S> {
    pub(crate) fn new(system: S) -> Self {
        Self { system, set: Rc::default() }
    }

    /// It goes on from this time since 1970 at the timer's zero, here and for certificates.
    pub(crate) fn set(&self, power_on: Duration) {
        self.set.set(Some(power_on));
    }

    /// Both times, for the agent.
    pub(crate) fn now(&self) -> Now {
        Now { monotonic_ns: self.system.runtime().now_ns(), wall: self.since_1970().map(WallTime::since) }
    }

    /// The time of day at a moment of Xen's system time, in nanoseconds since power-on.
    pub(crate) fn wall_time_at(&self, at_ns: u64) -> Option<WallTime> {
        let now = self.since_1970()?;
        let ago = Duration::from_nanos(self.system.runtime().now_ns().saturating_sub(at_ns));
        now.checked_sub(ago).map(WallTime::since)
    }

    /// For certificates.
    pub(crate) fn for_certificates(&self) -> impl WallClock + use<S> {
        CertificateTime::<S>(S::local(self.clone()))
    }

    fn since_1970(&self) -> Option<Duration> {
        match self.set.get() {
            Some(power_on) => power_on.checked_add(Duration::from_nanos(self.system.runtime().now_ns())),
            None => S::time_of_day(),
        }
    }
}

struct CertificateTime<S: System>(S::Local<TimeOfDay<S>>);

impl<S: System> fmt::Debug for CertificateTime<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CertificateTime")
    }
}

impl<S: System> WallClock for CertificateTime<S> {
    fn now(&self) -> Option<Duration> {
        self.0.since_1970()
    }
}

fn instant(at: Duration) -> Instant {
    Instant::from_nanos(u64::try_from(at.as_nanos()).unwrap_or(u64::MAX))
}
