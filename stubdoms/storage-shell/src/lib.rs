//! The tasks of the domain that holds the disk: four around one [`Storage`] of `storage-core`.
//!
//! | task | sleeps until |
//! |---|---|
//! | supervision (`stubdoms/service`) | dom0 asks something, or a line is logged |
//! | `control` | control asks something, or the store has become open or closed |
//! | `sealing` | vault says something, or the disk is asked again for what it did not keep |
//! | `mend` of `holding` | the disk has failed at finding or opening the store |
//!
//! Without a disk that works it does its work all the same: it says so, and to whoever asks.
//!
//! All is generic over its [`Footing`] and the disk, told to stop ([`FoundDisk`]): the binary finds the real one,
//! `tests/fleet` has one in memory.
//!
//! [`Storage`]: stubdoms_storage_core::clients::Storage

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod control;
mod disk;
mod holding;
mod sealing;

use core::fmt::Display;

use board_support_hyp::Spawn;
use proto_manifest::wiring::Wiring;
use stubdoms_service::{Peers, footing::Footing};
use stubdoms_storage_core::slots::Trust;

pub use disk::FoundDisk;
use holding::Holding;

/// What storage begins with.
#[derive(Debug)]
pub struct Start<'a> {
    /// Its wiring.
    pub wiring: &'a Wiring,
    /// The peers that the wiring names, as supervision keeps them.
    pub peers: &'static Peers,
    /// Whose slots are taken.
    pub trust: Trust,
}

/// The domain's story, all but supervision. `disk` is what was found of the wiring's, or why there is none; `ready` is
/// called when it can do its work.
pub async fn main<F: Footing, D: FoundDisk>(
    footing: F,
    spawner: impl Spawn,
    start: Start<'_>,
    disk: Result<D, impl Display>,
    ready: impl FnOnce(),
) {
    let Start { wiring, peers, trust } = start;
    let holding = Holding::new(footing, wiring, trust);
    let missing = holding.begin(disk).await;
    spawner.spawn(control::run(holding, peers));
    // Also without a disk, which another life of ours would not find either: whoever asks is told so.
    ready();
    if let Some(disk) = missing {
        holding.try_again(disk).await;
    }
    // Nobody waits for a disk but this: a signal has one who waits for it.
    if let Some(storage) = holding.storage() {
        spawner.spawn(sealing::run(holding, storage, peers));
        spawner.spawn(holding.mend(storage));
    }
}
