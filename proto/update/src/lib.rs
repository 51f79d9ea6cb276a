//! Updates: what a slot holds, how it travels, and which of two versions is the later one.
//!
//! [`manifest`] has the format of a slot, for all who read it (the selector before it starts a slot; the storage
//! domain before it arms one) and for the host tool, which makes it. [`payload`] is the same for the way from the
//! controller, [`version`] the order of versions. [`machine`] is the update itself, and [`selector`] replaces what picks
//! the slots. Pure.
//!
//! Trust: whoever can write to the disk, or is asked for an update, writes these bytes. Nothing of a header
//! is believed before its signature was checked, and nothing of the parts before their hash.

#![no_std]
#![forbid(unsafe_code)]

#[cfg(any(feature = "alloc", feature = "payload", test))]
extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod machine;
pub mod manifest;
#[cfg(any(feature = "payload", test))]
pub mod payload;
pub mod selector;
pub mod trust;
pub mod version;
