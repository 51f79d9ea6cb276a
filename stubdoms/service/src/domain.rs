//! What a binary calls: the shells on the real Xen and runtime, of which a domain has one each.

use board_support_hyp::Xen;
use board_support_pv::{
    channel::peers::{Peers, Tie},
    grant::Park,
};
use board_support_rt::{Boot, Domain, entropy, heap, memory::SpecialPage, set_epitaph};
use embassy_sync::{blocking_mutex::raw::CriticalSectionRawMutex, signal::Signal};
use proto_manifest::wiring::Wiring;
use proto_svc::Message;
use proto_xen::DomId;

use crate::{channels, footing::Footing, supervision};

/// An event channel port of this domain.
pub type Port = channels::Port<Xen, Domain>;
/// A channel whose page is ours and whose other end is dom0.
pub type Owned<Out, In> = channels::Owned<Xen, Domain, Out, In>;
/// A channel that we offer to another service.
pub type Offered<Out, In> = channels::Offered<Xen, Domain, Out, In>;
/// A channel that another service offers to us.
pub type Accepted<Out, In> = channels::Accepted<Xen, Domain, Out, In>;

/// This domain.
#[derive(Clone, Copy, Debug)]
pub struct Device;

impl Footing for Device {
    type Xen = Xen;
    type Runtime = Domain;

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

static READY: Signal<CriticalSectionRawMutex, ()> = Signal::new();

/// Reads the wiring record, and does what it says about the last words and the heap.
///
/// # Panics
/// If there is no record that this build can read.
#[must_use]
pub fn read_wiring(boot: &Boot) -> Wiring {
    let wiring = channels::wiring(boot.module(0));
    if !set_epitaph(wiring.epitaph) {
        channels::wrong(&wiring.name, "the page for last words is not reserved");
    }
    heap::set_limit(wiring.heap_limit_kib as usize * 1024);
    wiring
}

/// Tells dom0 that the service does its work from now on.
pub fn ready() {
    READY.signal(());
}

/// As [`supervision::supervise`].
pub async fn supervise(wiring: Wiring, peers: &'static Peers) {
    supervision::supervise(Xen, Domain, wiring, peers, &READY).await;
}

/// As [`channels::open_dom0`].
pub async fn open_dom0<Out: Message, In: Message>(wiring: &Wiring) -> Owned<Out, In> {
    channels::open_dom0(Xen, Domain, wiring).await
}

/// As [`channels::offer`].
pub async fn offer<Out: Message, In: Message>(
    peers: &'static Peers,
    park: &'static Park<SpecialPage>,
) -> (Tie<'static>, Offered<Out, In>) {
    channels::offer(Xen, Domain, peers, park).await
}

/// As [`channels::accept`].
pub async fn accept<Out: Message, In: Message>(
    peers: &'static Peers,
) -> (Tie<'static>, (DomId, Accepted<Out, In>)) {
    channels::accept(Xen, Domain, peers).await
}
