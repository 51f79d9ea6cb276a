//! The builder: the one domain with power over the others.
//!
//! | module | what |
//! |---|---|
//! | [`boot`] | from the ramdisk to running services |
//! | [`device`] | what the shells stand on: the real Xen and runtime |
//! | [`machine`] | configuration space and registers of PCI functions |
//! | [`wallclock`] | the time of day, where Xen does not know it |
//! | [`kept`] | memory that outlives a reset |
//! | [`transport`] | registers of virtio transports, and memory for their DMA |
//! | [`serial`] | what is typed on the serial console for applications |
//! | [`watchdog`], [`tco`] | what resets the machine when dom0 does not feed it |
//! | [`cycles`] | lives of an application over and over, to see that nothing is left of it |
//! | [`measure`] | what is measured on a running system, on order |
//! | [`drill`] | ending a service on purpose, to see that it can be built anew |
//!
//! Only what needs the real machine, and the choice of it: the services, control's requests and consoles are in
//! `dom0/shell`, what can be decided without waiting in `dom0/toolstack`.

#![no_std]
#![cfg_attr(target_os = "none", no_main)]
#![forbid(unsafe_code)]

#[cfg(target_os = "none")]
extern crate alloc;

#[cfg(target_os = "none")]
mod boot;
#[cfg(target_os = "none")]
mod cycles;
#[cfg(target_os = "none")]
mod device;
#[cfg(target_os = "none")]
mod drill;
#[cfg(target_os = "none")]
mod kept;
#[cfg(target_os = "none")]
mod machine;
#[cfg(target_os = "none")]
mod measure;
#[cfg(target_os = "none")]
mod serial;
#[cfg(target_os = "none")]
#[cfg_attr(not(target_arch = "x86_64"), path = "no_tco.rs")]
mod tco;
#[cfg(target_os = "none")]
mod transport;
#[cfg(target_os = "none")]
mod wallclock;
#[cfg(target_os = "none")]
mod watchdog;

#[cfg(target_os = "none")]
board_support_rt::domain!(boot::main);

#[cfg(not(target_os = "none"))]
fn main() {}
