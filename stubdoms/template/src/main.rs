//! A service that does nothing yet: a new one starts as a copy of this folder.
//!
//! It tells dom0 that it is up, has its log shown, and answers when dom0 asks whether it is well. What it is to do
//! comes where [`main`] says so: logic in a package of its own beside it, which is tested on the host, and here
//! only the wiring.

#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

#[cfg(target_os = "none")]
board_support_rt::domain!(main);

#[cfg(target_os = "none")]
async fn main(boot: board_support_rt::Boot, spawner: board_support_rt::Spawner) {
    let wiring = stubdoms_service::read_wiring(&boot);
    let peers = stubdoms_service::peers(&wiring);
    spawner.spawn(stubdoms_service::supervise(wiring.clone(), peers));
    // Open its channels and start its tasks here.
    log::info!("service {}: at your service", wiring.name);
    stubdoms_service::ready();
}

#[cfg(not(target_os = "none"))]
fn main() {}
