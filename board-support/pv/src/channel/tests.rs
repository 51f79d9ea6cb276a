//! Both ends of a channel on a fake Xen.

use super::*;
use crate::fake::{Domain, World, run, world};
use crate::grant::{GrantedPage, Park};
use crate::port::BoundPort;
use board_support_hyp::{Access, EventChannels, Grants, Pages};
use proptest::prelude::*;
use proto_ring::channel::{DOWN, UP};
use proto_ring::index::Index;
use proto_svc::network::{FromControl, ToControl, VifRefusal};
use proto_xen::{DomId, Gref, Port};
use std::boxed::Box;
use std::vec;
use std::vec::Vec;
use tests_fakexen::grant::PageOf;

const CONTROL: DomId = DomId(2);
const NET: DomId = DomId(1);
const GREF: Gref = Gref(8);

type FakeLine = BoundPort<Domain, Domain>;
type Lower<'p> = Channel<FakeLine, GrantedPage<'p, Domain, <Domain as Pages>::Page>, FromControl, ToControl>;
type Upper = Channel<FakeLine, <Domain as Grants>::Mapped, ToControl, FromControl>;
type TestPark = Park<<Domain as Pages>::Page>;

struct Stage {
    world: World,
    park: TestPark,
    ports: (Port, Port),
}

impl Stage {
    fn new() -> Self {
        let world = world();
        let ports = world.connect(CONTROL, NET);
        Self { world, park: Park::new(), ports }
    }

    fn lower_parts(&self) -> (FakeLine, GrantedPage<'_, Domain, <Domain as Pages>::Page>) {
        let control = self.world.domain(CONTROL);
        let line = BoundPort::adopt(control.clone(), control.clone(), self.ports.0).unwrap();
        let page = Pages::allocate(&control).unwrap();
        let gfn = control.gfn(&page);
        let granted =
            GrantedPage::offer_as(control, &self.park, GREF, NET, page, gfn, Access::ReadWrite).unwrap();
        (line, granted)
    }

    fn upper_parts(&self) -> (FakeLine, <Domain as Grants>::Mapped) {
        let net = self.world.domain(NET);
        let line = BoundPort::adopt(net.clone(), net.clone(), self.ports.1).unwrap();
        (line, net.map(CONTROL, GREF, Access::ReadWrite).unwrap())
    }

    /// Both ends, open.
    fn open(&self) -> (Lower<'_>, Upper) {
        let (line, page) = self.lower_parts();
        let upper = self.upper_parts();
        let (lower_end, upper_end) = (RefCell::new(None), RefCell::new(None));
        let left = run(vec![
            Box::pin(async { *upper_end.borrow_mut() = Some(Upper::open_upper(upper.0, upper.1).await) }),
            Box::pin(async { *lower_end.borrow_mut() = Some(Lower::open_lower(line, page).await) }),
        ]);
        assert_eq!(left, 0);
        (lower_end.take().unwrap().unwrap(), upper_end.take().unwrap().unwrap())
    }

    fn page(&self) -> PageOf {
        self.world.page_of(CONTROL, GREF)
    }
}

fn question(number: u32) -> FromControl {
    FromControl::VifConnect { tx_gref: number, rx_gref: 1, port: 2, mac: [3; 6] }
}

fn answer() -> ToControl {
    ToControl::VifRefused(VifRefusal::Busy)
}

#[test]
fn ends_greet_and_talk_whichever_comes_first() {
    let stage = Stage::new();
    let (mut lower, mut upper) = stage.open();
    lower.try_send(&question(5)).unwrap();
    assert_eq!(upper.try_receive(), Ok(Some(question(5))));
    assert_eq!(upper.try_receive(), Ok(None));
    upper.try_send(&answer()).unwrap();
    assert_eq!(lower.try_receive(), Ok(Some(answer())));
}

