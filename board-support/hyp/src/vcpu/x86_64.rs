//! x86_64: vCPU operations.

use proto_xen::{Errno, VcpuId, hvm_vcpu::HvmContext, hypercall::Hypercall, vcpu::op};

use super::StartError;
use crate::call;

/// Starts `vcpu`, which has not run yet, in the state `context`.
///
/// # Errors
/// [`StartError`].
///
/// # Safety
/// 1. What runs in that state breaks nothing that Rust relies on here: it is code that is there for as long as the
///    vCPU runs, on a stack and with page tables that are its own or shared for good.
pub unsafe fn start(vcpu: VcpuId, context: &HvmContext) -> Result<(), StartError> {
    let address = core::ptr::from_ref(context) as u64;
    // SAFETY: the operation reads an `HvmContext` and touches no other memory; what it starts is the caller's.
    let initialised = unsafe { call::raw(Hypercall::VcpuOp, [op::INITIALISE, vcpu.0.into(), address, 0, 0]) };
    match Errno::check(initialised) {
        Ok(_) => {}
        Err(Errno::ENOENT) => return Err(StartError::Absent),
        Err(Errno::EEXIST) => return Err(StartError::Started),
        Err(errno) => return Err(StartError::Refused(errno.0.into())),
    }
    plain(op::UP, vcpu).map(drop).map_err(|errno| StartError::Refused(errno.0.into()))
}

/// Stops `vcpu`. If it is the one that calls, this returns when somebody lets it run again.
///
/// # Errors
/// What Xen says.
pub fn stop(vcpu: VcpuId) -> Result<(), Errno> {
    plain(op::DOWN, vcpu).map(drop)
}

/// Whether `vcpu` was started and has not stopped.
///
/// # Errors
/// What Xen says: `ENOENT` if there is no such vCPU.
pub fn is_up(vcpu: VcpuId) -> Result<bool, Errno> {
    plain(op::IS_UP, vcpu).map(|up| up != 0)
}

fn plain(operation: u64, vcpu: VcpuId) -> Result<u64, Errno> {
    // SAFETY: the operation takes no structure.
    Errno::check(unsafe { call::raw(Hypercall::VcpuOp, [operation, vcpu.0.into(), 0, 0, 0]) })
}
