//! A domain that tries what it must not.
//!
//! As an application ([`application`]) it asks Xen for what belongs to others, from a table with the answers
//! that are right, and prints `ok NAME` or `FAIL NAME: why` for each row and `attacker: N ok, M failed` at the
//! end; then it floods its console and lies on its ring. As a service ([`service`]), of which a board can have
//! several, it lies to dom0 on the channel that every service has, each in the way that its name says. As a
//! service that is called `control` ([`intruder`]) it has what control has, and lies to dom0, net, storage and vault with it;
//! started from a slot it asks the latter two for what is not control's ([`keepers`]).
//!
//! That it is refused is for itself to see. That nobody else is harmed is for the story to see which runs it.

#![no_std]
#![cfg_attr(target_os = "none", no_main)]
#![forbid(unsafe_code)]

#[cfg(target_os = "none")]
extern crate alloc;

#[cfg(target_os = "none")]
mod application;
#[cfg(target_os = "none")]
mod console;
#[cfg(target_os = "none")]
mod intruder;
#[cfg(target_os = "none")]
mod keepers;
#[cfg(target_os = "none")]
mod pen;
#[cfg(target_os = "none")]
mod service;
#[cfg(target_os = "none")]
mod table;
#[cfg(target_os = "none")]
mod told;

#[cfg(target_os = "none")]
board_support_rt::domain!(main);

#[cfg(target_os = "none")]
async fn main(boot: board_support_rt::Boot, spawner: board_support_rt::Spawner) {
    if boot.module(0).is_none() {
        return application::run().await;
    }
    let wiring = stubdoms_service::read_wiring(&boot);
    match wiring.name.as_str() {
        "control" if intruder::has_neighbour(&boot) => intruder::run(&boot, &wiring, spawner).await,
        "control" => keepers::run(&wiring, spawner).await,
        _ => service::run(&wiring).await,
    }
}

#[cfg(not(target_os = "none"))]
fn main() {}