#[test]
fn a_peer_that_never_stops_sending_leaves_others_their_turn() {
    let stage = Stage::new();
    let (mut lower, mut upper) = stage.open();
    let cx = &mut Context::from_waker(Waker::noop());
    let mut turns_of_others = 0;
    for number in 0..1000 {
        // The ring is never empty when it is looked at.
        lower.try_send(&question(number)).unwrap();
        if let Poll::Ready(received) = core::pin::pin!(upper.receive()).poll(cx) {
            received.unwrap();
        } else {
            turns_of_others += 1;
            assert!(upper.try_receive().unwrap().is_some());
        }
    }
    assert!(turns_of_others >= 1000 / 17, "{turns_of_others}");
}

#[test]
fn everything_is_given_back_in_the_end() {
    let stage = Stage::new();
    let (lower, upper) = stage.open();
    drop(lower);
    assert_eq!(stage.park.len(), 1, "net still maps it");
    drop(upper);
    stage.park.retry(&stage.world.domain(CONTROL));
    assert_eq!(stage.world.pages_in_use(CONTROL), 0);
    assert_eq!(stage.world.grants_in_use(CONTROL), 0);
    assert_eq!(stage.world.ports_in_use(), 0);
}

#[test]
fn receiver_sleeps_until_a_message_comes() {
    let stage = Stage::new();
    let (mut lower, mut upper) = stage.open();
    let got = RefCell::new(Vec::new());
    let left = run(vec![
        Box::pin(async {
            for _ in 0..3 {
                let message = upper.receive().await.unwrap();
                got.borrow_mut().push(message);
            }
        }),
        Box::pin(async {
            for number in 0..3 {
                lower.send(&question(number)).await.unwrap();
            }
        }),
    ]);
    assert_eq!(left, 0);
    assert_eq!(*got.borrow(), [question(0), question(1), question(2)]);
}

/// Far more than the page holds, in both directions at once, each end split over two tasks that share one
/// port.
#[test]
fn halves_in_four_tasks_carry_a_flood_with_back_pressure() {
    const COUNT: u32 = 3000;
    let stage = Stage::new();
    let (mut lower, mut upper) = stage.open();
    let (mut lower_out, mut lower_in) = lower.split();
    let (mut upper_out, mut upper_in) = upper.split();
    let left = run(vec![
        Box::pin(async move {
            for number in 0..COUNT {
                lower_out.send(&question(number)).await.unwrap();
            }
        }),
        Box::pin(async move {
            for number in 0..COUNT {
                assert_eq!(upper_in.receive().await, Ok(question(number)));
            }
        }),
        Box::pin(async move {
            for _ in 0..COUNT {
                upper_out.send(&answer()).await.unwrap();
            }
        }),
        Box::pin(async move {
            for _ in 0..COUNT {
                assert_eq!(lower_in.receive().await, Ok(answer()));
            }
        }),
    ]);
    assert_eq!(left, 0);
}

#[test]
fn full_channel_is_busy_and_recovers() {
    let stage = Stage::new();
    let (mut lower, mut upper) = stage.open();
    let mut sent = 0;
    while lower.try_send(&question(1 << 20)).is_ok() {
        sent += 1;
    }
    assert_eq!(lower.try_send(&question(1 << 20)), Err(ChannelError::Busy));
    for _ in 0..sent {
        assert_eq!(upper.try_receive(), Ok(Some(question(1 << 20))));
    }
    assert_eq!(lower.try_send(&question(0)), Ok(()));
}

#[test]
fn messages_sent_before_closing_still_arrive() {
    let stage = Stage::new();
    let (mut lower, mut upper) = stage.open();
    lower.try_send(&question(1)).unwrap();
    let page = stage.page();
    drop(lower);
    assert!(Side::Lower.is_closed(&page));
    assert_eq!(upper.try_receive(), Ok(Some(question(1))));
    assert_eq!(upper.try_receive(), Err(ChannelError::Closed));
    assert_eq!(upper.try_send(&answer()), Err(ChannelError::Closed));
}

#[test]
fn sleeping_peer_is_woken_by_the_close() {
    let stage = Stage::new();
    let (lower, mut upper) = stage.open();
    let (mut out, mut incoming) = upper.split();
    let left = run(vec![
        Box::pin(async move {
            assert_eq!(incoming.receive().await, Err(ChannelError::Closed));
        }),
        Box::pin(async move { while out.send(&answer()).await.is_ok() {} }),
        Box::pin(async move { drop(lower) }),
    ]);
    assert_eq!(left, 0);
}

