//! The tasks of the domain that talks with the controller: they join the device agent with the way out and with
//! dom0.
//!
//! | module | task |
//! |---|---|
//! | `work` | carries out what the agent wants next |
//! | `fetching` | one exchange over HTTP each: requests, downloads |
//! | `device` | the channel to dom0: applications, consoles, usage, logs |
//! | `storage` | the channel to storage: values, the slot that does not run |
//! | `vault` | the channel to vault: signatures, quotes, the storage's key |
//! | `link`, `vif` | the channel to net, the vif and the TCP/IP stack on it |
//!
//! The other modules hold what these share. Nothing is decided here: that is `stubdoms/agent`'s.
//!
//! All is generic over [`System`], which is Xen, the runtime and what a domain has beside them: the binary
//! (`stubdoms/control`) gives the real one, `tests/fleet` another.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod brain;
mod clock;
mod contents;
mod device;
mod fetching;
mod link;
mod provision;
mod storage;
mod system;
mod vault;
mod vif;
mod web;
mod work;

pub use system::System;
pub use vault::SIGN_WITHIN;
pub use work::{Start, main};
