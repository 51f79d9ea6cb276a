//! x86_64, started as PVH.

pub mod cache;
pub mod clock;
mod cpu;
pub mod debug_port;
mod entry;
pub mod idle;
pub mod interrupts;
pub mod paging;
pub mod pci;
pub mod power;
pub mod random;
mod segments;
pub mod start;
pub mod timer;
pub(crate) mod trap;
pub mod vcpu;