#[test]
fn other_version_is_refused() {
    let stage = Stage::new();
    let (line, page) = stage.lower_parts();
    let (upper_line, upper_page) = stage.upper_parts();
    let result = RefCell::new(None);
    run(vec![
        Box::pin(async {
            let opened = Upper::open_upper(upper_line, upper_page).await;
            *result.borrow_mut() = Some(opened.err());
        }),
        Box::pin(async {
            initialise(page.words());
            let (writer, _) = Side::Lower.streams();
            let sent = FrameWriter::new(writer).send(page.words(), &[0, 99]);
            assert!(matches!(sent, Ok(Sent::Whole(Notify::Yes))));
            line.notify().unwrap();
        }),
    ]);
    assert_eq!(result.take(), Some(Some(ChannelError::Version { theirs: 99, ours: FromControl::VERSION })));
    assert!(Side::Upper.is_closed(page.words()), "the peer is told");
}

/// A peer that breaks the page ends the channel: the same error every time after, and the flag in the page.
#[test]
fn hostile_pages() {
    type Attack = fn(&Words);
    type Expected = fn(ChannelError) -> bool;
    let rows: [(&str, Attack, Expected); 5] = [
        (
            "producer ahead",
            |page| UP.prod.store(page, 5000),
            |error| matches!(error, ChannelError::Peer(PeerFault::ProducerOutOfRange { .. })),
        ),
        (
            "producer moved back",
            |page| UP.prod.store(page, 1),
            |error| matches!(error, ChannelError::Peer(PeerFault::ProducerOutOfRange { .. })),
        ),
        (
            "consumer ahead",
            |page| DOWN.cons.store(page, 5000),
            |error| matches!(error, ChannelError::Peer(PeerFault::ConsumerOutOfRange { .. })),
        ),
        (
            "length lie",
            |page| raw(page, &[0xff, 0xff]),
            |error| matches!(error, ChannelError::Peer(PeerFault::FrameTooLong { length: 0xffff, .. })),
        ),
        (
            "no message",
            |page| raw(page, &[1, 0, 0x77]),
            |error| matches!(error, ChannelError::Message(MessageError::Malformed { length: 1 })),
        ),
    ];
    for (name, attack, expected) in rows {
        let stage = Stage::new();
        let (_lower, mut upper) = stage.open();
        let page = stage.page();
        attack(&page);
        let error = upper.try_receive().and_then(|_| upper.try_send(&answer())).unwrap_err();
        assert!(expected(error), "{name}: {error:?}");
        assert!(Side::Upper.is_closed(&page), "{name}");
        assert_eq!(upper.try_receive(), Err(error), "{name}");
        assert_eq!(upper.try_send(&answer()), Err(error), "{name}");
    }
}

/// Puts bytes behind what the lower end has sent.
fn raw(page: &Words, bytes: &[u8]) {
    let prod = Index::new(UP.prod.load(page));
    UP.window.copy_in(page, prod, bytes);
    UP.prod.publish(page, prod.plus(bytes.len() as u32).raw());
}

#[test]
fn fault_seen_by_one_half_wakes_the_other() {
    let stage = Stage::new();
    let (_lower, mut upper) = stage.open();
    while upper.try_send(&answer()).is_ok() {}
    let page = stage.page();
    let (mut out, mut incoming) = upper.split();
    let left = run(vec![
        Box::pin(async move {
            assert!(matches!(out.send(&answer()).await, Err(ChannelError::Peer(_))));
        }),
        Box::pin(async move {
            assert!(matches!(incoming.receive().await, Err(ChannelError::Peer(_))));
        }),
        Box::pin(async {
            UP.prod.store(&page, 0x4000_0000);
            stage.world.raise(NET, stage.ports.1);
        }),
    ]);
    assert_eq!(left, 0);
}

