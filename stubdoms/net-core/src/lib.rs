//! The logic of the net domain: the uplink with its lease, address translation, and the way of a
//! frame from one port to another.
//!
//! ```text
//!            vif 0, vif 1 …            Forwarder                     uplink
//!   guest ── frame ──► anti-spoof ──► rules ──► Nat ──► Neighbors ──► frame ── wire
//!         ◄── frame ──────────────────────────── Nat ◄── for us? ◄─── frame
//!                                                        └► Uplink (smoltcp: ARP, DHCP, echo)
//! ```
//!
//! | module | what it owns |
//! |---|---|
//! | [`forward`] | the machine that joins the others; what the domain's shell talks to |
//! | [`uplink`] | our own address on the wire: DHCP client, lease, carrier |
//! | [`nat`], [`conntrack`] | who talks to whom, and under which port of ours |
//! | [`neighbor`] | hardware addresses of the next hops |
//! | [`vif`] | one guest: what it may send, and what the gateway answers it |
//! | [`packet`], [`arp`], [`checksum`], [`reply`] | bytes to checked values and back |
//! | [`counters`] | what went through, what was dropped and why |
//!
//! It stands above nothing of ours and uses `smoltcp` for the uplink's own address. It is pure: frames
//! and the time come in as arguments, frames go out through [`forward::Egress`]. All memory is taken
//! when a [`forward::Forwarder`] is made; afterwards a full table or queue drops the packet and counts it.
//!
//! Trust: none. Guests and the wire may send any bytes at any time. Fragments and packets with IP
//! options are dropped, never reassembled or obeyed.
//!
//! Tested on the host: packets made by an independent program (`src/nat/golden.py`), properties
//! of every translation (checksums recomputed in full, way back restores), a table of hostile frames,
//! and a DHCP server played by the test.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod arp;
pub mod checksum;
pub mod conntrack;
pub mod counters;
pub mod forward;
pub mod nat;
pub mod neighbor;
pub mod packet;
pub mod reply;
pub mod uplink;
pub mod vif;

pub use core::net::Ipv4Addr;
pub use smoltcp::time::{Duration, Instant};
pub use smoltcp::wire::{EthernetAddress as Mac, Ipv4Cidr};

/// Longest frame that a port takes, in bytes, without the frame check sequence.
pub const MAX_FRAME: usize = 1514;

/// Largest IP packet in bytes on either side.
pub const MTU: u16 = 1500;
