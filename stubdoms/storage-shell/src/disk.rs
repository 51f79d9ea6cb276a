//! The disk that storage is given.

use core::{fmt::Display, time::Duration};

use board_support_drv::block::BlockDevice;

/// A disk that was found and told to stop.
pub trait FoundDisk: Sized + 'static {
    /// A disk that runs.
    type Running: BlockDevice + 'static;
    /// Why it does not.
    type Why: Display;

    /// Whether nothing but the driver keeps the disk within its memory, for there is no IOMMU.
    fn is_unconfined(&self) -> bool;

    /// Brings it up. `within` is how long that may take.
    ///
    /// # Errors
    /// Why it did not come up, with the disk for another attempt.
    fn bring_up(self, within: Duration) -> impl Future<Output = Result<Self::Running, (Self::Why, Self)>>;
}
