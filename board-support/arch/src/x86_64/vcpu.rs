//! vCPUs beside the first, which is the only one of our domains: tests start them.

use core::arch::{asm, x86_64::__cpuid};

use board_support_hyp::vcpu::{self, StartError};
use proto_xen::{
    VcpuId,
    hvm_vcpu::{HvmContext, MODE_64B},
};

use super::cpu::read_msr;

/// EFER: whether the processor is in long mode, and what its page tables may say.
const EFER: u32 = 0xc000_0080;
/// The one flag that is always set: interrupts are masked.
const FLAGS: u64 = 1 << 1;

/// Has `vcpu` call `entry` with `argument`, on the stack that ends at `stack`, with our page tables. Interrupts are masked
/// there, and nobody is told of a fault: it ends the domain.
///
/// # Errors
/// [`StartError`].
///
/// # Safety
/// 1. `stack` is a multiple of 16, and the memory below it is the vCPU's alone, for ever and long enough.
/// 2. `entry` uses nothing that relies on there being one vCPU, such as critical sections.
pub unsafe fn start(
    vcpu: VcpuId,
    entry: extern "C" fn(u64) -> !,
    argument: u64,
    stack: u64,
) -> Result<(), StartError> {
    let (cr0, cr3, cr4): (u64, u64, u64);
    // SAFETY:
    // 1. Reading these registers changes nothing.
    unsafe {
        asm!("mov {}, cr0", "mov {}, cr3", "mov {}, cr4", out(reg) cr0, out(reg) cr3, out(reg) cr4,
             options(nomem, nostack, preserves_flags));
    }
    // SAFETY:
    // 1. Every processor that is in long mode has EFER.
    let efer = unsafe { read_msr(EFER) };
    let context = HvmContext {
        mode: MODE_64B,
        // As after a call: the return address, of which there is none, lies above a multiple of 16.
        rsp: stack - 8,
        rdi: argument,
        rip: entry as usize as u64,
        rflags: FLAGS,
        cr0,
        cr3,
        cr4,
        efer,
        ..HvmContext::default()
    };
    // SAFETY:
    // 1. The code is the image's, and the page tables are those that we use for ever; stack and code are what the caller
    //    vouches for.
    unsafe { vcpu::start(vcpu, &context) }
}

/// The vCPU that we are: Xen gives it twice its number as APIC ID.
#[must_use]
pub fn own_number() -> VcpuId {
    VcpuId(__cpuid(1).ebx >> 25)
}

/// Stops the vCPU that we are, for ever.
pub fn stop() -> ! {
    loop {
        // It returns if it was refused, or if somebody lets us run again.
        let _ = vcpu::stop(own_number());
    }
}

/// Whether `vcpu` was started and has not stopped; not, if there is no such vCPU.
#[must_use]
pub fn is_up(vcpu: VcpuId) -> bool {
    vcpu::is_up(vcpu).unwrap_or(false)
}
