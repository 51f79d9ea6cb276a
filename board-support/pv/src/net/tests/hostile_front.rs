//! A frontend that writes its rings by hand.

use super::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::Wake;

/// Offset 0 of both rings: `req_prod`.
const REQ_PROD: Word = Word::at(0);

struct RawFront<'p> {
    line: FakeLine,
    tx: front::Front<TX_SLOT>,
    tx_page: GrantedPage<'p, Domain, Page>,
    rx: front::Front<RX_SLOT>,
    rx_page: GrantedPage<'p, Domain, Page>,
    data: GrantedPage<'p, Domain, Page>,
}

impl<'p> RawFront<'p> {
    fn new(world: &World, park: &'p FakePark) -> Self {
        let guest = world.domain(GUEST);
        let page = || GrantedPage::offer(guest.clone(), &guest, park, NET, Access::ReadWrite).unwrap();
        let (tx_page, rx_page, data) = (page(), page(), page());
        Window::at(0, 4096).copy_in(data.words(), Index::new(0), &frame(0, 4096));
        Self {
            line: line_to(&guest, NET),
            tx: front::Front::initialise(tx_page.words()),
            rx: front::Front::initialise(rx_page.words()),
            tx_page,
            rx_page,
            data,
        }
    }

    fn vif(&self) -> Vif {
        Vif {
            frontend: GUEST,
            tx_gref: self.tx_page.gref(),
            rx_gref: self.rx_page.gref(),
            port: self.line.port(),
        }
    }

    fn send(&mut self, slots: &[[u8; TX_SLOT]]) {
        for slot in slots {
            self.tx.put(self.tx_page.words(), slot).unwrap();
        }
        let _ = self.tx.push(self.tx_page.words());
    }

    fn request(&self, id: u16, flags: TxFlags, offset: u16, size: u16) -> [u8; TX_SLOT] {
        TxRequest { gref: self.data.gref(), offset, flags, id, size }.emit()
    }

    fn answers(&mut self) -> Vec<(u16, Status)> {
        let mut slot = [0; TX_SLOT];
        let mut answers = Vec::new();
        while self.tx.take(self.tx_page.words(), &mut slot).unwrap().is_some() {
            let TxResponse { id, status } = TxResponse::parse(&slot);
            answers.push((id, status));
        }
        answers
    }
}

#[test]
fn packet_over_several_slots_is_put_together() {
    let (world, park) = (world(), Park::new());
    let mut raw = RawFront::new(&world, &park);
    let mut back = connect(&world, raw.vif()).unwrap();
    let hash = Extra::Hash { kind: 0, algorithm: 0, value: [0; 4] }.emit(false);
    let mut extra = [0; TX_SLOT];
    extra[..8].copy_from_slice(&hash);
    raw.send(&[
        raw.request(5, TxFlags::MORE_DATA | TxFlags::EXTRA_INFO | TxFlags::CSUM_BLANK, 100, 300),
        extra,
        raw.request(6, TxFlags::MORE_DATA, 10, 50),
        raw.request(7, TxFlags::empty(), 4000, 96),
    ]);
    let mut buffer = [0; 1514];
    let got = back.next_frame(&mut buffer);
    assert_eq!(got, Ok(Some(Frame { length: 300, checksum: Checksum::Blank })));
    let page = frame(0, 4096);
    let expected = [&page[100..254], &page[10..60], &page[4000..4096]].concat();
    assert_eq!(buffer[..300], expected);
    back.flush();
    let okay = Status::OKAY;
    assert_eq!(raw.answers(), [(5, okay), (0, Status::NULL), (6, okay), (7, okay)]);
}

#[test]
fn packet_that_is_half_on_the_ring_waits_for_its_end() {
    let (world, park) = (world(), Park::new());
    let mut raw = RawFront::new(&world, &park);
    let mut back = connect(&world, raw.vif()).unwrap();
    let mut buffer = [0; 1514];
    raw.send(&[raw.request(1, TxFlags::MORE_DATA, 0, 100)]);
    assert_eq!(back.next_frame(&mut buffer), Ok(None));
    back.flush();
    assert_eq!(raw.answers(), []);
    raw.send(&[raw.request(2, TxFlags::empty(), 0, 40)]);
    assert_eq!(back.next_frame(&mut buffer).unwrap().unwrap().length, 100);
}

