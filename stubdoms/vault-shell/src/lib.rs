//! The tasks of the domain that holds the TPM: they join the logic of `vault-core` with the TPM and with three
//! channels.
//!
//! | task | sleeps until |
//! |---|---|
//! | supervision (`stubdoms/service`) | dom0 asks something, or a line is logged |
//! | `worker` | a channel has asked something; then until the TPM has answered |
//! | `dom0`, `storage`, `control` | their peer says something, or is to be told something |
//!
//! Each channel has one request at the `desk`, and waits for its answer before it reads the next one: so whoever
//! floods fills its own ring. The worker takes them in turn.
//!
//! All is generic over its [`Footing`], and takes any TPM that [`board_support_drv::tpm`] describes: the binary (`stubdoms/vault`) finds the real one, `tests/fleet` has another.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod control;
mod desk;
mod dom0;
mod storage;
mod tpm;
mod worker;

use alloc::boxed::Box;

use board_support_drv::tpm::Transport;
use board_support_hyp::Spawn;
use proto_manifest::wiring::Wiring;
use proto_svc::{Message, measure};
use stubdoms_service::{Peers, footing::Footing};

use desk::Desk;

/// What vault begins with.
pub struct Start<'a> {
    /// Its wiring.
    pub wiring: &'a Wiring,
    /// The peers that the wiring names, as supervision keeps them.
    pub peers: &'static Peers,
    /// The way to the TPM; none if the wiring has no TPM whose registers can be mapped.
    pub tpm: Option<Box<dyn Transport>>,
}

/// Starts all tasks but supervision. `ready` is called when the TPM was looked at, whatever was found.
pub fn start<F: Footing>(footing: &F, spawner: impl Spawn, start: Start<'_>, ready: impl FnOnce() + 'static) {
    let Start { wiring, peers, tpm } = start;
    let desk = Desk::new();
    spawner.spawn(worker::run(footing.clone(), desk, tpm, ready));
    // Systems that measure nothing have no such channel.
    if wiring.channel(measure::ToVault::CHANNEL).is_some() {
        spawner.spawn(dom0::run(footing.clone(), desk, wiring.clone()));
    }
    spawner.spawn(storage::run(footing.clone(), desk, peers));
    spawner.spawn(control::run(footing.clone(), desk, peers));
}
