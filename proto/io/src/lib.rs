//! Device protocols as in Xen's `io/`: netif and console.
//!
//! What it is for: the bytes in the slots of `proto/ring`, turned into values that cannot hold nonsense, and
//! back. A *raw* struct mirrors the bytes in the order and endianness of the machine, as Xen's ABI has them; a
//! value is what the code behind the edge uses.
//!
//! | module | what it is |
//! |---|---|
//! | [`console`] | the two streams of a Xen console, and lines out of bytes |
//! | [`netif`] | requests, responses and extra info of a network interface, and packets out of slots |
//!
//! What it trusts: nothing. Every value may come from a hostile peer.
//!
//! How it is tested: numbers and bytes pinned against Xen's headers, round trips, tables of bad chains,
//! random slots.

#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod console;
pub mod netif;
