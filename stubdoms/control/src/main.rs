//! The domain that talks with the controller: its tasks are in `stubdoms/control-shell`, what they stand on is
//! chosen here.

#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

#[cfg(target_os = "none")]
mod system;

#[cfg(target_os = "none")]
board_support_rt::domain!(main);

#[cfg(target_os = "none")]
async fn main(boot: board_support_rt::Boot, spawner: board_support_rt::Spawner) {
    let wiring = stubdoms_service::read_wiring(&boot);
    let peers = stubdoms_service::peers(&wiring);
    spawner.spawn(stubdoms_service::supervise(wiring.clone(), peers));
    let start = stubdoms_control_shell::Start {
        wiring: &wiring,
        peers,
        files: boot.module(1),
        heap_limit: board_support_rt::heap::usage().limit,
    };
    stubdoms_control_shell::main(system::Device, spawner, start, stubdoms_service::ready).await;
}

#[cfg(not(target_os = "none"))]
fn main() {}
