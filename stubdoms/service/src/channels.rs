//! The wiring record, and the channels that it names.

use alloc::boxed::Box;
use core::{fmt::Display, time::Duration};

use board_support_hyp::{EventChannels, Grants, Runtime, Shared};
use board_support_pv::{
    channel::{
        self, Channel, OpenError,
        peers::{Peers, Tie},
    },
    grant::{GrantedPage, Park},
    port::BoundPort,
};
use embassy_futures::select::{Either, select};
use proto_errors::Coded;
use proto_manifest::wiring::{End, Wiring};
use proto_svc::{Message, supervision::PeerEnd};
use proto_xen::{DomId, Gaddr, Gref};

/// What of Xen a service asks for to open its channels.
pub trait Hypervisor: EventChannels + Grants + Clone + 'static {}

impl<T: EventChannels + Grants + Clone + 'static> Hypervisor for T {}

/// An event channel port of this domain.
pub type Port<X, R> = BoundPort<X, R>;
/// A channel whose page is ours and whose other end is dom0.
pub type Owned<X, R, Out, In> = Channel<Port<X, R>, <R as Runtime>::Special, Out, In>;
/// A channel that we offer to another service.
pub type Offered<X, R, Out, In> =
    Channel<Port<X, R>, GrantedPage<'static, X, <R as Runtime>::Special>, Out, In>;
/// A channel that another service offers to us.
pub type Accepted<X, R, Out, In> = Channel<Port<X, R>, <X as Grants>::Mapped, Out, In>;

/// The wiring record.
///
/// # Panics
/// If there is none that this build can read.
#[must_use]
pub fn wiring(record: Option<&[u8]>) -> Wiring {
    let record = record.unwrap_or_else(|| wrong("", "there is no module"));
    Wiring::decode(record).unwrap_or_else(|error| wrong("", error))
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
pub async fn open_dom0<X: Hypervisor, R: Runtime, Out: Message, In: Message>(
    xen: X,
    runtime: R,
    wiring: &Wiring,
) -> Owned<X, R, Out, In> {
    let name = Out::CHANNEL;
    let Some(End::Dom0 { page, port }) = wiring.channel(name) else {
        wrong(name, "the wiring has no such channel to dom0")
    };
    let page = reserved(&runtime, name, page);
    let line =
        BoundPort::adopt(xen, runtime, proto_xen::Port(port)).unwrap_or_else(|errno| wrong(name, errno));
    match Channel::open_lower(line, page).await {
        Ok(channel) => channel,
        Err(error) => wrong(name, error),
    }
}

/// The peers that the wiring names; [`supervise`](crate::supervision::supervise) keeps them as things are.
#[must_use]
pub fn peers(wiring: &Wiring) -> &'static Peers {
    let peers = Box::leak(Box::new(Peers::new()));
    for channel in &wiring.channels {
        let end = match channel.end {
            End::Dom0 { .. } | End::Absent => continue,
            End::Offer { peer, page, gref, port, bind } => PeerEnd::Offer { peer, page, gref, port, bind },
            End::Accept { peer, gref, port, bind } => PeerEnd::Accept { peer, gref, port, bind },
        };
        peers.back(&channel.name, end);
    }
    peers
}

/// How long who offers a channel bears that it is broken while its peer lives. So long that dom0 does not give up who
/// ends for it again and again.
pub const BEARS: Duration = Duration::from_secs(90);

/// The channel that we offer is broken: waits for its peer's end. One that lives on cannot open it anew, for what it
/// was opened with counts once; the next life of either end can. Who offers a channel is who needs it, and ends for it
/// after [`BEARS`]. Who accepts it has others to serve, whom no client may take down.
///
/// # Panics
/// If the peer lives on.
pub async fn bear<R: Runtime>(runtime: &R, tie: &Tie<'_>) {
    if let Either::Second(()) = select(tie.cut(), runtime.sleep(BEARS)).await {
        panic!(
            "channel {} is broken, and its peer lives on: another life of ours opens it anew",
            tie.channel()
        );
    }
}

/// Opens the channel that we offer to another service, once that service is there. It counts until the
/// tie that comes with it is cut.
///
/// # Panics
/// As [`bear`] does, if it cannot be opened.
pub async fn offer<X: Hypervisor, R: Runtime, Out: Message, In: Message>(
    xen: X,
    runtime: R,
    peers: &'static Peers,
    park: &'static Park<R::Special>,
) -> (Tie<'static>, Offered<X, R, Out, In>) {
    let needs = runtime.clone();
    open(peers, Out::CHANNEL, Some(&needs), async |end| {
        let PeerEnd::Offer { peer, page, gref, port, bind } = end else {
            wrong(Out::CHANNEL, "the wiring does not let us offer it")
        };
        let gfn = Gaddr(page).frame();
        let page = reserved(&runtime, Out::CHANNEL, page);
        // dom0 tells of a peer's end after Xen has unmapped what it mapped, so this is soon over.
        while !park.is_empty() {
            park.retry(&xen);
            runtime.sleep(PARKED).await;
        }
        let line = line(&xen, &runtime, Out::CHANNEL, DomId(peer), port, bind).await;
        let offer = channel::Offer { peer: DomId(peer), gref: Gref(gref), gfn };
        channel::offer(line, xen.clone(), park, offer, page).await
    })
    .await
}

