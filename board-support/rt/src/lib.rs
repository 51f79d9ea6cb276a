//! The runtime of every domain: entry, executor, timers, entropy, heap, log, panic.
//!
//! A binary is `#![no_std]`, `#![no_main]`, `#![forbid(unsafe_code)]`, and says [`domain!`] with an
//! async function:
//!
//! ```ignore
//! rt::domain!(main);
//!
//! async fn main(boot: rt::Boot, spawner: rt::Spawner) {
//!     log::info!("started with {}", boot.command_line());
//!     rt::timer::sleep(Duration::from_secs(1)).await;
//!     rt::shutdown(rt::Reason::POWEROFF);
//! }
//! ```
//!
//! One vCPU, one executor, nothing periodic: the domain runs when an event channel, a device's
//! vector or the one timer says so, and blocks otherwise. [`Domain`] implements what the ends of
//! devices need of a runtime (`hyp::Wait`, `hyp::Clock`, `hyp::Pages`); `hyp::Xen` is the other half.
//!
//! Stands on `arch` and `hyp`. What can be tested on the host (deadlines, frames, the health test,
//! the epitaph) is plain code in modules of its own.

#![no_std]

#[cfg(target_os = "none")]
extern crate alloc;
#[cfg(not(target_os = "none"))]
extern crate std;
#[cfg(not(target_os = "none"))]
extern crate std as alloc;

pub mod awake;
pub mod epitaph;
pub mod once;
pub mod pool;
pub mod timer;

#[cfg(target_os = "none")]
mod boot;
#[cfg(target_os = "none")]
mod critical;
#[cfg(target_os = "none")]
mod domain;
pub mod entropy;
#[cfg(target_os = "none")]
mod entry;
#[cfg(target_os = "none")]
pub mod event;
#[cfg(target_os = "none")]
pub mod executor;
#[cfg(target_os = "none")]
pub mod heap;
#[cfg(target_os = "none")]
pub mod irq;
#[cfg(target_os = "none")]
pub mod local;
#[cfg(target_os = "none")]
pub mod log;
#[cfg(target_os = "none")]
pub mod memory;
#[cfg(target_os = "none")]
mod panic;
#[cfg(target_os = "none")]
pub mod pci;
#[cfg(target_os = "none")]
mod platform;
#[cfg(target_os = "none")]
#[doc(hidden)]
pub mod prove;
#[cfg(any(target_os = "none", all(test, not(loom))))]
mod slots;
#[cfg(any(target_os = "none", all(test, not(loom))))]
pub mod tasks;
#[cfg(target_os = "none")]
pub mod wallclock;

#[cfg(target_os = "none")]
pub use boot::Boot;
#[cfg(target_os = "none")]
pub use domain::Domain;
#[cfg(target_os = "none")]
pub use executor::Spawner;
#[cfg(target_os = "none")]
pub use panic::{give_up, set_epitaph, shutdown};
pub use proto_xen::sched::ShutdownReason as Reason;

/// Names the domain's main function: `async fn(Boot, Spawner)`. Once in each binary.
#[macro_export]
macro_rules! domain {
    ($main:path) => {
        /// Called by the runtime when everything is up.
        #[unsafe(no_mangle)]
        fn __sarsen_main(boot: $crate::Boot, spawner: $crate::Spawner) {
            spawner.spawn($main(boot, spawner));
        }
    };
}
