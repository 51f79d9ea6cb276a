//! Xen's time, as the agent and the way to the controller take it.

use core::time::Duration;

use board_support_rt::{
    timer::{self, Instant},
    wallclock,
};
use stubdoms_agent::{Now, WallTime};
use stubdoms_web::{time::Timer, tls::WallClock};

/// The domain's timer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Alarm;

impl Timer for Alarm {
    fn now(&self) -> Duration {
        Duration::from_nanos(timer::now().as_nanos())
    }

    async fn sleep_until(&self, at: Duration) {
        timer::sleep_until(instant(at)).await;
    }
}

/// The time of day, for certificates.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimeOfDay;

impl WallClock for TimeOfDay {
    fn now(&self) -> Option<Duration> {
        wallclock::now().map(|time| Duration::new(time.seconds, time.nanoseconds))
    }
}

/// Both times, for the agent.
pub(crate) fn now() -> Now {
    Now { monotonic_ns: timer::now().as_nanos(), wall: wall_time() }
}

/// The time of day, for the agent.
pub(crate) fn wall_time() -> Option<WallTime> {
    wallclock::now().map(|time| WallTime { seconds: time.seconds, nanos: time.nanoseconds })
}

/// The time of day at a moment of Xen's system time, in nanoseconds since power-on.
pub(crate) fn wall_time_at(at_ns: u64) -> Option<WallTime> {
    let now = TimeOfDay.now()?;
    let ago = Duration::from_nanos(timer::now().as_nanos().saturating_sub(at_ns));
    let at = now.checked_sub(ago)?;
    Some(WallTime { seconds: at.as_secs(), nanos: at.subsec_nanos() })
}

fn instant(at: Duration) -> Instant {
    Instant::from_nanos(u64::try_from(at.as_nanos()).unwrap_or(u64::MAX))
}
