//! Architecture start-up: entry, page tables, interrupts, clock, idle.
//!
//! Stands on `hyp`, below `rt`. The modules with one name on both architectures have one interface:
//! `rt` calls `arch::cache`, `arch::paging`, `arch::interrupts`, `arch::clock`, `arch::idle`, `arch::random` and
//! `arch::power` without knowing where it runs. What can be tested on the host (start info, memory
//! map, page tables, clock arithmetic) is plain code in modules of its own; the rest exists only on
//! bare metal.
//!
//! Trusted: Xen, and the loader that wrote the start info. The start info is checked all the same,
//! for a wrong one is easier to find by a message than by a fault.

#![no_std]

#[cfg(test)]
extern crate std;

pub mod boot_info;
pub mod events;
#[cfg(feature = "fuzz")]
pub mod fuzz;
pub mod memory_map;
pub mod page_table;
pub mod scale;

#[cfg(target_os = "none")]
pub mod backtrace;
#[cfg(target_os = "none")]
pub mod layout;
#[cfg(target_os = "none")]
pub mod physical;
#[cfg(any(target_os = "none", all(test, not(loom))))]
pub mod shared_info;
#[cfg(target_os = "none")]
pub mod trap;

/// The one part that a program of the firmware has a use for, too.
#[cfg(all(target_os = "uefi", target_arch = "aarch64"))]
#[path = "aarch64/cache.rs"]
pub mod cache;
#[cfg(all(target_os = "uefi", target_arch = "x86_64"))]
#[path = "x86_64/cache.rs"]
pub mod cache;

#[cfg(all(target_os = "none", target_arch = "aarch64"))]
mod aarch64;
#[cfg(all(target_os = "none", target_arch = "x86_64"))]
mod x86_64;

#[cfg(all(target_os = "none", target_arch = "aarch64"))]
pub use aarch64::{
    cache, clock, debug_port, idle, interrupts, paging, pci, power, random, start, timer, vcpu,
};
#[cfg(all(target_os = "none", target_arch = "x86_64"))]
pub use x86_64::{
    cache, clock, debug_port, idle, interrupts, paging, pci, power, random, start, timer, vcpu,
};
