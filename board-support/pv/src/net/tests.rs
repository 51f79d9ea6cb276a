//! Netfront and netback on a fake Xen, honest and hostile.

use super::back::{Back, ConnectError, Frame, PushError, Vif};
use super::front::{BufferCounts, Front};
use super::{Frames, TransmitError};
use crate::fake::{Domain, Page, World, run, world};
use crate::grant::{GrantedPage, Park};
use crate::port::BoundPort;
use board_support_hyp::{Access, EventChannels, Shared};
use proptest::prelude::*;
use proto_io::netif::checksum::Checksum;
use proto_io::netif::packet::Refusal;
use proto_io::netif::rx::{RxFlags, RxRequest, RxResponse};
use proto_io::netif::tx::{TxFlags, TxRequest, TxResponse};
use proto_io::netif::{RX_SLOT, Status, TX_SLOT, extra::Extra};
use proto_ring::page::{Window, Word};
use proto_ring::{Index, PeerFault, back, front};
use proto_xen::{DomId, Gref, Port};
use std::boxed::Box;
use std::cell::Cell;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::vec;
use std::vec::Vec;

mod hostile_back;
mod hostile_front;

const NET: DomId = DomId(1);
const GUEST: DomId = DomId(2);

type FakeLine = BoundPort<Domain, Domain>;
type FakePark = Park<Page>;
type FakeFront<'p> = Front<'p, FakeLine, Domain, Page>;
type FakeBack = Back<FakeLine, Domain>;

fn line_to(domain: &Domain, remote: DomId) -> FakeLine {
    BoundPort::allocate(domain.clone(), domain.clone(), remote).unwrap()
}

fn new_front<'p>(world: &World, park: &'p FakePark, counts: BufferCounts) -> FakeFront<'p> {
    let guest = world.domain(GUEST);
    Front::new(line_to(&guest, NET), guest.clone(), &guest, park, NET, counts).unwrap()
}

fn connect(world: &World, vif: Vif) -> Result<FakeBack, ConnectError> {
    let net = world.domain(NET);
    Back::connect(net.clone(), net.clone(), net, vif)
}

fn vif_of(front: &FakeFront<'_>) -> Vif {
    let (tx_gref, rx_gref) = front.rings();
    Vif { frontend: GUEST, tx_gref, rx_gref, port: front.line().port() }
}

fn both_ends<'p>(world: &World, park: &'p FakePark, counts: BufferCounts) -> (FakeFront<'p>, FakeBack) {
    let front = new_front(world, park, counts);
    let back = connect(world, vif_of(&front)).unwrap();
    (front, back)
}

fn frame(number: usize, length: usize) -> Vec<u8> {
    (0..length).map(|at| (at ^ number) as u8).collect()
}

