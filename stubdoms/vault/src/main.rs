//! The domain that holds the TPM: its tasks are in `stubdoms/vault-shell`, the TPM is found here.

#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

#[cfg(target_os = "none")]
extern crate alloc;

#[cfg(target_os = "none")]
mod tpm;

#[cfg(target_os = "none")]
board_support_rt::domain!(main);

#[cfg(target_os = "none")]
async fn main(boot: board_support_rt::Boot, spawner: board_support_rt::Spawner) {
    let wiring = stubdoms_service::read_wiring(&boot);
    let peers = stubdoms_service::peers(&wiring);
    spawner.spawn(stubdoms_service::supervise(wiring.clone(), peers));
    let start = stubdoms_vault_shell::Start { wiring: &wiring, peers, tpm: tpm::find(&wiring) };
    stubdoms_vault_shell::start(&stubdoms_service::Device, spawner, start, stubdoms_service::ready);
}

#[cfg(not(target_os = "none"))]
fn main() {}
