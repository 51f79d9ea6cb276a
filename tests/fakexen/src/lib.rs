//! Xen in one process: the other implementation of the traits of `hyp`, for tests on the host.
//!
//! A [`World`] is a machine with Xen on it. [`World::domain`] gives the view that one domain has of it: a
//! [`Domain`] implements the traits of `hyp`, so toolstack, channels, devices and whole services run on it as
//! they do on the real Xen. Domains are built through it by the toolstack, or put there by a test
//! ([`World::start`]).
//!
//! | module | what |
//! |---|---|
//! | [`world`] | the machine, what is left in it ([`Census`]), domains from a test's point of view |
//! | `domctl`, `memory` | the builder's calls: domains, their memory, HVM parameters, the machine as a whole |
//! | `event`, [`grant`], [`foreign`], [`page`] | what domains share |
//! | [`pci`] | a network card, its configuration space, its interrupts |
//! | [`fault`] | the N-th call of a kind fails, or several from there on |
//! | `runtime` | sleeping, each domain's own log, its device's interrupts, whether it spins |
//! | [`executor`], `time` | tasks of several domains, and of what is beside the machine, in a seeded order, in virtual time; others run when one yields in the midst of its turn |
//!
//! It answers with the numbers that the real Xen 4.20 answers with. It is stricter where the real one lets
//! something pass that shows only later or never; that is a panic here, with a sentence that says what was
//! done:
//!
//! - a page that is given back while it is granted, and one that is written after it went back (freed pages
//!   are poisoned, and the poison is looked at again);
//! - a mapping that is used after it was undone;
//! - a domain that is destroyed with a device or with interrupts of one;
//! - a device that changes hands without a reset, or whose MSI-X table a domain could write;
//! - a domain that is let run without a CPU state, or with grants that dom0 wrote into its table, or that is
//!   given the same frame twice; a grant table that dom0 maps while its domain runs;
//! - a copy that crosses the end of a page.
//!
//! A domain that does not run does nothing: what its code still holds when a test drops it (ports, mapped
//! pages, channels) has no effect, as when a real domain dies in the middle of a sentence. Its pages stay as
//! they were, and pages of it that others map keep it as a dying remnant.
//!
//! [`Memory`](board_support_hyp::memory::Memory) is not here: it moves memory about under running code, which
//! nothing above the runtime does.

#![forbid(unsafe_code)]

mod console;
mod domctl;
mod event;
pub mod executor;
pub mod fault;
pub mod foreign;
pub mod grant;
mod memory;
pub mod page;
pub mod pci;
mod rng;
mod runtime;
mod time;
pub mod world;

pub use executor::{Executor, asks_outside, seeds};
pub use fault::{Call, Fault};
pub use rng::Rng;
pub use runtime::{Complaint, Sleep, time_of_day};
pub use world::{Architecture, Census, Domain, Machine, World};

#[cfg(test)]
mod tests;
