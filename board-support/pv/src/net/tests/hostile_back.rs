//! A backend that writes its answers by hand.

use super::*;
use board_support_hyp::Grants;

/// Offset 8 of both rings: `rsp_prod`.
const RSP_PROD: Word = Word::at(8);

struct RawBack {
    tx: back::Back<TX_SLOT>,
    tx_page: <Domain as Grants>::Mapped,
    rx: back::Back<RX_SLOT>,
    rx_page: <Domain as Grants>::Mapped,
}

impl RawBack {
    fn new(world: &World, front: &FakeFront<'_>) -> Self {
        let net = world.domain(NET);
        let (tx, rx) = front.rings();
        Self {
            tx: back::Back::new(),
            tx_page: net.map(GUEST, tx, Access::ReadWrite).unwrap(),
            rx: back::Back::new(),
            rx_page: net.map(GUEST, rx, Access::ReadWrite).unwrap(),
        }
    }

    fn take_rx(&mut self) -> RxRequest {
        let mut slot = [0; RX_SLOT];
        assert_eq!(self.rx.take(self.rx_page.words(), &mut slot), Ok(true));
        RxRequest::parse(&slot)
    }

    fn answer_rx(&mut self, response: RxResponse) {
        self.rx.put(self.rx_page.words(), &response.emit());
        let _ = self.rx.push(self.rx_page.words());
    }

    fn answer_tx(&mut self, id: u16) {
        assert_eq!(self.tx.take(self.tx_page.words(), &mut [0; TX_SLOT]), Ok(true));
        self.tx.put(self.tx_page.words(), &TxResponse { id, status: Status::OKAY }.emit());
        let _ = self.tx.push(self.tx_page.words());
    }
}

const GOOD: RxResponse = RxResponse { id: 0, offset: 0, flags: RxFlags::empty(), outcome: Ok(60) };

fn assert_dead(front: &mut FakeFront<'_>, fault: PeerFault) {
    assert_eq!(front.fault(), Some(fault));
    assert!(!front.can_transmit());
    assert_eq!(front.transmit(&[0; 60]), Err(TransmitError::Peer(fault)));
    assert_eq!(front.receive(&mut [0; 60]), None);
    assert_eq!(poll_once(front.wait()), Poll::Ready(Err(fault)));
}

#[test]
fn tx_response_to_an_unknown_request_is_a_fault() {
    for id in [1, 2, 77, 0xffff] {
        let (world, park) = (world(), Park::new());
        let mut front = new_front(&world, &park, BufferCounts { tx: 2, rx: 1 });
        let mut raw = RawBack::new(&world, &front);
        front.transmit(&frame(0, 60)).unwrap();
        // The identifier in use is the last free one, 1.
        raw.answer_tx(if id == 1 { 0 } else { id });
        let _ = front.can_transmit();
        assert_dead(&mut front, PeerFault::UnknownId { id: if id == 1 { 0 } else { id } });
    }
}

#[test]
fn tx_request_that_is_answered_twice_is_a_fault() {
    let (world, park) = (world(), Park::new());
    let mut front = new_front(&world, &park, BufferCounts { tx: 2, rx: 1 });
    let mut raw = RawBack::new(&world, &front);
    front.transmit(&frame(0, 60)).unwrap();
    front.transmit(&frame(1, 60)).unwrap();
    raw.answer_tx(1);
    assert!(front.can_transmit());
    raw.answer_tx(1);
    let _ = front.can_transmit();
    assert_dead(&mut front, PeerFault::UnknownId { id: 1 });
}

#[test]
fn rx_responses_that_lie_are_faults() {
    let rows = [
        (RxResponse { id: 1, ..GOOD }, PeerFault::UnknownId { id: 1 }),
        (RxResponse { id: 0xffff, ..GOOD }, PeerFault::UnknownId { id: 0xffff }),
        (RxResponse { outcome: Ok(4097), ..GOOD }, PeerFault::ResponseOutOfRange { offset: 0, length: 4097 }),
        (RxResponse { offset: 4037, ..GOOD }, PeerFault::ResponseOutOfRange { offset: 4037, length: 60 }),
        (
            RxResponse { offset: 0xffff, outcome: Ok(0x7fff), ..GOOD },
            PeerFault::ResponseOutOfRange { offset: 0xffff, length: 0x7fff },
        ),
    ];
    for (response, fault) in rows {
        let (world, park) = (world(), Park::new());
        let mut front = new_front(&world, &park, BufferCounts { tx: 1, rx: 4 });
        let mut raw = RawBack::new(&world, &front);
        assert_eq!(raw.take_rx().id, 0);
        raw.answer_rx(response);
        assert_eq!(front.receive(&mut [0; 1514]), None);
        assert_dead(&mut front, fault);
    }
}

