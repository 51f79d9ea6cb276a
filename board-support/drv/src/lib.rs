//! Device drivers and their register blocks.
//!
//! | module | what it owns |
//! |---|---|
//! | [`mmio`] | the step from mapped words to a register block (unsafe) |
//! | [`dma`] | copying frames and records to and from memory that a device writes |
//! | [`block`] | disks: what they have in common, and a fake |
//! | [`nvme`] | disks that speak NVM Express |
//! | [`nic`] | network cards: what they have in common, and [`nic::e1000e`] |
//! | [`tpm`] | a TPM's two interfaces, commands in and answers out |
//! | [`virtio`] | virtio devices: their transport, their queues, and the card [`virtio::net`] |
//! | [`watchdog`] | what resets the machine when it is not fed (unsafe: I/O ports) |
//!
//! A driver is a machine over two traits: one for the device's registers, which a fake implements in
//! the tests, and [`dma::DevicePages`] for memory that the device reads and writes. It neither waits nor
//! allocates after start. Which interrupt means what is told by its methods; waiting for interrupts is
//! the shell's.
//!
//! Trust: the device may be broken or hostile. What it writes into memory is copied once and checked;
//! what contradicts itself is a fault, after which the device is reset. The IOMMU keeps it out of
//! other domains; nothing keeps it out of this domain's own memory. Without an IOMMU nothing keeps it out
//! of anything: the drivers tell it of no memory but its own.

#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod block;
pub mod dma;
pub mod mmio;
pub mod nic;
pub mod nvme;
pub mod order;
#[cfg(test)]
mod ram;
pub mod tpm;
pub mod virtio;
pub mod watchdog;
