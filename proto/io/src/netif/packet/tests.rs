use super::*;
use proptest::prelude::*;
use std::vec::Vec as StdVec;

const MORE: TxFlags = TxFlags::MORE_DATA;
const EXTRA: TxFlags = TxFlags::EXTRA_INFO;

fn request(id: u16, flags: TxFlags, offset: u16, size: u16) -> [u8; TX_SLOT] {
    TxRequest { gref: Gref(100 + u32::from(id)), offset, flags, id, size }.emit()
}

fn extra(extra: Extra, more: bool) -> [u8; TX_SLOT] {
    let mut slot = [0; TX_SLOT];
    slot[..EXTRA_BYTES].copy_from_slice(&extra.emit(more));
    slot
}

const HASH: Extra = Extra::Hash { kind: 1, algorithm: 1, value: [0; 4] };

/// Feeds the slots; all but the last must leave the packet open.
fn assemble(assembler: &mut Assembler, slots: &[[u8; TX_SLOT]]) -> Packet {
    let (last, before) = slots.split_last().unwrap();
    for slot in before {
        assert_eq!(assembler.add(slot), Ok(None));
    }
    let packet = assembler.add(last).unwrap().expect("the last slot ends the packet");
    assert_eq!(assembler.pending(), 0);
    assert_eq!(packet.slots(), slots.len());
    packet
}

fn answers(packet: &Packet) -> StdVec<(u16, i16)> {
    packet.responses(Status::OKAY).map(|response| (response.id, response.status.0)).collect()
}

#[test]
fn one_slot_is_one_fragment() {
    let packet = assemble(&mut Assembler::new(), &[request(7, TxFlags::CSUM_BLANK, 64, 1514)]);
    let content = packet.content.as_ref().unwrap();
    assert_eq!((content.length, content.checksum), (1514, Checksum::Blank));
    assert_eq!(&content.fragments[..], [Fragment { gref: Gref(107), offset: 64, size: 1514 }]);
    assert_eq!(answers(&packet), [(7, 0)]);
}

#[test]
fn first_fragment_is_what_the_others_leave() {
    let slots = [request(1, MORE, 0, 5000), request(2, MORE, 96, 4000), request(3, TxFlags::empty(), 0, 500)];
    let packet = assemble(&mut Assembler::new(), &slots);
    let content = packet.content.unwrap();
    let sizes: StdVec<u16> = content.fragments.iter().map(|fragment| fragment.size).collect();
    assert_eq!(sizes, [500, 4000, 500]);
}

#[test]
fn extra_info_is_answered_with_null_in_its_place() {
    let slots = [
        request(1, MORE | EXTRA, 0, 200),
        extra(HASH, true),
        extra(HASH, false),
        // The flag means nothing here.
        request(2, EXTRA, 0, 100),
    ];
    let packet = assemble(&mut Assembler::new(), &slots);
    assert_eq!(answers(&packet), [(1, 0), (0, 1), (0, 1), (2, 0)]);
    assert_eq!(packet.content.unwrap().fragments.len(), 2);
}

#[test]
fn bad_packets_are_refused_whole_and_the_next_one_is_good() {
    let gso = Extra::Gso { size: 1448, protocol: 1, features: 0 };
    let rows: [(&[[u8; TX_SLOT]], Refusal); 10] = [
        (
            &[request(1, MORE, 0, 100), request(2, TxFlags::empty(), 0, 101)],
            Refusal::LengthLie { total: 100, rest: 101 },
        ),
        (&[request(1, MORE, 0, 100), request(2, TxFlags::empty(), 0, 100)], Refusal::EmptyFragment),
        (&[request(1, MORE, 0, 100), request(2, TxFlags::empty(), 0, 0)], Refusal::EmptyFragment),
        (&[request(1, TxFlags::empty(), 4000, 97)], Refusal::CrossesPage { offset: 4000, size: 97 }),
        (
            &[request(1, TxFlags::empty(), 0xffff, 0xffff)],
            Refusal::CrossesPage { offset: 0xffff, size: 0xffff },
        ),
        (
            &[request(1, MORE, 0, 5000), request(2, TxFlags::empty(), 0, 100)],
            Refusal::CrossesPage { offset: 0, size: 4900 },
        ),
        (&[request(1, TxFlags::empty(), 0, 13)], Refusal::TooShort { length: 13 }),
        (&[request(1, TxFlags::empty(), 0, 0)], Refusal::TooShort { length: 0 }),
        (&[request(1, EXTRA, 0, 100), extra(gso, false)], Refusal::Extra(ExtraType::GSO)),
        (
            &[request(1, EXTRA, 0, 100), extra(Extra::Unknown(ExtraType(0)), true), extra(HASH, false)],
            Refusal::Extra(ExtraType(0)),
        ),
    ];
    let mut assembler = Assembler::new();
    for (slots, refusal) in rows {
        let packet = assemble(&mut assembler, slots);
        assert_eq!(packet.content, Err(refusal));
        let errors = packet.responses(Status::ERROR).filter(|response| response.status == Status::ERROR);
        assert!(errors.count() >= 1);
        assert!(assemble(&mut assembler, &[request(9, TxFlags::empty(), 0, 60)]).content.is_ok());
    }
}

#[test]
fn chain_without_end_is_a_peer_fault() {
    let mut assembler = Assembler::new();
    for id in 0..MAX_SLOTS as u16 {
        assert_eq!(assembler.add(&request(id, MORE, 0, 60_000)), Ok(None));
    }
    let fault = PeerFault::ChainTooLong { max: 18 };
    assert_eq!(assembler.add(&request(18, MORE, 0, 1)), Err(fault));
}

#[test]
fn eighteen_slots_are_allowed() {
    let mut assembler = Assembler::new();
    let mut slots = StdVec::from([request(0, MORE, 0, 1800)]);
    slots.extend((1..17).map(|id| request(id, MORE, 0, 100)));
    slots.push(request(17, TxFlags::empty(), 0, 100));
    assert_eq!(assemble(&mut assembler, &slots).content.unwrap().fragments.len(), 18);
}

#[test]
fn extra_info_without_end_is_a_peer_fault() {
    let mut assembler = Assembler::new();
    assert_eq!(assembler.add(&request(0, EXTRA, 0, 60)), Ok(None));
    for _ in 0..MAX_EXTRAS {
        assert_eq!(assembler.add(&extra(HASH, true)), Ok(None));
    }
    assert!(matches!(assembler.add(&extra(HASH, true)), Err(PeerFault::ChainTooLong { .. })));
}

proptest! {
    /// Random slots: never a panic, and what comes out as good is consistent in itself.
    #[test]
    fn random_slots(slots in prop::collection::vec(any::<[u8; TX_SLOT]>(), 1..200)) {
        let mut assembler = Assembler::new();
        for slot in &slots {
            match assembler.add(slot) {
                Ok(None) => {}
                Ok(Some(packet)) => {
                    prop_assert!(packet.slots() <= MAX_CHAIN);
                    let Ok(content) = packet.content else { continue };
                    let sum: usize = content.fragments.iter().map(|piece| usize::from(piece.size)).sum();
                    prop_assert_eq!(sum, usize::from(content.length));
                    for piece in &content.fragments {
                        prop_assert!(usize::from(piece.offset) + usize::from(piece.size) <= PAGE_SIZE);
                    }
                }
                Err(_) => assembler = Assembler::new(),
            }
        }
    }
}
