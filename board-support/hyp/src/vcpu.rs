//! The one-shot timer of vCPU 0.

use proto_xen::{
    Errno, VcpuId,
    hypercall::Hypercall,
    vcpu::{SetSingleshotTimer, op},
};

use crate::call;

/// Has `VIRQ_TIMER` of `vcpu` raised at `deadline_ns` of Xen's system time, at once if that is past.
/// It replaces an earlier deadline.
///
/// # Errors
/// What Xen says.
pub fn set_timer(vcpu: VcpuId, deadline_ns: u64) -> Result<(), Errno> {
    let mut argument = SetSingleshotTimer { timeout_abs_ns: deadline_ns, flags: 0, padding: 0 };
    let address = core::ptr::from_mut(&mut argument) as u64;
    let args = [op::SET_SINGLESHOT_TIMER, vcpu.0.into(), address, 0, 0];
    // SAFETY: the operation takes a `SetSingleshotTimer` and touches no other memory.
    Errno::check(unsafe { call::raw(Hypercall::VcpuOp, args) }).map(drop)
}

/// Takes the deadline back.
///
/// # Errors
/// What Xen says.
pub fn stop_timer(vcpu: VcpuId) -> Result<(), Errno> {
    // SAFETY: the operation takes no structure.
    Errno::check(unsafe { call::raw(Hypercall::VcpuOp, [op::STOP_SINGLESHOT_TIMER, vcpu.0.into(), 0, 0, 0]) })
        .map(drop)
}

/// Stops the periodic timer that a new vCPU may have.
///
/// # Errors
/// What Xen says.
pub fn stop_periodic_timer(vcpu: VcpuId) -> Result<(), Errno> {
    // SAFETY: the operation takes no structure.
    Errno::check(unsafe { call::raw(Hypercall::VcpuOp, [op::STOP_PERIODIC_TIMER, vcpu.0.into(), 0, 0, 0]) })
        .map(drop)
}
