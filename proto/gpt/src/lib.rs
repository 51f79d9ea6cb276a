//! The partition table in two copies, and the slot to start from in its attributes.
//!
//! | module | what |
//! |---|---|
//! | [`copy`] | one copy of the table: header and entries, read and checked |
//! | [`partition`] | an entry of the table |
//! | [`table`] | both copies compared: which one counts, what has to be repaired, in which order it is written |
//! | [`slots`] | the two slots of the system: priority, tries, successful; which one is started |
//!
//! A disk has the table at its start and once more at its end. A change is written to the copy at the end
//! first, and the copy at the start is not touched before that one is on the disk: whenever the power goes,
//! one copy is whole, and what it says is either what was or what is to be.
//!
//! Nothing here does I/O: who reads the disk hands over bytes, and who writes it gets [`table::Step`]s to
//! carry out in their order. The selector, the storage domain, the tests and the host tool share it. Trust:
//! whoever can write the disk can choose a slot, and nothing more: a slot is signed. Tested on the host with
//! tables made by another implementation, with every bit flipped, and with the power cut at every write.
//!
//! Source: UEFI 2.10, section 5.3 (GUID Partition Table).

#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod copy;
pub mod partition;
pub mod slots;
pub mod table;

pub use gpt_disk_types::{Guid, guid};

/// Bytes of an entry. The specification allows larger ones; nobody makes them.
pub const ENTRY_BYTES: usize = 128;
/// The most entries that are read: as many as everybody makes.
pub const MAX_ENTRIES: usize = 128;
/// Bytes of the longest array of entries.
pub const MAX_ENTRIES_BYTES: usize = ENTRY_BYTES * MAX_ENTRIES;
/// Bytes of a header; the rest of its block is zero.
pub const HEADER_BYTES: usize = 92;
