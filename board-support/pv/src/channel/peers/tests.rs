//! A service that offers a channel, over several lives of the one who accepts, and the other way round.

use core::future::Future;
use core::pin::pin;
use std::boxed::Box;
use std::vec;
use std::vec::Vec;

use board_support_hyp::{Domctl, EventChannels, Grants};
use proptest::prelude::*;
use proto_svc::network::{FromControl, ToControl};
use proto_xen::{DomId, Gfn, Gref, Port};

use super::*;
use crate::channel::{self, Channel, Offer};
use crate::fake::{Domain, World, run};
use crate::grant::{GrantedPage, Park};
use crate::port::BoundPort;
use tests_fakexen::page::SpecialPage as Special;

const CONTROL: DomId = DomId(2);
const GREF: Gref = Gref(496);

type FakeLine = BoundPort<Domain, Domain>;
type Lower<'p> = Channel<FakeLine, GrantedPage<'p, Domain, Special>, FromControl, ToControl>;
type Upper = Channel<FakeLine, <Domain as Grants>::Mapped, ToControl, FromControl>;

fn offered(peer: DomId, port: Port) -> PeerEnd {
    PeerEnd::Offer { peer: peer.0, page: 0x1000, gref: GREF.0, port: port.0, bind: false }
}

fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn a_tie_is_cut_by_an_end_and_by_a_return() {
    let peers = Peers::new();
    assert!(!peers.is_there("network"));
    assert!(poll_once(peers.wait("network")).is_pending());
    let end = offered(DomId(7), Port(3));
    peers.back("network", end);
    assert!(peers.is_there("network") && !peers.is_there("storage"));
    let Poll::Ready(tie) = poll_once(peers.wait("network")) else { panic!() };
    assert_eq!(tie.end(), end);
    assert!(poll_once(tie.cut()).is_pending());
    peers.gone("storage");
    assert!(poll_once(tie.cut()).is_pending(), "another channel");
    // Gone and back before anybody looked.
    peers.gone("network");
    peers.back("network", end);
    assert!(poll_once(tie.cut()).is_ready());
    let Poll::Ready(next) = poll_once(peers.wait("network")) else { panic!() };
    assert!(poll_once(next.cut()).is_pending());
    assert!(poll_once(tie.cut()).is_ready(), "once and for all");
}

#[test]
fn more_channels_than_there_is_room_for_are_nobodys() {
    let peers = Peers::new();
    for number in 0..20 {
        peers.back(&std::format!("channel-{number}"), offered(DomId(1), Port(number)));
    }
    let there = (0..20).filter(|number| peers.is_there(&std::format!("channel-{number}"))).count();
    assert_eq!(there, MAX_PLACES);
}

/// What dom0 does when net is built anew: a domain with another number, and a port of control's for it.
fn net_is_back(world: &World, peers: &Peers, net: DomId) -> Port {
    let port = world.dom0().alloc_unbound(CONTROL, net).unwrap();
    peers.back("network", offered(net, port));
    port
}

async fn open<'p>(world: &World, park: &'p Park<Special>, tie: &Tie<'_>) -> Lower<'p> {
    let PeerEnd::Offer { peer, page, gref, port, bind } = tie.end() else { panic!() };
    let control = world.domain(CONTROL);
    let page = control.page_at(Gfn(page / 4096)).unwrap();
    let line = channel::line(control.clone(), control.clone(), DomId(peer), Port(port), bind).unwrap();
    let offer = Offer { peer: DomId(peer), gref: Gref(gref), gfn: Gfn(1) };
    channel::offer(line, control, park, offer, page).await.unwrap()
}

async fn accept(world: &World, net: DomId, port: Port) -> Upper {
    let domain = world.domain(net);
    let line = channel::line(domain.clone(), domain.clone(), CONTROL, port, true).unwrap();
    let page = channel::map(&line, &domain, CONTROL, GREF).await.unwrap();
    Channel::open_upper(line, page).await.unwrap()
}

