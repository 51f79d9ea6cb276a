//! The domain that holds the disk: its tasks are in `stubdoms/storage-shell`, what they stand on is chosen here, the
//! disk found.

#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

#[cfg(target_os = "none")]
mod found;
#[cfg(target_os = "none")]
mod trust;

#[cfg(target_os = "none")]
board_support_rt::domain!(main);

#[cfg(target_os = "none")]
async fn main(boot: board_support_rt::Boot, spawner: board_support_rt::Spawner) {
    let wiring = stubdoms_service::read_wiring(&boot);
    let peers = stubdoms_service::peers(&wiring);
    spawner.spawn(stubdoms_service::supervise(wiring.clone(), peers));
    let disk = stubdoms_service::disk::FoundDisk::find(&wiring).map(found::Found);
    let start = stubdoms_storage_shell::Start { wiring: &wiring, peers, trust: trust::trust() };
    stubdoms_storage_shell::main(stubdoms_service::Device, spawner, start, disk, stubdoms_service::ready)
        .await;
}

#[cfg(not(target_os = "none"))]
fn main() {}