/// One poll of a wait.
fn poll_once(wait: impl Future<Output = Result<(), PeerFault>>) -> Poll<Result<(), PeerFault>> {
    pin!(wait).poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn frames_go_both_ways() {
    let (world, park) = (world(), Park::new());
    let (mut front, mut back) = both_ends(&world, &park, BufferCounts::default());
    let mut buffer = [0; 4096];
    for length in [14, 15, 60, 1514, 4095, 4096] {
        front.transmit(&frame(1, length)).unwrap();
        assert_eq!(back.next_frame(&mut buffer), Ok(Some(Frame { length, checksum: Checksum::Unchecked })));
        assert_eq!(buffer[..length], frame(1, length));
        assert_eq!(back.next_frame(&mut buffer), Ok(None));

        back.push_frame(&frame(2, length), Checksum::Validated).unwrap();
        assert_eq!(front.receive(&mut buffer), None, "not flushed yet");
        back.flush();
        assert_eq!(front.receive(&mut buffer), Some(length));
        assert_eq!(buffer[..length], frame(2, length));
    }
    assert!(front.can_transmit());
    let counters = front.counters();
    assert_eq!((counters.tx_frames, counters.rx_frames, counters.tx_errors), (6, 6, 0));
    assert_eq!(back.counters().tx_bytes, counters.tx_bytes);
    assert_eq!(back.counters().rx_bytes, counters.rx_bytes);
}

#[test]
fn lengths_that_are_no_frame_are_refused_here() {
    let (world, park) = (world(), Park::new());
    let (mut front, mut back) = both_ends(&world, &park, BufferCounts::default());
    for length in [0, 13, 4097] {
        assert_eq!(front.transmit(&frame(0, length)), Err(TransmitError::Length { length }));
    }
    assert_eq!(back.push_frame(&[0; 4097], Checksum::Unchecked), Err(PushError::TooLong));
}

#[test]
fn everything_is_given_back_in_the_end() {
    let (world, park) = (world(), Park::new());
    let (front, back) = both_ends(&world, &park, BufferCounts { tx: 4, rx: 4 });
    assert_eq!(world.grants_in_use(GUEST), 10);
    drop(front);
    assert_eq!(park.len(), 2, "the backend still maps the rings");
    drop(back);
    park.retry(&world.domain(GUEST));
    assert_eq!((world.grants_in_use(GUEST), world.pages_in_use(GUEST), world.ports_in_use()), (0, 0, 0));
}

#[test]
fn front_that_finds_too_few_pages_gives_back_what_it_had() {
    let (world, park) = (world(), Park::new());
    let guest = world.domain(GUEST);
    world.limit_pages(GUEST, 9);
    let line = line_to(&guest, NET);
    let counts = BufferCounts { tx: 4, rx: 4 };
    assert!(Front::new(line, guest.clone(), &guest, &park, NET, counts).is_err());
    assert_eq!((world.grants_in_use(GUEST), world.pages_in_use(GUEST), world.ports_in_use()), (0, 0, 0));
}

#[test]
fn connecting_to_what_is_not_there_leaves_nothing_behind() {
    let (world, park) = (world(), Park::new());
    let front = new_front(&world, &park, BufferCounts { tx: 1, rx: 1 });
    let good = vif_of(&front);
    let ports = world.ports_in_use();
    for bad in [
        Vif { tx_gref: Gref(9999), ..good },
        Vif { rx_gref: Gref(9999), ..good },
        Vif { port: Port(9999), ..good },
        Vif { frontend: NET, ..good },
    ] {
        assert!(connect(&world, bad).is_err());
        assert_eq!(world.ports_in_use(), ports);
    }
    assert!(connect(&world, good).is_ok());
}

#[test]
fn full_front_is_busy_until_the_back_answers() {
    let (world, park) = (world(), Park::new());
    let (mut front, mut back) = both_ends(&world, &park, BufferCounts { tx: 3, rx: 3 });
    // Binding the port raised it.
    let _ = poll_once(front.wait());
    for number in 0..3 {
        front.transmit(&frame(number, 60)).unwrap();
    }
    assert!(!front.can_transmit());
    assert_eq!(front.transmit(&frame(3, 60)), Err(TransmitError::Busy));
    assert!(poll_once(front.wait()).is_pending());
    let mut buffer = [0; 1514];
    while back.next_frame(&mut buffer).unwrap().is_some() {}
    back.flush();
    assert_eq!(poll_once(front.wait()), Poll::Ready(Ok(())));
    assert!(front.can_transmit());
}

#[test]
fn back_without_buffers_is_busy_until_the_front_gives_some() {
    let (world, park) = (world(), Park::new());
    let (mut front, mut back) = both_ends(&world, &park, BufferCounts { tx: 3, rx: 3 });
    for number in 0..3 {
        back.push_frame(&frame(number, 60), Checksum::Unchecked).unwrap();
    }
    assert_eq!(back.push_frame(&frame(3, 60), Checksum::Unchecked), Err(PushError::Busy));
    while poll_once(back.wait()).is_ready() {}
    let mut buffer = [0; 1514];
    assert_eq!(front.receive(&mut buffer), Some(60));
    assert_eq!(poll_once(back.wait()), Poll::Ready(Ok(())));
    assert_eq!(back.push_frame(&frame(3, 60), Checksum::Unchecked), Ok(()));
    assert_eq!(back.counters().rx_drops, 1);
}

#[test]
fn frame_too_long_for_the_receiver_is_dropped_and_counted() {
    let (world, park) = (world(), Park::new());
    let (mut front, mut back) = both_ends(&world, &park, BufferCounts::default());
    front.transmit(&frame(0, 2000)).unwrap();
    front.transmit(&frame(1, 100)).unwrap();
    let mut buffer = [0; 1514];
    assert_eq!(back.next_frame(&mut buffer).unwrap().map(|frame| frame.length), Some(100));
    assert_eq!(back.counters().last_refusal, Some(Refusal::TooLong { length: 2000, max: 1514 }));
    back.push_frame(&frame(2, 2000), Checksum::Unchecked).unwrap();
    back.push_frame(&frame(3, 100), Checksum::Unchecked).unwrap();
    back.flush();
    assert_eq!(front.receive(&mut buffer), Some(100));
    assert_eq!(front.counters().rx_drops, 1);
}

/// A guest and a driver domain that echoes, each its own task: far more frames than the rings hold.
#[test]
fn echo_of_many_frames_with_back_pressure() {
    const COUNT: usize = 3000;
    let (world, park) = (world(), Park::new());
    let (mut front, mut back) = both_ends(&world, &park, BufferCounts { tx: 5, rx: 7 });
    let done = Cell::new(false);
    let left = run(vec![
        Box::pin(async {
            let (mut sent, mut received) = (0, 0);
            let mut buffer = [0; 1514];
            while received < COUNT {
                while sent < COUNT && front.transmit(&frame(sent, 60 + sent % 1400)).is_ok() {
                    sent += 1;
                }
                while let Some(length) = front.receive(&mut buffer) {
                    assert_eq!(buffer[..length], frame(received, 60 + received % 1400));
                    received += 1;
                }
                if received < COUNT {
                    front.wait().await.unwrap();
                }
            }
            done.set(true);
            drop(front);
        }),
        Box::pin(async {
            let mut buffer = [0; 1514];
            let mut waiting: Option<usize> = None;
            while !done.get() {
                while let Some(length) =
                    waiting.take().or_else(|| back.next_frame(&mut buffer).unwrap().map(|frame| frame.length))
                {
                    match back.push_frame(&buffer[..length], Checksum::Unchecked) {
                        Ok(()) => {}
                        Err(PushError::Busy) => {
                            waiting = Some(length);
                            break;
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
                back.wait().await.unwrap();
            }
        }),
    ]);
    // The echo may be left asleep: nobody tells it that the guest is done.
    assert!(done.get() && left <= 1);
    assert!(world.sent() < 2 * COUNT, "{} events for {COUNT} echoes", world.sent());
}

#[test]
fn one_pass_is_as_long_as_the_ring_and_then_yields() {
    let (world, park) = (world(), Park::new());
    let (mut front, mut back) = both_ends(&world, &park, BufferCounts { tx: 64, rx: 1 });
    let mut buffer = [0; 1514];
    let mut handled = 0;
    // A guest that never stops: it sends as fast as it is served.
    while front.transmit(&frame(handled, 60)).is_ok() {
        let Some(_) = back.next_frame(&mut buffer).unwrap() else { break };
        handled += 1;
        back.flush();
    }
    assert_eq!(handled, 256);
    assert!(poll_once(back.wait()).is_pending(), "others first");
    assert_eq!(poll_once(back.wait()), Poll::Ready(Ok(())));
    assert!(back.next_frame(&mut buffer).unwrap().is_some());
}

#[test]
fn smoltcp_sends_and_receives_through_a_vif() {
    use super::device::Device;
    use smoltcp::phy::{Device as _, RxToken as _, TxToken as _};
    use smoltcp::time::Instant;

    let (world, park) = (world(), Park::new());
    let (front, mut back) = both_ends(&world, &park, BufferCounts { tx: 1, rx: 2 });
    let mut device = Device::new(front);
    assert_eq!(device.capabilities().max_transmission_unit, 1514);
    let token = device.transmit(Instant::ZERO).unwrap();
    token.consume(60, |bytes| bytes.copy_from_slice(&frame(1, 60)));
    assert!(device.transmit(Instant::ZERO).is_none(), "the only buffer is out");

    // A frame waits, but an answer to it would have no room: no reason to look again before there is.
    back.push_frame(&frame(2, 99), Checksum::Unchecked).unwrap();
    back.flush();
    assert!(device.receive(Instant::ZERO).is_none());
    while poll_once(device.wait()).is_ready() {}
    let mut buffer = [0; 1514];
    assert_eq!(back.next_frame(&mut buffer).unwrap().unwrap().length, 60);
    back.flush();
    assert_eq!(poll_once(device.wait()), Poll::Ready(Ok(())));
    let (received, _) = device.receive(Instant::ZERO).unwrap();
    assert!(received.consume(|bytes| bytes == frame(2, 99)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Random bursts in both directions with spurious events: what arrives is what was sent, in order, and
    /// nobody sleeps for ever.
    #[test]
    fn random_schedules(
        bursts in prop::collection::vec((1..40_usize, any::<bool>(), any::<bool>()), 1..20),
        tx in 1..20_usize,
    ) {
        let (world, park) = (world(), Park::new());
        let (mut front, mut back) = both_ends(&world, &park, BufferCounts { tx, rx: 4 });
        let (guest_port, total) = (front.line().port(), bursts.iter().map(|burst| burst.0).sum());
        let left = run(vec![
            Box::pin(async {
                let mut sent = 0;
                for &(count, spurious, early) in &bursts {
                    let until = sent + count;
                    while sent < until {
                        match front.transmit(&frame(sent, 64)) {
                            Ok(()) => sent += 1,
                            Err(TransmitError::Busy) => front.wait().await.unwrap(),
                            Err(error) => panic!("{error}"),
                        }
                    }
                    if spurious { world.raise(GUEST, guest_port); }
                    if early { let _ = poll_once(front.wait()); }
                }
            }),
            Box::pin(async {
                let mut buffer = [0; 1514];
                let mut received = 0;
                while received < total {
                    while back.next_frame(&mut buffer).unwrap().is_some() {
                        assert_eq!(buffer[..64], frame(received, 64));
                        received += 1;
                    }
                    back.flush();
                    if received < total { back.wait().await.unwrap(); }
                }
            }),
        ]);
        prop_assert_eq!(left, 0);
    }
}
