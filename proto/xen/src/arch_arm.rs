//! What a domain on Arm finds where, and how its vCPU starts. Source: `arch-arm.h`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::VcpuId;

/// What a domain says with `hvc` to mean Xen: `XEN_HYPERCALL_TAG`.
pub const HYPERCALL_TAG: u16 = 0xea1;

/// Guest address of a domain's RAM: `GUEST_RAM0_BASE`.
pub const RAM_BASE: u64 = 0x4000_0000;
/// Guest address at which frames are left for a grant table: `GUEST_GNTTAB_BASE`.
pub const GRANT_TABLE_BASE: u64 = 0x3800_0000;
/// Bytes there: `GUEST_GNTTAB_SIZE`.
pub const GRANT_TABLE_SIZE: u64 = 0x0100_0000;
/// Registers of the interrupt controller's distributor: `GUEST_GICV3_GICD_BASE`.
pub const GICD_BASE: u64 = 0x0300_1000;
/// Bytes there: `GUEST_GICV3_GICD_SIZE`.
pub const GICD_SIZE: u64 = 0x0001_0000;
/// Registers of its redistributors: `GUEST_GICV3_GICR0_BASE`.
pub const GICR_BASE: u64 = 0x0302_0000;
/// Bytes there: `GUEST_GICV3_GICR0_SIZE`.
pub const GICR_SIZE: u64 = 0x0100_0000;

/// Interrupt of the virtual timer, as an INTID: `GUEST_TIMER_VIRT_PPI`.
pub const TIMER_VIRT_PPI: u32 = 27;
/// Interrupt of the timer of the non-secure world: `GUEST_TIMER_PHYS_NS_PPI`.
pub const TIMER_PHYS_NS_PPI: u32 = 30;
/// Interrupt of the timer of the secure world: `GUEST_TIMER_PHYS_S_PPI`.
pub const TIMER_PHYS_S_PPI: u32 = 29;
/// Interrupt by which an event channel is told: `GUEST_EVTCHN_PPI`.
pub const EVTCHN_PPI: u32 = 31;

/// The vCPU takes part: `VGCF_online`.
pub const VGCF_ONLINE: u32 = 1;
/// EL1 with its own stack pointer, all exceptions masked: `PSR_GUEST64_INIT`.
pub const PSR_GUEST64_INIT: u64 = 0x3c5;
/// MMU and caches off: `SCTLR_GUEST_INIT`.
pub const SCTLR_GUEST_INIT: u64 = 0x00c5_0078;

/// What names a vCPU in the device tree, to PSCI and in its MPIDR_EL1: 16 share what is above the lowest byte.
/// Source: `vcpuid_to_vaffinity` in Xen's `arch/arm/include/asm/domain.h`.
#[must_use]
pub const fn affinity(vcpu: VcpuId) -> u32 {
    vcpu.0 & 0xf | (vcpu.0 >> 4 & 0xff) << 8
}

/// Whose MPIDR_EL1 this is.
#[must_use]
pub const fn vcpu_of(mpidr: u64) -> VcpuId {
    VcpuId(mpidr as u32 & 0xf | (mpidr as u32 >> 8 & 0xff) << 4)
}

/// `vcpu_guest_context`, with the names of a 64-bit vCPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct VcpuGuestContext {
    /// [`VGCF_ONLINE`].
    pub flags: u32,
    /// Not used.
    pub padding: u32,
    /// `x0`.
    pub x0: u64,
    /// `x1` to `x30`.
    pub x1_to_x30: [u64; 30],
    /// The first instruction.
    pub pc: u64,
    /// The processor's state.
    pub cpsr: u64,
    /// Saved state of EL1.
    pub spsr_el1: u64,
    /// Saved state of a 32-bit mode: fast interrupts.
    pub spsr_fiq: u32,
    /// As above: interrupts.
    pub spsr_irq: u32,
    /// As above: undefined instructions.
    pub spsr_und: u32,
    /// As above: aborts.
    pub spsr_abt: u32,
    /// Stack pointer of EL0.
    pub sp_el0: u64,
    /// Stack pointer of EL1.
    pub sp_el1: u64,
    /// Return address of EL1.
    pub elr_el1: u64,
    /// SCTLR_EL1.
    pub sctlr: u64,
    /// TCR_EL1.
    pub ttbcr: u64,
    /// TTBR0_EL1.
    pub ttbr0: u64,
    /// TTBR1_EL1.
    pub ttbr1: u64,
}

const _: () = assert!(size_of::<VcpuGuestContext>() == 352);
const _: () = assert!(core::mem::offset_of!(VcpuGuestContext, pc) == 256);
const _: () = assert!(core::mem::offset_of!(VcpuGuestContext, sctlr) == 320);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_vcpus_share_an_affinity_above_the_lowest_byte() {
        let told = [0, 1, 15, 16, 127].map(|vcpu| affinity(VcpuId(vcpu)));
        assert_eq!(told, [0, 1, 0xf, 0x100, 0x70f]);
        // MPIDR_EL1 has a bit set that is part of no number.
        let back = told.map(|affinity| vcpu_of(1 << 31 | u64::from(affinity)).0);
        assert_eq!(back, [0, 1, 15, 16, 127]);
    }
}
