//! What control stands on.

use core::{ops::Deref, time::Duration};

use board_support_hyp::{Pages, Runtime, Sched, Spawn};
use stubdoms_service::channels::{self, Hypervisor};
use stubdoms_web::tls::CryptoProvider;

/// What control stands on: on the device the real things, on the host others.
pub trait System: Clone + 'static {
    /// Xen.
    type Xen: Hypervisor + Sched;
    /// Events, time, pages.
    type Runtime: Runtime + Pages;
    /// Starts tasks of this domain.
    type Spawner: Spawn;
    /// A value for tasks of this domain alone, in places that ask for `Send` and `Sync`.
    type Local<T: 'static>: Deref<Target = T> + Send + Sync;

    /// Xen.
    fn xen(&self) -> &Self::Xen;

    /// Events, time, pages.
    fn runtime(&self) -> &Self::Runtime;

    /// Takes a value for this domain's tasks.
    fn local<T: 'static>(value: T) -> Self::Local<T>;

    /// Fills a buffer with random bytes that nobody can foresee.
    fn fill(bytes: &mut [u8]);

    /// The time since 1970-01-01 00:00 UTC; `None` if the machine does not know it.
    fn time_of_day() -> Option<Duration>;

    /// The primitives of TLS.
    fn tls() -> CryptoProvider;
}

/// A channel whose page is ours and whose other end is dom0.
pub(crate) type Owned<S, Out, In> = channels::Owned<<S as System>::Xen, <S as System>::Runtime, Out, In>;
/// A channel that we offer to another service.
pub(crate) type Offered<S, Out, In> = channels::Offered<<S as System>::Xen, <S as System>::Runtime, Out, In>;
/// A park for the pages of channels that we offer.
pub(crate) type ChannelPark<S> = board_support_pv::grant::Park<<<S as System>::Runtime as Runtime>::Special>;
