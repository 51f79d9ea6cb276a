//! Time as text, and the range that the protocol allows.

use std::time::{SystemTime, UNIX_EPOCH};

use proto_eve::Timestamp;

/// First and last second of the years 1 to 9999, which is what controllers accept.
const FIRST_SECOND: i64 = -62_135_596_800;
const LAST_SECOND: i64 = 253_402_300_799;

/// Milliseconds since 1970, UTC.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// `2026-03-01T12:30:00.250Z`.
pub(crate) fn rfc3339(ms: i64) -> String {
    let (seconds, milli) = (ms.div_euclid(1000), ms.rem_euclid(1000));
    let (days, second_of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{milli:03}Z",
        second_of_day / 3600,
        second_of_day / 60 % 60,
        second_of_day % 60
    )
}

/// Year, month and day of yesterday, UTC.
pub(crate) fn yesterday() -> (i64, i64, i64) {
    civil(now_ms().div_euclid(86_400_000) - 1)
}

/// Milliseconds of a timestamp of the wire, if it lies in the years 1 to 9999.
pub(crate) fn timestamp_ms(stamp: &Timestamp) -> Option<i64> {
    let in_range = (FIRST_SECOND..=LAST_SECOND).contains(&stamp.seconds);
    (in_range && (0..=999_999_999).contains(&stamp.nanos))
        .then(|| stamp.seconds * 1000 + i64::from(stamp.nanos) / 1_000_000)
}

/// Year, month and day of a day number counted from 1970-01-01 (proleptic Gregorian).
fn civil(days: i64) -> (i64, i64, i64) {
    // Counted from 0000-03-01, so that the leap day ends a year; 146 097 days make 400 years.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_days_come_out_right() {
        // `date -u -d @N +%FT%T`.
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(rfc3339(1_772_368_200_250), "2026-03-01T12:30:00.250Z");
        assert_eq!(rfc3339(-1), "1969-12-31T23:59:59.999Z");
    }

    #[test]
    fn timestamps_outside_the_calendar_are_refused() {
        assert!(timestamp_ms(&Timestamp { seconds: LAST_SECOND, nanos: 999_999_999 }).is_some());
        assert!(timestamp_ms(&Timestamp { seconds: LAST_SECOND + 1, nanos: 0 }).is_none());
        assert!(timestamp_ms(&Timestamp { seconds: FIRST_SECOND - 1, nanos: 0 }).is_none());
        assert!(timestamp_ms(&Timestamp { seconds: 0, nanos: 1_000_000_000 }).is_none());
        assert!(timestamp_ms(&Timestamp { seconds: 0, nanos: -1 }).is_none());
    }
}
