//! What every service domain does first: reads its wiring, opens its channels, forwards its log.
//!
//! A thin shell that only runs in a domain; what it joins is tested in the packages below it. A wiring
//! record that cannot be used is dom0's mistake, so it ends the domain with a line that says why.

#![no_std]
#![forbid(unsafe_code)]

#[cfg(target_os = "none")]
extern crate alloc;

#[cfg(target_os = "none")]
mod channels;
#[cfg(target_os = "none")]
mod supervision;

#[cfg(target_os = "none")]
pub use board_support_pv::channel::peers::{Peers, Tie};
#[cfg(target_os = "none")]
pub use channels::{Accepted, Offered, Owned, Port, accept, offer, open_dom0, park, peers, read_wiring};
#[cfg(target_os = "none")]
pub use supervision::{ready, supervise};
