//! Disks that speak NVM Express, on PCI.
//!
//! | module | what is in it |
//! |---|---|
//! | [`regs`] | the registers of a controller |
//! | [`queue`] | a pair of rings: commands for it, completions from it |
//! | [`identify`] | what it says of itself and of its namespace |
//! | [`status`] | what its refusals mean |
//! | [`block`] | the driver |
//!
//! One controller, its namespace 1, one pair of queues for blocks beside the one for administration, one
//! interrupt for both.
//!
//! Trust: none in the controller. It may write completions, buffers and its registers as it likes; the IOMMU
//! keeps it to the pages that it was told of and the rest of this domain's memory. A completion is copied once
//! and checked against what was given.
//!
//! Source: NVM Express Base Specification, revision 1.4; "the specification" below.

pub mod block;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
pub mod identify;
pub mod queue;
pub mod regs;
pub mod status;
