//! The first program of ours: picks a slot, verifies it, starts it.
//!
//! Firmware (OVMF, or U-Boot's UEFI) starts it from the ESP. In order:
//!
//! 1. [`watchdog`]: the hardware's is armed, so that whatever hangs from here on ends in a reset;
//! 2. [`disk`]: the disk that this program came from; both copies of its partition table are compared, and one
//!    is repaired from the other if need be;
//! 3. [`files`]: the provisioning files are read and measured;
//! 4. the slot is chosen, and a try taken off on the disk, before anything of the slot is read;
//! 5. [`measure`]: slot and reason are extended into the TPM, if there is one;
//! 6. [`slot`]: header and contents are read, signature and hash checked;
//! 7. `chain`: those very bytes are measured and started, and dom0 is told by a [record](proto_handoff), with the
//!    firmware's log of measurements and the provisioning files.
//!
//! A slot with which any of it fails is refused, and the other one's turn is at once. When none is left the
//! console says what was tried and why, and the machine is reset after a while, for the disk may come to its
//! senses.
//!
//! | module | what it owns |
//! |---|---|
//! | [`pages`] | memory by the page (unsafe) |
//! | [`disk`] | the block device (unsafe: opening of protocols) |
//! | [`files`] | the provisioning files of the config partition |
//! | [`path`] | where a program seems to come from that is loaded from memory |
//! | [`select`] | the order of all this, and its ends |
//! | [`slot`] | reading and checking |
//! | [`chain`] | the step into the slot (unsafe: tables for who comes next) |
//! | [`kept`] | the pages that outlive a reset (unsafe: memory at a fixed address) |
//! | [`measure`] | the firmware's way to the TPM (unsafe: its log of measurements) |
//! | [`watchdog`] | registers of the machine (unsafe) |
//! | [`trust`] | the key that slots are signed with |
//!
//! What is decided is decided in `proto/gpt` and `proto/update`, which are tested on the host.

#![cfg_attr(target_os = "uefi", no_std, no_main)]

#[cfg(target_os = "uefi")]
extern crate alloc;

#[cfg(all(target_os = "uefi", target_arch = "x86_64"))]
#[path = "chain/x86_64.rs"]
mod chain;
#[cfg(all(target_os = "uefi", target_arch = "aarch64"))]
#[path = "chain/aarch64.rs"]
mod chain;
#[cfg(target_os = "uefi")]
mod disk;
#[cfg(target_os = "uefi")]
mod files;
#[cfg(target_os = "uefi")]
mod kept;
#[cfg(target_os = "uefi")]
mod measure;
#[cfg(target_os = "uefi")]
mod pages;
#[cfg(target_os = "uefi")]
mod path;
#[cfg(target_os = "uefi")]
mod select;
#[cfg(target_os = "uefi")]
mod slot;
#[cfg(target_os = "uefi")]
mod trust;
#[cfg(target_os = "uefi")]
mod watchdog;

#[cfg(not(target_os = "uefi"))]
fn main() {}
