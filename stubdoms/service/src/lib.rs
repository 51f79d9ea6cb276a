//! What every service domain does first: reads its wiring, opens its channels, forwards its log.
//!
//! | module | what |
//! |---|---|
//! | [`channels`] | the wiring record, and the channels that it names |
//! | [`footing`] | what the tasks of a service stand on, and the lives of a client one after the other |
//! | [`supervision`] | the channel that every service has to dom0 |
//! | [`vif`] | having net connect a vif |
//! | `registers`, `disk` | the registers of a device of the domain's own; the disk, whatever its kind |
//! | `domain` | both, on the real Xen and runtime: what a binary calls |
//!
//! The shells are generic over Xen and the runtime, so that they run in a domain and, in `tests/fleet`, on the
//! host with others in one process. A wiring record that cannot be used is dom0's mistake, so it ends the
//! domain with a line that says why.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod channels;
#[cfg(target_os = "none")]
pub mod disk;
#[cfg(target_os = "none")]
mod domain;
pub mod footing;
#[cfg(target_os = "none")]
pub mod registers;
pub mod supervision;
pub mod vif;

pub use board_support_pv::channel::peers::{Peers, Tie};
pub use channels::{park, peers};
#[cfg(target_os = "none")]
pub use domain::{
    Accepted, Device, Offered, Owned, Port, accept, offer, open_dom0, read_wiring, ready, supervise,
};
