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

#[cfg(test)]
mod tests {
    use super::nanoseconds;

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
}
