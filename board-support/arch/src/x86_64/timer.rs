//! The one-shot timer: Xen's.

use board_support_hyp::vcpu;
use proto_xen::{Errno, VcpuId};

use crate::shared_info::SharedInfo;

/// The device interrupt by which the timer fires; here it is `VIRQ_TIMER`, an event channel.
pub const VECTOR: Option<u32> = None;

/// Has the timer fire at `deadline_ns` of Xen's system time, at once if that is past. It replaces the
/// last deadline.
///
/// # Errors
/// What Xen says.
pub fn set(_shared: &SharedInfo, deadline_ns: u64) -> Result<(), Errno> {
    vcpu::set_timer(VcpuId(0), deadline_ns)
}
