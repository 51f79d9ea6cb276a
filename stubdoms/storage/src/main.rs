//! The domain that holds the disk.
//!
//! Three tasks around one [`Storage`] of `storage-core`:
//!
//! | task | sleeps until |
//! |---|---|
//! | supervision | dom0 asks something, or a line is logged |
//! | [`control`] | control asks something, or the store has become open or closed |
//! | [`sealing`] | vault says something |
//!
//! [`Storage`]: stubdoms_storage_core::clients::Storage

#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

#[cfg(target_os = "none")]
extern crate alloc;

#[cfg(target_os = "none")]
mod control;
#[cfg(target_os = "none")]
mod holding;
#[cfg(target_os = "none")]
mod sealing;
#[cfg(target_os = "none")]
mod trust;

#[cfg(target_os = "none")]
board_support_rt::domain!(main);

#[cfg(target_os = "none")]
async fn main(boot: board_support_rt::Boot, spawner: board_support_rt::Spawner) {
    let wiring = stubdoms_service::read_wiring(&boot);
    let peers = stubdoms_service::peers(&wiring);
    spawner.spawn(stubdoms_service::supervise(wiring.clone(), peers));
    let holding = holding::Holding::new(&wiring);
    let missing = holding.find(&wiring).await;
    spawner.spawn(control::run(holding, peers));
    spawner.spawn(sealing::run(holding, peers));
    // Without a disk there is nothing to keep, and whoever asks is told so. We are not ready then: dom0 ends us after
    // a while, and another life tries with a device that was reset.
    if let Some(disk) = missing {
        holding.try_again(disk).await;
    }
    if holding.storage().is_some() {
        stubdoms_service::ready();
    }
}

#[cfg(not(target_os = "none"))]
fn main() {}
