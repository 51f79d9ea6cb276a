//! PCI functions for driver domains.
//!
//! dom0 keeps configuration space for ever; a driver domain gets registers (BARs), interrupts and
//! DMA behind the IOMMU. The order of the steps matters and mostly fails silently when it is wrong;
//! [`passthrough`] tells it.

mod config;
mod error;
mod function;
mod passthrough;
mod reset;

pub use config::{ConfigSpace, find};
pub use error::{DeviceStep, PciError};
pub use function::{Bar, Function, MAX_WINDOWS, Msix, Places, Window};
pub use passthrough::{Held, Passthrough};
