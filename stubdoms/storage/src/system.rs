//! The real Xen, the real runtime and the real disk.

use core::time::Duration;

use board_support_hyp::Xen;
use board_support_rt::{Domain, Spawner, entropy};
use stubdoms_service::disk::{self, Disk, NoDisk};
use stubdoms_storage_shell::{FoundDisk, System};

/// This domain.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Device;

impl System for Device {
    type Xen = Xen;
    type Runtime = Domain;
    type Spawner = Spawner;
    type Disk = Found;

    fn xen(&self) -> &Xen {
        &Xen
    }

    fn runtime(&self) -> &Domain {
        &Domain
    }

    fn fill(bytes: &mut [u8]) {
        entropy::fill(bytes);
    }
}

/// The disk of the wiring.
pub(crate) struct Found(pub(crate) disk::FoundDisk);

impl FoundDisk for Found {
    type Running = Disk;
    type Why = NoDisk;

    fn is_unconfined(&self) -> bool {
        self.0.is_unconfined()
    }

    async fn bring_up(self, within: Duration) -> Result<Disk, (NoDisk, Self)> {
        self.0.bring_up(within).await.map_err(|(why, still)| (why, Self(still)))
    }
}
