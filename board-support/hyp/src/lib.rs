//! The only code that traps into Xen.
//!
//! One module for each family of hypercalls: a trait that says what may be asked, and its
//! implementation for [`Xen`], the real thing. Everything above (rings, devices, toolstack) is
//! generic over the traits, so that a fake Xen can stand below it on the host, where [`Xen`] itself
//! answers every call with `ENOSYS`. What code above needs of a runtime is here as traits, too ([`wait`],
//! [`runtime`], [`shared::Pages`]).
//!
//! Unsafe lives here for three dangers: the trap ([`call`]), memory that another domain may write
//! ([`shared`], [`gnttab`], [`foreign`]), and the frames at which such memory appears ([`window`]).
//!
//! Trust: Xen. What Xen returns about other domains is taken as Xen says it; what other domains
//! wrote is only handed out as atomics or copies.

#![no_std]

pub mod call;
pub mod console;
pub mod domctl;
pub mod evtchn;
pub mod foreign;
pub mod gnttab;
pub mod hvm;
pub mod instant;
pub mod load;
pub mod memory;
pub mod physdev;
pub mod platform;
pub mod runtime;
pub mod sched;
pub mod shared;
pub mod sysctl;
pub mod vcpu;
pub mod version;
pub mod wait;
pub mod window;
pub mod word;

pub use console::Console;
pub use domctl::Domctl;
pub use evtchn::EventChannels;
pub use foreign::{Foreign, ForeignPages};
pub use gnttab::{Access, CopyError, DeviceGrants, GrantError, Grants};
pub use hvm::HvmParams;
pub use instant::Instant;
pub use load::{CopyOut, Piece};
pub use memory::{Memory, Populate};
pub use physdev::Physdev;
pub use platform::Machine;
pub use runtime::{Runtime, Spawn, Timer};
pub use sched::Sched;
pub use shared::{Pages, Shared};
pub use sysctl::Sysctl;
pub use version::Interfaces;
pub use wait::{Clock, Wait};

/// The real Xen. It has no state of its own: what must be set up once ([`call::init`],
/// [`gnttab::init`], [`window::init`]) is the runtime's duty, before any domain code runs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Xen;