/// The port wakes the half that asked last, here the sender, and the event is for the other one.
#[test]
fn event_that_is_not_for_the_half_that_was_told_is_passed_on() {
    let stage = Stage::new();
    let (mut lower, mut upper) = stage.open();
    let (mut out, mut incoming) = lower.split();
    let received = Cell::new(false);
    let left = run(vec![
        Box::pin(async {
            assert_eq!(incoming.receive().await, Ok(answer()));
            received.set(true);
        }),
        Box::pin(async move {
            loop {
                out.send(&question(1 << 20)).await.unwrap();
            }
        }),
        Box::pin(async { upper.try_send(&answer()).unwrap() }),
    ]);
    assert!(received.get());
    assert_eq!(left, 1, "the sender still has no room");
}

#[test]
fn fault_seen_without_sleeping_wakes_the_other_half_too() {
    let stage = Stage::new();
    let (_lower, mut upper) = stage.open();
    let page = stage.page();
    let (mut out, mut incoming) = upper.split();
    let left = run(vec![
        Box::pin(async move { while out.send(&answer()).await.is_ok() {} }),
        Box::pin(async move {
            UP.prod.store(&page, 0x4000_0000);
            assert!(matches!(incoming.try_receive(), Err(ChannelError::Peer(_))));
        }),
    ]);
    assert_eq!(left, 0);
}

#[test]
fn accepter_waits_for_an_offerer_that_is_late() {
    // An unbound port, as dom0 leaves it: with the one that was built later.
    late_offer(CONTROL);
    late_offer(NET);
}

/// The port is one of `owner`.
fn late_offer(owner: DomId) {
    let stage = Stage::new();
    let control = stage.world.domain(CONTROL);
    let net = stage.world.domain(NET);
    let remote = if owner == NET { CONTROL } else { NET };
    let port = stage.world.domain(owner).alloc_unbound(DomId::SELF, remote).unwrap();
    let end = |this: &Domain, peer| line(this.clone(), this.clone(), peer, port, peer == owner).unwrap();
    let opened = RefCell::new(false);
    let done = RefCell::new(None);
    let left = run(vec![
        Box::pin(async {
            let line = end(&net, CONTROL);
            let accepted = async {
                let page = map(&line, &net, CONTROL, GREF).await?;
                Channel::<_, _, ToControl, FromControl>::open_upper(line, page)
                    .await
                    .map_err(OpenError::Channel)
            };
            let mut upper = accepted.await.unwrap();
            *opened.borrow_mut() = true;
            upper.send(&answer()).await.unwrap();
        }),
        Box::pin(async {
            assert!(!*opened.borrow());
            let line = end(&control, NET);
            let page = Pages::allocate(&control).unwrap();
            let gfn = control.gfn(&page);
            let offer = offer::<_, _, _, FromControl, ToControl>(
                line,
                control.clone(),
                &stage.park,
                Offer { peer: NET, gref: GREF, gfn },
                page,
            );
            let mut lower = offer.await.unwrap();
            *done.borrow_mut() = Some(lower.receive().await);
        }),
    ]);
    assert_eq!(left, 0);
    assert_eq!(done.take(), Some(Ok(answer())));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Random batches with spurious events between them arrive whole and in order, and nobody is left
    /// sleeping.
    #[test]
    fn random_schedules(batches in prop::collection::vec((1..40_u32, any::<bool>(), any::<bool>()), 1..30)) {
        let stage = Stage::new();
        let (mut lower, mut upper) = stage.open();
        let total: u32 = batches.iter().map(|batch| batch.0).sum();
        let left = run(vec![
            Box::pin(async {
                let mut number = 0;
                for &(count, to_net, to_control) in &batches {
                    for _ in 0..count {
                        lower.send(&question(number)).await.unwrap();
                        number += 1;
                    }
                    if to_net { stage.world.raise(NET, stage.ports.1); }
                    if to_control { stage.world.raise(CONTROL, stage.ports.0); }
                }
            }),
            Box::pin(async {
                for number in 0..total {
                    assert_eq!(upper.receive().await, Ok(question(number)));
                }
            }),
        ]);
        prop_assert_eq!(left, 0);
    }
}
