//! Xen's system time from the processor's counter.

use core::arch::asm;

use crate::{
    scale::{nanoseconds, time_at},
    shared_info::SharedInfo,
};

/// Nanoseconds since power-on, the same clock in every domain.
#[must_use]
pub fn now_ns(shared: &SharedInfo) -> u64 {
    let time = shared.vcpu_time();
    // The guest's counter starts at zero when the domain is built, so the last update may lie before
    // that: a wrapped number. Truly later than now, by the difference of two processors' counters, it
    // is by little only, and counts as now.
    let passed = (ticks().wrapping_sub(time.tsc_timestamp) as i64).max(0) as u64;
    time.system_time.wrapping_add(nanoseconds(passed, time.multiplier, time.shift))
}

/// What the wall clock that Xen tells a domain goes with, in nanoseconds since power-on: power-on itself.
#[must_use]
pub fn wall_clock_begin_ns() -> u64 {
    0
}

/// The time at which this processor's counter stood at `ticks`: nanoseconds since power-on.
#[must_use]
pub fn at_ns(shared: &SharedInfo, ticks: u64) -> u64 {
    let time = shared.vcpu_time();
    time_at(ticks, time.tsc_timestamp, time.system_time, time.multiplier, time.shift)
}

/// The time stamp counter, read after everything before it is done.
#[must_use]
pub fn ticks() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY:
    // 1. Reading the counter has no effect; the fence keeps the read in its place.
    unsafe { asm!("lfence", "rdtsc", out("eax") low, out("edx") high, options(nostack, preserves_flags)) };
    u64::from(high) << 32 | u64::from(low)
}
