//! The logic of the storage domain: the state store, the slot that does not run, and who may ask for what.
//!
//! ```text
//!   control --`storage`--> clients::control --> slots ---> partition table, the slot that does not run, ESPs
//!                                  |                                                   |
//!   vault  <--`sealing`--> clients::sealing --> store ---> partition P3 ------------- disk
//! ```
//!
//! | module | what it owns |
//! |---|---|
//! | [`clients`] | the channels: a request to its answer; vault's key |
//! | [`store`] | named values, encrypted, each replaced as a whole or not at all |
//! | [`slots`] | filling, checking and arming of the slot that does not run; the selectors |
//! | [`partitions`] | the partition table in two copies, on the disk |
//! | [`disk`] | windows on the disk: no part reaches the blocks of another |
//! | [`turns`] | a thing that several tasks use, in turn |
//!
//! It stands on the trait of a disk of `board-support/drv` and on `proto` packages. It reads no clock and draws
//! no random numbers: what it needs comes as arguments, and the disk answers when it does.
//!
//! Trust: none. Control may be taken over, and may then keep and read its own values, fill the other slot with
//! what was signed for this machine and is newer, have the selectors replaced by those that came with it or with
//! what runs, and nothing else. Whoever writes the disk can take away what is
//! stored and set all of it back to an earlier moment, but can neither read nor change it. A disk is believed
//! what it reads only where a checksum or a signature says the same.
//!
//! Tested on the host with a disk whose power is cut at every write: blocks that were not made durable are there
//! or not, in every order, or torn (`tests/power_cut`); with bits flipped all over the disk; with a table of what
//! a control that was taken over may try.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod clients;
pub mod disk;
#[cfg(any(feature = "fuzz", test))]
pub mod fuzz;
pub mod partitions;
pub mod slots;
pub mod store;
pub mod turns;
