//! What a slot holds: its header, signed, and the parts behind it.
//!
//! [`manifest`] has the format, for all who read it (the selector before it starts a slot; later the storage
//! domain before it arms one) and for the host tool, which makes it. Pure.
//!
//! Trust: whoever can write to the disk, or is asked for an update, writes these bytes. Nothing of a header
//! is believed before its signature was checked, and nothing of the parts before their hash.

#![no_std]
#![forbid(unsafe_code)]

#[cfg(any(feature = "alloc", test))]
extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod manifest;