/// Opens the channel that another service offers to us, once that service is there. It counts until the
/// tie that comes with it is cut. Says which domain it is, too.
pub async fn accept<X: Hypervisor, R: Runtime, Out: Message, In: Message>(
    xen: X,
    runtime: R,
    peers: &'static Peers,
) -> (Tie<'static>, (DomId, Accepted<X, R, Out, In>)) {
    open(peers, Out::CHANNEL, None::<&R>, async |end| {
        let PeerEnd::Accept { peer, gref, port, bind } = end else {
            wrong(Out::CHANNEL, "the wiring does not let us accept it")
        };
        let peer = DomId(peer);
        let line = line(&xen, &runtime, Out::CHANNEL, peer, port, bind).await;
        // The port is kept meanwhile: one that was closed could not be bound again.
        let map = async || channel::map(&line, &xen, peer, Gref(gref)).await;
        let page = insist(&runtime, Out::CHANNEL, map).await;
        let channel = Channel::open_upper(line, page).await.map_err(OpenError::Channel)?;
        Ok((peer, channel))
    })
    .await
}

/// How soon a page that the peer still mapped is looked at again.
const PARKED: Duration = Duration::from_millis(1);

/// How long to wait before a call that failed while a channel is opened is made again, each time, in
/// milliseconds; the last one from then on.
const AGAIN_MS: [u64; 6] = [10, 30, 100, 300, 1000, 3000];

/// Makes a call of ours that may fail for a while until it works: the peer waits for that, and hears of no failure. The
/// first one is told.
async fn insist<T>(
    runtime: &impl Runtime,
    channel: &str,
    mut attempt: impl AsyncFnMut() -> Result<T, OpenError>,
) -> T {
    let mut told = false;
    let mut waits = AGAIN_MS.into_iter();
    let mut wait_ms = 0;
    loop {
        match attempt().await {
            Ok(done) => return done,
            Err(error) if !core::mem::replace(&mut told, true) => {
                log::warn!("channel {channel}: {}; it is tried again", error.told());
            }
            Err(_) => {}
        }
        wait_ms = waits.next().unwrap_or(wait_ms);
        runtime.sleep(Duration::from_millis(wait_ms)).await;
    }
}

/// The port of a channel to another service.
async fn line<X: Hypervisor, R: Runtime>(
    xen: &X,
    runtime: &R,
    channel: &str,
    peer: DomId,
    port: u32,
    bind: bool,
) -> Port<X, R> {
    let port = proto_xen::Port(port);
    let open = async || channel::line(xen.clone(), runtime.clone(), peer, port, bind);
    insist(runtime, channel, open).await
}

/// Opens a channel with one life of its peer after the other, until one of them is as it should be. Calls of ours
/// that fail are made again; a peer that breaks the protocol has no second try. Who `needs` the channel bears
/// that for a while only.
async fn open<C, R: Runtime>(
    peers: &'static Peers,
    name: &str,
    needs: Option<&R>,
    mut attempt: impl AsyncFnMut(PeerEnd) -> Result<C, OpenError>,
) -> (Tie<'static>, C) {
    loop {
        let tie = peers.wait(name).await;
        // Bound first: the future of the attempt must be gone before the tie moves.
        let opened = select(tie.cut(), attempt(tie.end())).await;
        match opened {
            Either::First(()) => {}
            Either::Second(Ok(channel)) => return (tie, channel),
            Either::Second(Err(error)) => {
                log::warn!("channel {name}: {}", error.told());
                match needs {
                    Some(runtime) => bear(runtime, &tie).await,
                    None => tie.cut().await,
                }
            }
        }
    }
}

fn reserved<R: Runtime>(runtime: &R, name: &str, page: u64) -> R::Special {
    runtime.special_page(Gaddr(page)).unwrap_or_else(|| wrong(name, "its page is not reserved"))
}

/// dom0 wired us in a way that this build cannot work with.
pub(crate) fn wrong(channel: &str, error: impl Display) -> ! {
    panic!("wiring{}{channel}: {error}", if channel.is_empty() { "" } else { ", channel " });
}
