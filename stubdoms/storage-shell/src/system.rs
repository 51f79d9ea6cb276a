//! What storage stands on.

use core::{fmt::Display, time::Duration};

use board_support_drv::block::BlockDevice;
use board_support_hyp::{Runtime, Spawn};
use stubdoms_service::channels::{self, Hypervisor};

/// What storage stands on: on the device the real things, on the host others.
pub trait System: Clone + 'static {
    /// Xen.
    type Xen: Hypervisor;
    /// Events, time, pages.
    type Runtime: Runtime;
    /// Starts tasks of this domain.
    type Spawner: Spawn;
    /// The disk, told to stop.
    type Disk: FoundDisk;

    /// Xen.
    fn xen(&self) -> &Self::Xen;

    /// Events, time, pages.
    fn runtime(&self) -> &Self::Runtime;

    /// Fills a buffer with random bytes that nobody can foresee.
    fn fill(bytes: &mut [u8]);
}

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

/// The disk, once it runs.
pub(crate) type Running<S> = <<S as System>::Disk as FoundDisk>::Running;
/// A channel that we offer to another service.
pub(crate) type Offered<S, Out, In> = channels::Offered<<S as System>::Xen, <S as System>::Runtime, Out, In>;
/// A channel that another service offers to us.
pub(crate) type Accepted<S, Out, In> =
    channels::Accepted<<S as System>::Xen, <S as System>::Runtime, Out, In>;
/// A park for the pages of channels that we offer.
pub(crate) type ChannelPark<S> = board_support_pv::grant::Park<<<S as System>::Runtime as Runtime>::Special>;
