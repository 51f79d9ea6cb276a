//! vCPUs beside the first, which is the only one of our domains: tests start them.

use core::{
    arch::global_asm,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

use board_support_hyp::vcpu::{self, StartError};
use proto_xen::{VcpuId, arch_arm};

use super::{cache, paging, system};

// As at the entry of the image MMU and caches are off. x0 leads to an `Origin`, whose end is that of the stack.
// Translation is that of the first vCPU, whose tables do not change under what this one uses.
global_asm!(
    r#"
.section .text.another_vcpu, "ax", @progbits
    .balign 16
.globl __another_vcpu
__another_vcpu:
    msr     daifset, #15
    mov     x1, #(3 << 20)          /* vector registers may be used: FPEN */
    msr     cpacr_el1, x1
    ldr     x1, ={mair}
    msr     mair_el1, x1
    ldr     x1, ={tcr}
    msr     tcr_el1, x1
    ldp     x1, x2, [x0]            /* TTBR0_EL1, SCTLR_EL1 */
    msr     ttbr0_el1, x1
    isb
    tlbi    vmalle1
    dsb     nsh
    isb
    msr     sctlr_el1, x2
    isb
    mov     sp, x0
    ldp     x1, x0, [x0, #16]       /* where to go, and with what */
    mov     x29, xzr
    mov     x30, xzr
    br      x1
    .ltorg
.text
"#,
    mair = const paging::MAIR,
    tcr = const paging::TCR,
);

unsafe extern "C" {
    safe static __another_vcpu: u8;
}

/// What a vCPU takes along: four registers, the lower half of each first.
type Origin = [AtomicU32; 8];

/// Has `vcpu` call `entry` with `argument`, on the stack that ends at `stack`, with our page tables. Interrupts are masked
/// there, and nobody is told of a fault.
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
    let at = stack - size_of::<Origin>() as u64;
    // SAFETY:
    // 1. Aligned, mapped, and for the vCPU alone, which does not run yet: what the caller owes.
    let origin = unsafe { &*core::ptr::with_exposed_provenance::<Origin>(at as usize) };
    let (tables, control) = (system::read!("ttbr0_el1"), system::read!("sctlr_el1"));
    for (words, value) in origin.chunks(2).zip([tables, control, entry as usize as u64, argument]) {
        for (word, half) in words.iter().zip([value as u32, (value >> 32) as u32]) {
            word.store(half, Relaxed);
        }
    }
    cache::write_back(origin);
    // SAFETY:
    // 1. The code is the image's, and the page tables are those that we use for ever; stack and code are what the caller
    //    vouches for.
    // 2. That is `origin`, which was; the code was written before the image was started, which began without caches, too.
    unsafe { vcpu::start(vcpu, (&raw const __another_vcpu).addr() as u64, at) }
}

/// The vCPU that we are.
#[must_use]
pub fn own_number() -> VcpuId {
    arch_arm::vcpu_of(system::read!("mpidr_el1"))
}

/// Stops the vCPU that we are, for ever.
pub fn stop() -> ! {
    loop {
        // It returns if it was refused.
        vcpu::stop();
    }
}

/// Whether `vcpu` was started and has not stopped; not, if there is no such vCPU.
#[must_use]
pub fn is_up(vcpu: VcpuId) -> bool {
    vcpu::is_up(vcpu)
}