#[test]
fn producers_that_lie_are_faults() {
    for shown in [2, 5, u32::MAX, 0x8000_0000] {
        let (world, park) = (world(), Park::new());
        let mut front = new_front(&world, &park, BufferCounts { tx: 1, rx: 1 });
        let raw = RawBack::new(&world, &front);
        RSP_PROD.store(raw.rx_page.words(), shown);
        assert_eq!(front.receive(&mut [0; 1514]), None);
        assert_dead(&mut front, PeerFault::ProducerOutOfRange { pending: shown, room: 1 });
    }
}

#[test]
fn frames_without_use_are_dropped_and_the_buffers_used_again() {
    let (world, park) = (world(), Park::new());
    let mut front = new_front(&world, &park, BufferCounts { tx: 1, rx: 8 });
    let mut raw = RawBack::new(&world, &front);
    let more = RxResponse { flags: RxFlags::MORE_DATA, ..GOOD };
    let with_extra = RxResponse { flags: RxFlags::EXTRA_INFO, ..GOOD };
    for (response, expected) in [
        (Some(RxResponse { outcome: Err(Status::DROPPED), ..GOOD }), None),
        (Some(RxResponse { outcome: Ok(3), ..GOOD }), None),
        // A packet in three pieces.
        (Some(more), None),
        (Some(more), None),
        (Some(GOOD), None),
        // A packet with extra info, which has no identifier.
        (Some(with_extra), None),
        (None, None),
        (Some(GOOD), Some(60)),
    ] {
        let id = raw.take_rx().id;
        match response {
            Some(response) => raw.answer_rx(RxResponse { id, ..response }),
            None => {
                let extra = Extra::Hash { kind: 0, algorithm: 0, value: [0xff; 4] }.emit(false);
                raw.rx.put(raw.rx_page.words(), &extra);
                let _ = raw.rx.push(raw.rx_page.words());
            }
        }
        assert_eq!(front.receive(&mut [0; 1514]), expected, "{response:?}");
    }
    let counters = front.counters();
    assert_eq!((counters.rx_frames, counters.rx_drops, counters.rx_errors), (1, 3, 1));
    for _ in 0..8 {
        raw.take_rx();
    }
    assert_eq!(front.fault(), None);
}

#[test]
fn frame_rewritten_after_it_was_received_stays_as_received() {
    let (world, park) = (world(), Park::new());
    let net = world.domain(NET);
    let mut front = new_front(&world, &park, BufferCounts { tx: 1, rx: 1 });
    let mut raw = RawBack::new(&world, &front);
    let request = raw.take_rx();
    net.copy_to(GUEST, request.gref, 0, &frame(1, 60)).unwrap();
    raw.answer_rx(GOOD);
    let mut buffer = [0; 60];
    assert_eq!(front.receive(&mut buffer), Some(60));
    net.copy_to(GUEST, request.gref, 0, &frame(2, 60)).unwrap();
    assert_eq!(buffer[..], frame(1, 60));
}

#[test]
fn tx_pages_are_granted_for_reading_only() {
    let (world, park) = (world(), Park::new());
    let mut front = new_front(&world, &park, BufferCounts { tx: 1, rx: 1 });
    let mut raw = RawBack::new(&world, &front);
    front.transmit(&frame(1, 60)).unwrap();
    let mut slot = [0; TX_SLOT];
    assert_eq!(raw.tx.take(raw.tx_page.words(), &mut slot), Ok(true));
    let request = TxRequest::parse(&slot);
    let net = world.domain(NET);
    assert!(net.copy_to(GUEST, request.gref, 0, &[0; 60]).is_err());
    assert!(net.map(GUEST, request.gref, Access::ReadWrite).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Random responses: no panic, and no buffer is ever with both ends or with none.
    #[test]
    fn random_responses(
        responses in prop::collection::vec((any::<[u8; RX_SLOT]>(), any::<bool>()), 1..60),
    ) {
        let (world, park) = (world(), Park::new());
        let mut front = new_front(&world, &park, BufferCounts { tx: 2, rx: 8 });
        let mut raw = RawBack::new(&world, &front);
        for (mut response, honest) in responses {
            let mut slot = [0; RX_SLOT];
            if raw.rx.take(raw.rx_page.words(), &mut slot) != Ok(true) { break }
            if honest { response[..2].copy_from_slice(&slot[..2]); }
            raw.rx.put(raw.rx_page.words(), &response);
            let _ = raw.rx.push(raw.rx_page.words());
            let received = front.receive(&mut [0; 1514]);
            prop_assert!(received.is_none_or(|length| (14..=1514).contains(&length)));
        }
        if front.fault().is_none() {
            prop_assert_eq!(raw.rx.requests(raw.rx_page.words()), Ok(8));
        }
    }
}
