//! The domain that holds the disk.
//!
//! Four tasks around one [`Storage`] of `storage-core`:
//!
//! | task | sleeps until |
//! |---|---|
//! | supervision | dom0 asks something, or a line is logged |
//! | [`control`] | control asks something, or the store has become open or closed |
//! | [`sealing`] | vault says something, or the disk is asked again for what it did not keep |
//! | [`mend`](holding::Holding::mend) | the disk has failed at finding or opening the store |
//!
//! Without a disk that works it does its work all the same: it says so, and to whoever asks.
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
    spawner.spawn(holding.mend());
    // Also without a disk, which another life of ours would not find either: whoever asks is told so.
    stubdoms_service::ready();
    if let Some(disk) = missing {
        holding.try_again(disk).await;
    }
}

#[cfg(not(target_os = "none"))]
fn main() {}
