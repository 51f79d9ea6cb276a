//! The real disk.

use core::time::Duration;

use stubdoms_service::disk::{self, Disk, NoDisk};
use stubdoms_storage_shell::FoundDisk;

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
