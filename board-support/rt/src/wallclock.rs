//! The time of day, as Xen knows it.

use core::time::Duration;

use board_support_arch::clock;

use crate::{platform, timer};

/// Seconds and nanoseconds since 1970, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnixTime {
    /// Seconds.
    pub seconds: u64,
    /// Nanoseconds, below 1,000,000,000.
    pub nanoseconds: u32,
}

/// What is less than this many seconds after 1970 is no time of day. Where nobody has told it the time, Xen may tell a
/// domain the seconds from its own start to the domain's creation.
const LEAST: u64 = 365 * 24 * 3600;

/// The time of day; `None` if the machine does not know it. As good as the machine's clock: nobody
/// has checked it.
#[must_use]
pub fn now() -> Option<UnixTime> {
    let base = platform::shared_info()?.wall_clock();
    if base.seconds < LEAST {
        return None;
    }
    let at_begin = Duration::new(base.seconds, base.nanoseconds.min(999_999_999));
    let now = at_begin.checked_add(counted())?;
    Some(UnixTime { seconds: now.as_secs(), nanoseconds: now.subsec_nanos() })
}

/// The time since the moment whose time of day Xen tells this domain: power-on, or on Arm its creation.
#[must_use]
pub fn counted() -> Duration {
    Duration::from_nanos(timer::now().as_nanos().saturating_sub(clock::wall_clock_begin_ns()))
}
