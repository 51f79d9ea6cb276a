//! Builds, watches and destroys domains.
//!
//! Everything that dom0 does to other domains is here, generic over the traits of `hyp`, so that it
//! runs on the host against a fake Xen; the binary waits for events and calls it.
//!
//! | module | what |
//! |---|---|
//! | [`build`] | from an image to bytes, for x86 and Arm: ELF, memory layout, start info or device tree, CPU state |
//! | [`domain`], [`memory`] | a domain is created, gets memory and contents, runs, is destroyed |
//! | [`service`], [`wiring`] | the domains of the table, their channels |
//! | [`server`], [`request`], [`application`], [`outbox`], [`journal`] | domains that control asks for, within the table's limits; what it is told, and what is kept until it took it |
//! | [`pci`], [`acpi`] | handing a PCI function over and taking it back; where configuration space is |
//! | [`interface`] | whether Xen speaks the versions of its interfaces that we speak |
//! | [`transport`] | lending a virtio transport and dom0's memory for its DMA |
//! | [`registers`] | handing over a page of registers that no bus tells of, as a TPM's |
//! | [`tpm`] | whether the firmware tells of a TPM |
//! | [`measured`] | what is extended into a PCR before it runs |
//! | [`origin`], [`eventlog`] | how the machine came to be started; the log of what was measured |
//! | [`room`] | what of dom0's own memory is for images of applications |
//! | [`ramdisk`], [`image`] | the archive, the table in it, the hashes of images |
//! | [`drill`] | which service is ended on purpose next, and when |
//! | [`watch`], [`rest`] | deaths; whether a service sleeps and needs not be asked how it is |
//! | [`port`], [`line`], [`rate`], [`budget`] | dom0's own ports; what services log, and how much of it is shown; how much a domain may have dom0 take from it |
//!
//! What exists outside of dom0 is held by a guard that undoes it when dropped, in reverse order: a
//! step that fails leaves nothing behind.
//!
//! Trust: Xen, the table (whose hash is measured with dom0's image) and nothing else. Images are
//! checked before a domain is made for them; requests of control are checked against the table.
//!
//! Tests: a fake Xen that records every call and is stricter than the real one; a failure injected
//! at every call must leave nothing.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod acpi;
pub mod application;
pub mod budget;
pub mod build;
mod codes;
pub mod domain;
pub mod drill;
mod error;
pub mod eventlog;
#[cfg(test)]
mod fake;
pub mod handoff;
mod hypervisor;
pub mod image;
pub mod interface;
pub mod journal;
pub mod line;
pub mod measured;
pub mod memory;
pub mod origin;
pub mod outbox;
pub mod pci;
pub mod port;
pub mod ramdisk;
pub mod rate;
pub mod registers;
pub mod request;
pub mod rest;
pub mod room;
pub mod server;
pub mod service;
#[cfg(test)]
mod tests;
pub mod tpm;
pub mod transport;
pub mod typed;
mod undo;
pub mod watch;
pub mod wiring;

pub use error::{BuildError, Step};
pub use hypervisor::Hypervisor;
