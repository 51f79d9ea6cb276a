//! What dom0 does around its machines: waits, calls them, and does what they say.
//!
//! | module | what |
//! |---|---|
//! | [`system`] | what all of it stands on: Xen, the runtime, the machine, the watchdogs |
//! | [`ground`] | what all tasks share |
//! | [`supervision`], [`services`] | the supervisor's shell; the services that run, their channels, their deaths |
//! | [`control`] | channel `device`: what control asks for and is told |
//! | [`measured`] | channel `measure`: what runs is extended into a PCR before |
//! | [`console`] | consoles of applications |
//! | [`patience`] | how much of their other ends dom0 takes |
//! | [`watch`] | Xen's event for every death |
//! | [`gauge`] | what services answered to who measures |
//!
//! What can be decided without waiting is in `dom0/toolstack` and `dom0/supervisor`. All is generic over
//! [`System`]: the binary chooses the real Xen and runtime, `tests/fleet` a fake Xen with the services beside it
//! in one process.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod console;
pub mod control;
pub mod gauge;
pub mod ground;
pub mod measured;
pub mod patience;
pub mod services;
pub mod supervision;
pub mod system;
pub mod watch;

pub use ground::Ground;
pub use system::System;
