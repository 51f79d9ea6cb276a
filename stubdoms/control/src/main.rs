//! The domain that talks with the controller: joins the device agent with the way out and with dom0.
//!
//! | module | task |
//! |---|---|
//! | [`work`] | carries out what the agent wants next |
//! | [`fetching`] | one exchange over HTTP each: requests, downloads |
//! | [`device`] | the channel to dom0: applications, consoles, usage, logs |
//! | [`storage`] | the channel to storage: values, the slot that does not run |
//! | [`vault`] | the channel to vault: signatures, quotes, the storage's key |
//! | [`link`], [`vif`] | the channel to net, the vif and the TCP/IP stack on it |
//!
//! The other modules hold what these share. Nothing is decided here: that is `stubdoms/agent`'s.

#![no_std]
#![cfg_attr(target_os = "none", no_main)]
#![forbid(unsafe_code)]

#[cfg(target_os = "none")]
extern crate alloc;

#[cfg(target_os = "none")]
mod brain;
#[cfg(target_os = "none")]
mod clock;
#[cfg(target_os = "none")]
mod contents;
#[cfg(target_os = "none")]
mod device;
#[cfg(target_os = "none")]
mod fetching;
#[cfg(target_os = "none")]
mod link;
#[cfg(target_os = "none")]
mod provision;
#[cfg(target_os = "none")]
mod storage;
#[cfg(target_os = "none")]
mod vault;
#[cfg(target_os = "none")]
mod vif;
#[cfg(target_os = "none")]
mod web;
#[cfg(target_os = "none")]
mod work;

#[cfg(target_os = "none")]
board_support_rt::domain!(work::main);

#[cfg(not(target_os = "none"))]
fn main() {}
