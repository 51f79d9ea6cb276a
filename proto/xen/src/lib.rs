//! The Xen ABI as this system uses it: identifiers, numbers and structures of Xen's public headers.
//!
//! Nothing here traps into Xen (that is `board-support/hyp`) and nothing is unsafe: the structures
//! are plain `repr(C)` values whose sizes are asserted. Numbers are cited by the header that defines
//! them; the interface is that of Xen 4.20 (domctl version 0x17, sysctl version 0x15).
//!
//! Tested on the host: sizes and offsets at compile time, conversions by unit tests.

#![no_std]
#![forbid(unsafe_code)]

pub mod arch_arm;
pub mod cpuid;
pub mod domctl;
pub mod errno;
pub mod event_channel;
pub mod frame;
pub mod grant_table;
pub mod hvm;
pub mod hvm_vcpu;
pub mod hypercall;
pub mod ids;
pub mod memory;
pub mod physdev;
pub mod platform;
pub mod sched;
pub mod shared_info;
pub mod start_info;
pub mod sysctl;
pub mod vcpu;

pub use errno::Errno;
pub use frame::{Dfn, Gaddr, Gfn, Maddr, Mfn, PAGE_SHIFT, PAGE_SIZE, Pfn};
pub use ids::{DomId, Gref, Pirq, Port, Sbdf, VcpuId, Virq};
