//! Arithmetic of Xen's clock: counter ticks to nanoseconds.

/// Nanoseconds that `ticks` of the counter take, by Xen's shift and 32.32 multiplier.
/// Source: `xen.h`, `vcpu_time_info`.
#[must_use]
pub const fn nanoseconds(ticks: u64, multiplier: u32, shift: i8) -> u64 {
    let shifted = if shift >= 0 {
        ticks.wrapping_shl(shift as u32)
    } else {
        ticks.wrapping_shr(shift.unsigned_abs() as u32)
    };
    ((shifted as u128 * multiplier as u128) >> 32) as u64
}

/// The time at which the counter stood at `ticks`, if it was `time` when it stood at `stamp`. Both ways:
/// `ticks` may be of before.
#[must_use]
pub const fn time_at(ticks: u64, stamp: u64, time: u64, multiplier: u32, shift: i8) -> u64 {
    // The counter wraps; the nearer of the two ways round counts.
    let passed = ticks.wrapping_sub(stamp) as i64;
    let away = nanoseconds(passed.unsigned_abs(), multiplier, shift);
    if passed < 0 { time.saturating_sub(away) } else { time.saturating_add(away) }
}

#[cfg(test)]
mod tests {
    use super::{nanoseconds, time_at};

    #[test]
    fn ticks_become_nanoseconds() {
        // 2 GHz: shift -1 halves, multiplier 2^31 halves again.
        assert_eq!(nanoseconds(4_000, 1 << 31, -1), 1_000);
        // 1 GHz with shift 1 and multiplier a half.
        assert_eq!(nanoseconds(1_000, 1 << 31, 1), 1_000);
        // A year of ticks does not overflow.
        assert_eq!(
            nanoseconds(u64::MAX / 2, u32::MAX, 0),
            (((u64::MAX / 2) as u128 * u32::MAX as u128) >> 32) as u64
        );
    }

    #[test]
    fn a_time_lies_before_or_after_the_stamp() {
        // 2 GHz, as above.
        let at = |ticks, stamp| time_at(ticks, stamp, 5_000, 1 << 31, -1);
        assert_eq!(at(14_000, 10_000), 6_000);
        assert_eq!(at(6_000, 10_000), 4_000);
        assert_eq!(at(10_000, 10_000), 5_000);
        // The domain's counter began at zero after the stamp was taken.
        assert_eq!(at(1_000, 1_000_u64.wrapping_sub(4_000)), 6_000);
        // Before the clock began.
        assert_eq!(at(0, 1 << 40), 0);
    }
}
