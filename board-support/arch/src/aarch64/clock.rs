//! The machine's one counter.

use super::system;
use crate::shared_info::SharedInfo;

/// Nanoseconds since power-on, the same clock in every domain: the physical counter has no offset.
#[must_use]
pub fn now_ns(_shared: &SharedInfo) -> u64 {
    to_ns(ticks())
}

/// When the domain was created, in nanoseconds since power-on: the wall clock that Xen tells a domain goes with its virtual
/// counter, which begins then.
#[must_use]
pub fn wall_clock_begin_ns() -> u64 {
    let physical = ticks();
    to_ns(physical.saturating_sub(system::read!("cntvct_el0")))
}

/// The time at which the counter stood at `ticks`: nanoseconds since power-on.
#[must_use]
pub fn at_ns(_shared: &SharedInfo, ticks: u64) -> u64 {
    to_ns(ticks)
}

/// CNTPCT_EL0, read after everything before it is done.
#[must_use]
pub fn ticks() -> u64 {
    // SAFETY:
    // 1. A barrier has no effect but order.
    unsafe { core::arch::asm!("isb", options(nostack, preserves_flags)) };
    system::read!("cntpct_el0")
}

/// Ticks a second.
pub(super) fn frequency() -> u64 {
    system::read!("cntfrq_el0").max(1)
}

fn to_ns(ticks: u64) -> u64 {
    (u128::from(ticks) * 1_000_000_000 / u128::from(frequency())) as u64
}
