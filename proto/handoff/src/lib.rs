//! What the selector leaves for dom0: which slot was started, and why.
//!
//! | module | what |
//! |---|---|
//! | [`record`] | the record: slot, reason, what was refused, hashes, watchdog |
//! | [`acpi`] | the table `OEM1` that carries it on x86_64 |
//! | [`kept`] | what a life of the machine leaves for the next one in memory |
//! | [`measurement`] | what was measured of the start, and where the firmware's log ends |
//! | [`provisioning`] | the files of the config partition: what is measured of them, and which are a pair |
//! | [`tree`] | the device tree with which Xen starts on aarch64; the record is a property of it |
//!
//! Trust: nothing protects the record on its way but the machine's own memory, and firmware could lie
//! in it. dom0 reports what it says, and decides nothing by it that a TPM does not confirm. The parser takes
//! any bytes. Tested on the host, with every bit flipped.

#![no_std]
#![forbid(unsafe_code)]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod acpi;
pub mod kept;
pub mod measurement;
#[cfg(feature = "alloc")]
pub mod provisioning;
pub mod record;
#[cfg(feature = "tree")]
pub mod tree;

pub use record::{Handoff, HandoffError};
