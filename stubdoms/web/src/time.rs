//! The clock and the alarm, given from outside.

use core::fmt;
use core::future::Future;
use core::pin::pin;
use core::time::Duration;

use embassy_futures::select::{Either, select};

/// What this crate needs of a timer. Times count from boot and never move back.
pub trait Timer {
    /// The time since boot.
    fn now(&self) -> Duration;
    /// Ends at `at`, at once if that has passed.
    fn sleep_until(&self, at: Duration) -> impl Future<Output = ()>;
}

impl<T: Timer> Timer for &T {
    fn now(&self) -> Duration {
        T::now(self)
    }
    fn sleep_until(&self, at: Duration) -> impl Future<Output = ()> {
        T::sleep_until(self, at)
    }
}

/// Runs `story` until `at`; `None` if the time came first. `story` is looked at first.
pub async fn until<T: Timer, F: Future>(timer: &T, at: Duration, story: F) -> Option<F::Output> {
    match select(pin!(story), pin!(timer.sleep_until(at))).await {
        Either::First(end) => Some(end),
        Either::Second(()) => None,
    }
}

/// Shows seconds since 1970 as a date and time in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnixSeconds(pub u64);

impl fmt::Display for UnixSeconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, second) = (self.0 / 86_400, self.0 % 86_400);
        // Years of 400 have a fixed length; counted from 1 March, the leap day is the last.
        let day = days.saturating_add(719_468);
        let (era, day) = (day / 146_097, day % 146_097);
        let year_of_era = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month = (5 * day + 2) / 153;
        let day = day - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        let year = era * 400 + year_of_era + u64::from(month <= 2);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    /// Expected values: GNU date 9.1, `date -u -d @N`.
    #[test]
    fn dates_are_those_of_date() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_799, "2000-02-29T23:59:59Z"),
            (1_767_225_600, "2026-01-01T00:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(UnixSeconds(seconds).to_string(), text);
        }
        let _ = UnixSeconds(u64::MAX).to_string();
    }
}
