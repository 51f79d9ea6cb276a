//! aarch64, started as a Linux image at EL1.

pub mod cache;
pub mod clock;
pub mod debug_port;
mod entry;
mod gic;
pub mod idle;
pub mod interrupts;
pub mod paging;
pub mod pci;
pub mod power;
pub mod random;
pub mod start;
mod system;
pub mod timer;
pub mod vcpu;
pub(crate) mod vectors;