#[test]
fn bad_packets_are_answered_with_an_error_and_the_next_one_is_served() {
    let (world, park) = (world(), Park::new());
    let mut raw = RawFront::new(&world, &park);
    let mut back = connect(&world, raw.vif()).unwrap();
    let bad_gref =
        TxRequest { gref: Gref(9999), offset: 0, flags: TxFlags::empty(), id: 2, size: 100 }.emit();
    // Granted to nobody, or to us but of another domain: the same to Xen.
    let rows = [
        (vec![bad_gref], Refusal::Unreadable(Gref(9999))),
        (vec![raw.request(1, TxFlags::MORE_DATA, 0, 150), bad_gref], Refusal::Unreadable(Gref(9999))),
        (
            vec![raw.request(1, TxFlags::MORE_DATA, 0, 99), raw.request(2, TxFlags::empty(), 0, 100)],
            Refusal::LengthLie { total: 99, rest: 100 },
        ),
        (vec![raw.request(1, TxFlags::empty(), 4090, 60)], Refusal::CrossesPage { offset: 4090, size: 60 }),
        (vec![raw.request(1, TxFlags::empty(), 0, 5)], Refusal::TooShort { length: 5 }),
    ];
    let mut buffer = [0; 1514];
    for (slots, refusal) in rows {
        raw.send(&slots);
        assert_eq!(back.next_frame(&mut buffer), Ok(None), "{refusal}");
        back.flush();
        let answers = raw.answers();
        assert_eq!(answers.len(), slots.len());
        assert!(answers.iter().all(|(_, status)| *status == Status::ERROR), "{refusal}");
        assert_eq!(back.counters().last_refusal, Some(refusal));
        raw.send(&[raw.request(9, TxFlags::empty(), 0, 60)]);
        assert_eq!(back.next_frame(&mut buffer).unwrap().unwrap().length, 60);
        back.flush();
        assert_eq!(raw.answers(), [(9, Status::OKAY)]);
    }
}

#[test]
fn faults_end_this_vif_and_no_other() {
    type Attack = fn(&mut RawFront<'_>);
    let rows: [(&str, Attack); 4] = [
        ("producer ahead", |raw| REQ_PROD.store(raw.tx_page.words(), 257)),
        ("producer far back", |raw| REQ_PROD.store(raw.tx_page.words(), u32::MAX)),
        ("chain without end", |raw| {
            let slots: Vec<_> = (0..19).map(|id| raw.request(id, TxFlags::MORE_DATA, 0, 100)).collect();
            raw.send(&slots);
        }),
        ("extra info without end", |raw| {
            let mut extra = [0; TX_SLOT];
            extra[..8].copy_from_slice(&Extra::Hash { kind: 0, algorithm: 0, value: [0; 4] }.emit(true));
            raw.send(&[raw.request(0, TxFlags::EXTRA_INFO, 0, 60), extra, extra, extra, extra, extra]);
        }),
    ];
    let (world, park) = (world(), Park::new());
    let (mut other, mut other_back) = both_ends(&world, &park, BufferCounts::default());
    let mut buffer = [0; 1514];
    for (name, attack) in rows {
        let mut raw = RawFront::new(&world, &park);
        let mut back = connect(&world, raw.vif()).unwrap();
        attack(&mut raw);
        let fault = back.next_frame(&mut buffer).expect_err(name);
        assert_eq!(back.next_frame(&mut buffer), Err(fault), "{name}");
        assert_eq!(back.push_frame(&[0; 60], Checksum::Unchecked), Err(PushError::Peer(fault)), "{name}");
        assert_eq!(poll_once(back.wait()), Poll::Ready(Err(fault)), "{name}");
        assert_eq!(back.fault(), Some(fault));

        other.transmit(&frame(1, 60)).unwrap();
        assert!(other_back.next_frame(&mut buffer).unwrap().is_some(), "{name}");
        other_back.flush();
    }
}

#[test]
fn producer_of_the_rx_ring_is_checked_too() {
    let (world, park) = (world(), Park::new());
    let raw = RawFront::new(&world, &park);
    let mut back = connect(&world, raw.vif()).unwrap();
    REQ_PROD.store(raw.rx_page.words(), 300);
    let fault = PeerFault::ProducerOutOfRange { pending: 300, room: 256 };
    assert_eq!(back.push_frame(&[0; 60], Checksum::Unchecked), Err(PushError::Peer(fault)));
}

#[test]
fn a_fault_that_is_found_while_a_frame_is_given_wakes_who_waits() {
    struct Woken(AtomicBool);
    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Relaxed);
        }
    }
    let (world, park) = (world(), Park::new());
    let raw = RawFront::new(&world, &park);
    let mut back = connect(&world, raw.vif()).unwrap();
    let woken = Arc::new(Woken(AtomicBool::new(false)));
    let waker = Waker::from(woken.clone());
    let mut context = Context::from_waker(&waker);
    // The port is raised once when it is bound.
    while back.poll_work(&mut context).is_ready() || woken.0.swap(false, Relaxed) {}
    assert_eq!(back.push_frame(&[0; 60], Checksum::Unchecked), Err(PushError::Busy));
    assert!(!woken.0.load(Relaxed));
    REQ_PROD.store(raw.rx_page.words(), 300);
    let fault = PeerFault::ProducerOutOfRange { pending: 300, room: 256 };
    assert_eq!(back.push_frame(&[0; 60], Checksum::Unchecked), Err(PushError::Peer(fault)));
    assert!(woken.0.load(Relaxed), "nobody would close the vif");
    assert_eq!(back.poll_work(&mut context), Poll::Ready(Err(fault)));
}

