//! The ends of Xen devices and of the channels between our domains.
//!
//! A device here is a shell around a machine of `proto/ring` and a format of `proto/io`: it owns the granted
//! or mapped page and the port, moves payload, and turns a peer's fault into an end of that device. It is
//! generic over the traits of `hyp` and knows no runtime: whoever waits brings a [`Wait`], which on the
//! device is `rt` and in tests is a fake.
//!
//! | module | what it is |
//! |---|---|
//! | [`channel`] | typed messages (`proto/svc`) between two of our domains |
//! | [`console`] | the ends of a Xen console |
//! | [`net`] | netfront and netback |
//! | [`port`] | event channel ports that close themselves |
//! | [`grant`] | granted pages that end themselves, and the park for those that a peer still maps |
//!
//! What it trusts: Xen, by way of `hyp`. Peers are trusted with nothing; a peer's fault ends its device and
//! nothing else.
//!
//! How it is tested: on the host, with both ends in one process on a fake Xen that is stricter than the real
//! one (`tests/fakexen`).
//!
//! [`Wait`]: board_support_hyp::Wait

#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod channel;
pub mod console;
#[cfg(test)]
mod fake;
pub mod grant;
pub mod net;
pub mod port;
