//! The one-shot timer: the virtual timer of the architecture.

use proto_xen::Errno;

use super::{clock, system};
use crate::shared_info::SharedInfo;

/// The interrupt by which the timer fires. Source: `arch-arm.h`, `GUEST_TIMER_VIRT_PPI`.
pub const VECTOR: Option<u32> = Some(INTID);
pub(super) const INTID: u32 = 27;

/// Enabled, not masked.
const ENABLE: u64 = 1;

/// Has the timer fire at `deadline_ns`, at once if that is past. It replaces the last deadline.
///
/// # Errors
/// None.
pub fn set(shared: &SharedInfo, deadline_ns: u64) -> Result<(), Errno> {
    let wait_ns = deadline_ns.saturating_sub(clock::now_ns(shared));
    // Rounded up, so that it does not fire early.
    let wait = (u128::from(wait_ns) * u128::from(clock::frequency())).div_ceil(1_000_000_000);
    let wait = u64::try_from(wait).unwrap_or(u64::MAX / 2).min(u64::MAX / 2);
    // CNTV counts with an offset of its own, so the deadline is told relative to its value now.
    system::write!("cntv_cval_el0", system::read!("cntvct_el0").saturating_add(wait));
    system::write!("cntv_ctl_el0", ENABLE);
    Ok(())
}

/// Takes the interrupt's cause away: it is raised for as long as the timer is on.
pub(super) fn stop() {
    system::write!("cntv_ctl_el0", 0);
}
