//! Xen's time, as the agent and the way to the controller take it.

use core::{fmt, marker::PhantomData, time::Duration};

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

/// The time of day, for certificates.
pub(crate) struct TimeOfDay<S>(PhantomData<fn() -> S>);

impl<S> TimeOfDay<S> {
    pub(crate) const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<S> fmt::Debug for TimeOfDay<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TimeOfDay")
    }
}

impl<S: System> WallClock for TimeOfDay<S> {
    fn now(&self) -> Option<Duration> {
        S::time_of_day()
    }
}

/// Both times, for the agent.
pub(crate) fn now<S: System>(system: &S) -> Now {
    Now { monotonic_ns: system.runtime().now_ns(), wall: S::time_of_day().map(wall_time) }
}

/// The time of day at a moment of Xen's system time, in nanoseconds since power-on.
pub(crate) fn wall_time_at<S: System>(system: &S, at_ns: u64) -> Option<WallTime> {
    let now = S::time_of_day()?;
    let ago = Duration::from_nanos(system.runtime().now_ns().saturating_sub(at_ns));
    now.checked_sub(ago).map(wall_time)
}

fn wall_time(since_1970: Duration) -> WallTime {
    WallTime { seconds: since_1970.as_secs(), nanos: since_1970.subsec_nanos() }
}

fn instant(at: Duration) -> Instant {
    Instant::from_nanos(u64::try_from(at.as_nanos()).unwrap_or(u64::MAX))
}
