//! Time stamps within what every controller accepts: years 1 to 9999, nanoseconds below 10⁹.

use prost_types::Timestamp;
use rustls_pki_types::UnixTime;

const FIRST_SECOND: i64 = -62_135_596_800;
const LAST_SECOND: i64 = 253_402_300_799;

/// A time stamp of whole seconds since 1970, brought into the accepted years.
#[must_use]
pub fn timestamp(seconds: i64, nanos: u32) -> Timestamp {
    let nanos = i32::try_from(nanos.min(999_999_999)).unwrap_or(0);
    Timestamp { seconds: seconds.clamp(FIRST_SECOND, LAST_SECOND), nanos }
}

/// A time stamp of a wall clock reading.
#[must_use]
pub fn of(time: UnixTime) -> Timestamp {
    timestamp(i64::try_from(time.as_secs()).unwrap_or(LAST_SECOND), 0)
}

/// Order of two time stamps as received, whatever they hold.
#[must_use]
pub fn is_older(a: &Timestamp, b: &Timestamp) -> bool {
    (a.seconds, a.nanos) < (b.seconds, b.nanos)
}
