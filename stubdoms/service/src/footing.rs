//! What the tasks of a service stand on, whatever it does: on the device the real things, on the host others.

use board_support_hyp::Runtime;
use board_support_pv::{
    channel::{ChannelError, peers::Peers},
    grant::Park,
};
use embassy_futures::select::{Either, select};
use proto_errors::Coded;
use proto_svc::Message;

use crate::channels::{self, Hypervisor};

/// Xen, the runtime and random numbers.
pub trait Footing: Clone + 'static {
    /// Xen.
    type Xen: Hypervisor;
    /// Events, time, pages.
    type Runtime: Runtime;

    /// Xen.
    fn xen(&self) -> &Self::Xen;

    /// Events, time, pages.
    fn runtime(&self) -> &Self::Runtime;

    /// Fills a buffer with random bytes that nobody can foresee: keys are made of them.
    fn fill(bytes: &mut [u8]);
}

/// A channel whose page is ours and whose other end is dom0.
pub type Owned<F, Out, In> = channels::Owned<<F as Footing>::Xen, <F as Footing>::Runtime, Out, In>;
/// A channel that we offer to another service.
pub type Offered<F, Out, In> = channels::Offered<<F as Footing>::Xen, <F as Footing>::Runtime, Out, In>;
/// A channel that another service offers to us.
pub type Accepted<F, Out, In> = channels::Accepted<<F as Footing>::Xen, <F as Footing>::Runtime, Out, In>;
/// A park for the pages of channels that we offer.
pub type ChannelPark<F> = Park<<<F as Footing>::Runtime as Runtime>::Special>;

/// Accepts the channel of each life of `who`, for ever. `serve` is dropped when that life ends; where it returns, the
/// channel is closed and told, and the next life is waited for.
pub async fn serve_lives<F: Footing, Out: Message, In: Message>(
    footing: &F,
    peers: &'static Peers,
    who: &str,
    mut serve: impl AsyncFnMut(&mut Accepted<F, Out, In>) -> ChannelError,
) {
    loop {
        let (xen, runtime) = (footing.xen().clone(), footing.runtime().clone());
        let (tie, (peer, mut channel)) = channels::accept(xen, runtime, peers).await;
        let end = select(tie.cut(), serve(&mut channel)).await;
        drop(channel);
        if let Either::Second(error) = end {
            log::warn!("{who} {peer}: closed: channel {}: {}", Out::CHANNEL, error.told());
            tie.cut().await;
        }
    }
}
