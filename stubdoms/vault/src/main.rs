//! The domain that holds the TPM.
//!
//! The logic is `vault-core`'s; here it is wired to the registers and to three channels:
//!
//! | task | sleeps until |
//! |---|---|
//! | supervision | dom0 asks something, or a line is logged |
//! | [`worker`] | a channel has asked something; then until the TPM has answered |
//! | [`dom0`], [`storage`], [`control`] | their peer says something, or is to be told something |
//!
//! Each channel has one request at the [`desk`], and waits for its answer before it reads the next one: so whoever
//! floods fills its own ring. The worker takes them in turn.

#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

#[cfg(target_os = "none")]
extern crate alloc;

#[cfg(target_os = "none")]
mod control;
#[cfg(target_os = "none")]
mod desk;
#[cfg(target_os = "none")]
mod dom0;
#[cfg(target_os = "none")]
mod storage;
#[cfg(target_os = "none")]
mod tpm;
#[cfg(target_os = "none")]
mod worker;

#[cfg(target_os = "none")]
board_support_rt::domain!(main);

#[cfg(target_os = "none")]
async fn main(boot: board_support_rt::Boot, spawner: board_support_rt::Spawner) {
    let wiring = stubdoms_service::read_wiring(&boot);
    let peers = stubdoms_service::peers(&wiring);
    spawner.spawn(stubdoms_service::supervise(wiring.clone(), peers));
    let desk = desk::Desk::new();
    spawner.spawn(worker::run(desk, tpm::find(&wiring)));
    if wiring.channel("measure").is_some() {
        spawner.spawn(dom0::run(desk, wiring.clone()));
    }
    spawner.spawn(storage::run(desk, peers));
    spawner.spawn(control::run(desk, peers));
}

#[cfg(not(target_os = "none"))]
fn main() {}
