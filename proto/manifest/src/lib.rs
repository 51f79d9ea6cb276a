//! The table that says which domains exist and how they are wired, and the archive that carries it.
//!
//! A board is described by TOML files (`board-support/boards`). The host tool reads them with
//! [`board`] (feature `std`), checks them and compiles them, together with the SHA-256 of each
//! image, into a [`table::Table`]. Table, images and provisioning files travel to the device in one
//! [`archive`]. There, dom0 builds each domain that the table names and hands it a
//! [`wiring::Wiring`]: which pages, ports and devices are its own.
//!
//! Nothing here does I/O but [`board`], which reads files. The decoders trust nothing: archive,
//! table and wiring are checked whole before anything of them is used. Tested on the host, with
//! archives made by another implementation and with random bytes.

#![no_std]
#![forbid(unsafe_code)]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(any(feature = "std", test))]
extern crate std;

pub mod archive;
#[cfg(feature = "std")]
pub mod board;
pub mod name;
pub mod stamp;
pub mod table;
pub mod wiring;
