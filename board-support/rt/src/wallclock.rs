//! The time of day, as Xen knows it.

use core::time::Duration;

use crate::{platform, timer};

/// Seconds and nanoseconds since 1970, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnixTime {
    /// Seconds.
    pub seconds: u64,
    /// Nanoseconds, below 1,000,000,000.
    pub nanoseconds: u32,
}

/// The time of day; `None` if the machine does not know it. As good as the machine's clock: nobody
/// has checked it.
#[must_use]
pub fn now() -> Option<UnixTime> {
    let base = platform::shared_info()?.wall_clock();
    if base.seconds == 0 {
        return None;
    }
    let at_power_on = Duration::new(base.seconds, base.nanoseconds.min(999_999_999));
    let now = at_power_on.checked_add(Duration::from_nanos(timer::now().as_nanos()))?;
    Some(UnixTime { seconds: now.as_secs(), nanoseconds: now.subsec_nanos() })
}
