//! The wiring record, and the channels that it names.

use alloc::boxed::Box;
use core::fmt::Display;

use board_support_hyp::{Grants, Shared, Xen};
use board_support_pv::{
    channel::{self, Channel},
    grant::{GrantedPage, Park},
    port::BoundPort,
};
use board_support_rt::{
    Boot, Domain, heap,
    memory::{SpecialPage, special_page},
    set_epitaph,
};
use proto_manifest::wiring::{End, Wiring};
use proto_svc::Message;
use proto_xen::{DomId, Gaddr, Gref};

/// An event channel port of this domain.
pub type Port = BoundPort<Xen, Domain>;
/// A channel whose page is ours and whose other end is dom0.
pub type Owned<Out, In> = Channel<Port, SpecialPage, Out, In>;
/// A channel that we offer to another service.
pub type Offered<Out, In> = Channel<Port, GrantedPage<'static, Xen, SpecialPage>, Out, In>;
/// A channel that another service offers to us.
pub type Accepted<Out, In> = Channel<Port, <Xen as Grants>::Mapped, Out, In>;

/// Reads the wiring record, and does what it says about the last words and the heap.
///
/// # Panics
/// If there is no record that this build can read.
#[must_use]
pub fn read_wiring(boot: &Boot) -> Wiring {
    let record = boot.module(0).unwrap_or_else(|| wrong("", "there is no module"));
    let wiring = Wiring::decode(record).unwrap_or_else(|error| wrong("", error));
    if !set_epitaph(wiring.epitaph) {
        wrong(&wiring.name, "the page for last words is not reserved");
    }
    heap::set_limit(wiring.heap_limit_kib as usize * 1024);
    wiring
}

/// A park for granted pages, which lives for as long as the domain.
#[must_use]
pub fn park<P: Shared>() -> &'static Park<P> {
    Box::leak(Box::new(Park::new()))
}

/// Opens our end of the channel to dom0 that `Out` and `In` belong to.
///
/// # Panics
/// If the wiring has no such end or dom0 does not speak our version.
pub async fn open_dom0<Out: Message, In: Message>(wiring: &Wiring) -> Owned<Out, In> {
    let name = Out::CHANNEL;
    let Some(End::Dom0 { page, port }) = wiring.channel(name) else {
        wrong(name, "the wiring has no such channel to dom0")
    };
    let line = adopt(name, port);
    match Channel::open_lower(line, reserved(name, page)).await {
        Ok(channel) => channel,
        Err(error) => wrong(name, error),
    }
}

/// Opens the channel that we offer to another service, once that service is there. `None` if the
/// wiring leaves it out, as when the other service could not be built.
///
/// # Panics
/// If the wiring has another end of that name, or the peer does not speak our version.
pub async fn offer<Out: Message, In: Message>(wiring: &Wiring) -> Option<Offered<Out, In>> {
    let name = Out::CHANNEL;
    let End::Offer { peer, page, gref, port } = wiring.channel(name)? else {
        wrong(name, "the wiring does not let us offer it")
    };
    let page = reserved(name, page);
    let offer = channel::Offer { peer: DomId(peer), gref: Gref(gref), gfn: page.gfn() };
    match channel::offer(adopt(name, port), Xen, park(), offer, page).await {
        Ok(channel) => Some(channel),
        Err(error) => wrong(name, error),
    }
}

/// Opens the channel that another service offers to us, once that service is there, and says which
/// domain it is. `None` if the wiring leaves it out, as when the other service could not be built.
///
/// # Panics
/// If the wiring has another end of that name, or the peer does not speak our version.
pub async fn accept<Out: Message, In: Message>(wiring: &Wiring) -> Option<(DomId, Accepted<Out, In>)> {
    let name = Out::CHANNEL;
    let End::Accept { peer, gref, remote_port } = wiring.channel(name)? else {
        wrong(name, "the wiring does not let us accept it")
    };
    let peer = DomId(peer);
    match channel::accept(Xen, Domain, Xen, peer, Gref(gref), proto_xen::Port(remote_port)).await {
        Ok(channel) => Some((peer, channel)),
        Err(error) => wrong(name, error),
    }
}

fn adopt(name: &str, port: u32) -> Port {
    BoundPort::adopt(Xen, Domain, proto_xen::Port(port)).unwrap_or_else(|errno| wrong(name, errno))
}

fn reserved(name: &str, page: u64) -> SpecialPage {
    special_page(Gaddr(page)).unwrap_or_else(|| wrong(name, "its page is not reserved"))
}

/// dom0 wired us in a way that this build cannot work with.
fn wrong(channel: &str, error: impl Display) -> ! {
    panic!("wiring{}{channel}: {error}", if channel.is_empty() { "" } else { ", channel " });
}
