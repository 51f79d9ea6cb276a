//! What vault stands on.

use core::time::Duration;

use board_support_hyp::{Runtime, Timer};
use stubdoms_service::channels::{self, Hypervisor};

/// What vault stands on: on the device the real things, on the host others.
pub trait System: Clone + 'static {
    /// Xen.
    type Xen: Hypervisor;
    /// Events and time.
    type Runtime: Runtime;

    /// Xen.
    fn xen(&self) -> &Self::Xen;

    /// Events and time.
    fn runtime(&self) -> &Self::Runtime;

    /// Fills a buffer with random bytes that nobody can foresee: keys are made of them.
    fn fill(bytes: &mut [u8]);
}

/// A channel that another service offers to us.
pub(crate) type Accepted<S, Out, In> =
    channels::Accepted<<S as System>::Xen, <S as System>::Runtime, Out, In>;

/// Since power-on.
pub(crate) fn now(timer: &impl Timer) -> Duration {
    Duration::from_nanos(timer.now().as_nanos())
}
