//! The one-shot timer of vCPU 0; starting and stopping the others, which has its own way on each architecture.

#[cfg(all(target_arch = "aarch64", target_os = "none"))]
mod aarch64;
#[cfg(all(target_arch = "x86_64", target_os = "none"))]
mod x86_64;

#[cfg(all(target_arch = "aarch64", target_os = "none"))]
pub use aarch64::{is_up, start, stop};
#[cfg(all(target_arch = "x86_64", target_os = "none"))]
pub use x86_64::{is_up, start, stop};

use core::fmt;

use proto_xen::{
    Errno, VcpuId,
    hypercall::Hypercall,
    vcpu::{SetSingleshotTimer, op},
};

use crate::call;

/// Why a vCPU was not started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartError {
    /// The domain has no such vCPU.
    Absent,
    /// It runs, or, on x86_64, has run: there each is started once.
    Started,
    /// Whatever else Xen says: an errno on x86_64, a code of PSCI on aarch64.
    Refused(i64),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("there is no such vCPU"),
            Self::Started => f.write_str("the vCPU is started already"),
            Self::Refused(code) => write!(f, "Xen refuses to start the vCPU: {code}"),
        }
    }
}

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
