//! The trap itself.

#[cfg(all(target_arch = "x86_64", target_os = "none"))]
#[path = "call/x86_64.rs"]
mod trap;

#[cfg(all(target_arch = "aarch64", target_os = "none"))]
#[path = "call/aarch64.rs"]
mod trap;

#[cfg(not(target_os = "none"))]
#[path = "call/host.rs"]
mod trap;

#[cfg(all(target_arch = "aarch64", target_os = "none"))]
pub(crate) use trap::psci;
pub use trap::{init, is_present};

use proto_xen::{Errno, hypercall::Hypercall};

/// Makes hypercall `number` with up to five arguments.
///
/// # Safety
/// 1. Every address among `args` points to memory that the call may read or write as Xen's headers
///    say, for as long as the call lasts.
/// 2. What the call does to the caller's address space (maps, unmaps) upholds the owner's
///    invariants.
/// 3. [`init`] was called, on hardware.
pub(crate) unsafe fn raw(number: Hypercall, args: [u64; 5]) -> i64 {
    // SAFETY: 1 to 3 are the caller's.
    unsafe { trap::trap(number as u64, args) }
}

/// Makes a call of the form (subcommand, pointer to `argument`).
///
/// # Safety
/// 1. Subcommand `op` of `number` takes a pointer to a `T`.
/// 2. Addresses inside `argument` are good as [`raw`] asks, and so is what the call does.
pub(crate) unsafe fn with<T>(number: Hypercall, op: u64, argument: &mut T) -> Result<u64, Errno> {
    let address = core::ptr::from_mut(argument) as u64;
    // SAFETY: `argument` is exclusively ours for the call; the rest is the caller's.
    Errno::check(unsafe { raw(number, [op, address, 0, 0, 0]) })
}
