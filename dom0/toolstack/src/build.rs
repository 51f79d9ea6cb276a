//! From an image to what stands in a new domain's memory.

use proto_xen::{Gfn, PAGE_SHIFT, arch_arm};

pub mod arm;
pub mod context;
mod dtb;
pub mod elf;
pub mod layout;
pub mod pvh;

/// How domains of the machine are started. A value and no condition of the build, so that both are
/// tested on any host.
#[derive(Debug, Clone, Copy)]
pub enum Platform {
    /// As PVH guests.
    X86 {
        /// `CPUID[1].eax` of the machine.
        signature: u32,
    },
    /// At EL1 with a device tree, as a Linux image.
    Arm {
        /// Where random numbers come from that a domain is given: a new one each time, or none.
        seeds: fn() -> Option<Seed>,
    },
}

/// Random bytes for a domain.
pub type Seed = [u8; 32];

impl Platform {
    /// The first frame of a domain's memory.
    #[must_use]
    pub fn memory_base(self) -> Gfn {
        match self {
            Self::X86 { .. } => Gfn(0),
            Self::Arm { .. } => Gfn(arch_arm::RAM_BASE >> PAGE_SHIFT),
        }
    }

    /// The first frame for pages of registers that no bus tells of. There is nothing else of a domain: BARs and the
    /// interrupt controller are elsewhere, and so is memory.
    #[must_use]
    pub fn registers(self) -> Gfn {
        match self {
            Self::X86 { .. } => Gfn(0xfed4_0000 >> PAGE_SHIFT),
            Self::Arm { .. } => Gfn(0x0c00_0000 >> PAGE_SHIFT),
        }
    }

    /// Pages of the start info.
    #[must_use]
    pub fn start_info_pages(self) -> u64 {
        match self {
            Self::X86 { .. } => 1,
            // The longest command line, and a tree around it.
            Self::Arm { .. } => 2,
        }
    }
}