/// Eight lives of net, one after the other: each time the page is granted anew, is fresh, and carries
/// messages; nothing of the dead one is left.
#[test]
fn a_channel_is_opened_for_each_life_of_the_peer() {
    let world = World::new();
    // Without a pool: what the channel needs is the page that dom0 set aside.
    world.start(CONTROL, 4);
    let park = Park::new();
    let peers = Peers::new();
    for life in 0..8_u16 {
        let net = DomId(10 + life);
        world.start(net, 4);
        let port = net_is_back(&world, &peers, net);
        let Poll::Ready(tie) = poll_once(peers.wait("network")) else { panic!() };
        let ends: (RefCell<Option<Lower<'_>>>, RefCell<Option<Upper>>) = Default::default();
        let left = run(vec![
            Box::pin(async { *ends.0.borrow_mut() = Some(open(&world, &park, &tie).await) }),
            Box::pin(async { *ends.1.borrow_mut() = Some(accept(&world, net, port).await) }),
        ]);
        assert_eq!(left, 0, "life {life}");
        let (mut lower, mut upper) = (ends.0.take().unwrap(), ends.1.take().unwrap());
        lower.try_send(&FromControl::QueryCounters).unwrap();
        assert_eq!(upper.try_receive(), Ok(Some(FromControl::QueryCounters)));
        // net dies in the middle of a message that control has not read: Xen unmaps what it mapped.
        upper.try_send(&ToControl::VifRefused(proto_svc::network::VifRefusal::Busy)).unwrap();
        drop(upper);
        world.dom0().destroy_domain(net).unwrap();
        peers.gone("network");
        assert!(poll_once(tie.cut()).is_ready());
        drop(lower);
        assert!(park.is_empty());
        assert_eq!((world.grants_in_use(CONTROL), world.ports_in_use()), (0, 0), "life {life}");
    }
}

proptest! {
    /// Whatever dom0 says in whatever order, a tie is cut if and only if something was said of its channel
    /// since it was made, and whoever waits gets the end that was said last.
    #[test]
    fn ties_follow_what_was_said(said in prop::collection::vec((0..2_usize, any::<Option<u16>>()), 1..60)) {
        let peers = Peers::new();
        let names = ["network", "storage"];
        let mut ends: [Option<PeerEnd>; 2] = [None; 2];
        let mut ties: [Option<Tie<'_>>; 2] = [None, None];
        for (which, peer) in said {
            let end = peer.map(|peer| offered(DomId(peer), Port(1)));
            match end {
                Some(end) => peers.back(names[which], end),
                None => peers.gone(names[which]),
            }
            ends[which] = end;
            for (index, name) in names.iter().enumerate() {
                let cut = ties[index].as_ref().map(|tie| poll_once(tie.cut()).is_ready());
                prop_assert!(cut.is_none_or(|cut| cut == (index == which)));
                let Poll::Ready(tie) = poll_once(peers.wait(name)) else {
                    prop_assert_eq!(ends[index], None);
                    ties[index] = None;
                    continue;
                };
                prop_assert_eq!(Some(tie.end()), ends[index]);
                ties[index] = Some(tie);
            }
        }
    }
}

async fn others_first() {
    let mut waited = false;
    poll_fn(|cx| {
        cx.waker().wake_by_ref();
        if core::mem::replace(&mut waited, true) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

#[test]
fn sleepers_are_woken() {
    let peers = Peers::new();
    let seen: RefCell<Vec<u16>> = RefCell::default();
    let left = run(vec![
        Box::pin(async {
            for _ in 0..3 {
                let tie = peers.wait("network").await;
                let PeerEnd::Offer { peer, .. } = tie.end() else { panic!() };
                seen.borrow_mut().push(peer);
                if peer < 3 {
                    tie.cut().await;
                }
            }
        }),
        Box::pin(async {
            for peer in 1..=3 {
                peers.back("network", offered(DomId(peer), Port(1)));
                while !seen.borrow().contains(&peer) {
                    others_first().await;
                }
                peers.gone("network");
            }
        }),
    ]);
    assert_eq!(left, 0);
    assert_eq!(*seen.borrow(), [1, 2, 3]);
}
