//! aarch64: Xen as a domain's firmware starts and stops vCPUs, by PSCI. Source: Arm DEN 0022, 5.1 and 5.2.

use proto_xen::{VcpuId, arch_arm::affinity};

use super::StartError;
use crate::call;

const CPU_OFF: u32 = 0x8400_0002;
const CPU_ON: u32 = 0xc400_0003;
const AFFINITY_INFO: u32 = 0xc400_0004;

const SUCCESS: i64 = 0;
const INVALID_PARAMETERS: i64 = -2;
const ALREADY_ON: i64 = -4;
/// Of `AFFINITY_INFO`.
const ON: i64 = 0;

/// Starts `vcpu`, which does not run, at the guest address `entry` with MMU and caches off and `argument` in `x0`.
///
/// # Errors
/// [`StartError`].
///
/// # Safety
/// 1. What runs there breaks nothing that Rust relies on here: it is code that is there for as long as the vCPU runs,
///    on a stack and with page tables that are its own or shared for good.
/// 2. What it reads before its caches are on was written back to memory.
pub unsafe fn start(vcpu: VcpuId, entry: u64, argument: u64) -> Result<(), StartError> {
    // SAFETY: what it starts is the caller's.
    match unsafe { call::psci(CPU_ON, [affinity(vcpu).into(), entry, argument]) } {
        SUCCESS => Ok(()),
        INVALID_PARAMETERS => Err(StartError::Absent),
        ALREADY_ON => Err(StartError::Started),
        code => Err(StartError::Refused(code)),
    }
}

/// Stops the vCPU that calls; it comes back only if that is refused.
pub fn stop() {
    // SAFETY: it ends this vCPU and touches nothing else.
    unsafe { call::psci(CPU_OFF, [0; 3]) };
}

/// Whether `vcpu` was started and has not stopped; not, if there is no such vCPU.
#[must_use]
pub fn is_up(vcpu: VcpuId) -> bool {
    // SAFETY: a question changes nothing. The last argument is the level: this vCPU alone.
    unsafe { call::psci(AFFINITY_INFO, [affinity(vcpu).into(), 0, 0]) == ON }
}