#[test]
fn rx_buffer_that_cannot_be_written_is_answered_with_an_error_and_the_next_one_used() {
    let (world, park) = (world(), Park::new());
    let mut raw = RawFront::new(&world, &park);
    let mut back = connect(&world, raw.vif()).unwrap();
    let data = raw.data.gref();
    for (id, gref) in
        [(10, Gref(9999)), (11, data), (12, Gref(1)), (13, Gref(2)), (14, Gref(3)), (15, Gref(4))]
    {
        raw.rx.put(raw.rx_page.words(), &RxRequest { id, gref }.emit()).unwrap();
    }
    let _ = raw.rx.push(raw.rx_page.words());
    assert_eq!(back.push_frame(&frame(7, 60), Checksum::Unchecked), Ok(()));
    // Four bad ones are enough for one frame.
    assert_eq!(back.push_frame(&frame(8, 60), Checksum::Unchecked), Err(PushError::BadBuffers));
    assert_eq!(back.push_frame(&frame(9, 60), Checksum::Unchecked), Err(PushError::Busy));
    back.flush();
    let mut slot = [0; RX_SLOT];
    let mut outcomes = Vec::new();
    while raw.rx.take(raw.rx_page.words(), &mut slot).unwrap().is_some() {
        let response = RxResponse::parse(&slot);
        outcomes.push((response.id, response.outcome));
    }
    let bad = Err(Status::ERROR);
    assert_eq!(outcomes, [(10, bad), (11, Ok(60)), (12, bad), (13, bad), (14, bad), (15, bad)]);
    let mut got = [0; 60];
    Window::at(0, 4096).copy_out(raw.data.words(), Index::new(0), &mut got);
    assert_eq!(got[..], frame(7, 60));
}

#[test]
fn storm_of_events_does_not_keep_the_task() {
    let (world, park) = (world(), Park::new());
    let raw = RawFront::new(&world, &park);
    let mut back = connect(&world, raw.vif()).unwrap();
    for _ in 0..100 {
        world.domain(GUEST).send(raw.line.port()).unwrap();
        assert!(poll_once(back.wait()).is_pending());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Random slots and random producers: no panic, frames fit the buffer, and a vif that lives answers all
    /// that it took but a packet without its end.
    #[test]
    fn random_slots(
        slots in prop::collection::vec((any::<u16>(), 0..16_u16, 0..4200_u16, 0..2000_u16, any::<bool>()), 1..250),
        producer in prop::option::of(any::<u32>()),
    ) {
        let (world, park) = (world(), Park::new());
        let mut raw = RawFront::new(&world, &park);
        let mut back = connect(&world, raw.vif()).unwrap();
        let slots: Vec<_> = slots
            .into_iter()
            .map(|(id, flags, offset, size, good)| {
                let gref = if good { raw.data.gref() } else { Gref(id.into()) };
                TxRequest { gref, offset, flags: TxFlags::from_bits_retain(flags), id, size }.emit()
            })
            .collect();
        raw.send(&slots);
        if let Some(producer) = producer { REQ_PROD.store(raw.tx_page.words(), producer); }
        let mut buffer = [0; 1514];
        while let Ok(Some(frame)) = back.next_frame(&mut buffer) {
            prop_assert!(frame.length <= 1514);
        }
        back.flush();
        let answers = raw.answers().len();
        match back.fault() {
            Some(_) => prop_assert!(answers <= slots.len()),
            // What is open is less than the longest packet.
            None if producer.is_none() => prop_assert!(slots.len() - answers < 22),
            None => {}
        }
    }
}
