use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::manifest::{Draft, Kind, Machine};

const ROOM: u64 = 1 << 20;

fn slot(contents: &[u8]) -> Vec<u8> {
    let version = Version::new("0.2.0").unwrap();
    Draft::new(Machine::X86_64, version, &[(Kind::Program, contents)]).unwrap().sign(|_| [7; 64])
}

/// Contents that compress, and refer back as far as can be.
fn sample(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let unit: Vec<u8> = (0..30_000).map(|_| noise()).collect();
    unit.iter().copied().cycle().take(length).collect()
}

/// Decodes what comes in pieces of `step` bytes.
fn decode(payload: &[u8], step: usize, room: u64) -> Result<Vec<u8>, PayloadError> {
    let mut decoder = Decoder::new(room);
    let mut out = Vec::new();
    let mut rest = payload;
    while !rest.is_empty() {
        let (mut input, later) = rest.split_at(step.clamp(1, rest.len()));
        rest = later;
        loop {
            let before = input.len();
            let piece = decoder.step(&mut input)?;
            assert_eq!(piece.offset, out.len() as u64, "in order, without gaps");
            assert!(piece.bytes.len() <= WINDOW);
            let given = piece.bytes.len();
            out.extend_from_slice(piece.bytes);
            if given == 0 && input.len() == before {
                break;
            }
        }
        assert!(input.is_empty(), "all of it is taken unless it says why not");
    }
    decoder.finish()?;
    Ok(out)
}

#[test]
fn what_was_packed_comes_out() {
    for length in [1, 4095, 4096, 200_000] {
        let slot = slot(&sample(length));
        let payload = pack(&slot).unwrap();
        for step in [1, 7, 4096, usize::MAX] {
            let out = decode(&payload, step, ROOM).unwrap();
            assert!(out == slot, "{length} in steps of {step}");
        }
    }
    assert!(pack(&slot(&sample(200_000))).unwrap().len() < 100_000, "it is packed");
    assert_eq!(pack(&[0; 4095]), None);
}

#[test]
fn the_claim_is_known_with_the_header() {
    let payload = pack(&slot(&sample(5000))).unwrap();
    let mut decoder = Decoder::new(ROOM);
    decoder.step(&mut &payload[..527]).unwrap();
    assert_eq!(decoder.claim(), None);
    decoder.step(&mut &payload[527..528]).unwrap();
    let claim = decoder.claim().unwrap();
    assert_eq!((claim.version.as_str(), claim.slot_bytes), ("0.2.0", 4096 + 5000));
}

#[test]
fn every_truncation_is_told() {
    let payload = pack(&slot(&sample(20_000))).unwrap();
    for length in (0..600).chain(payload.len() - 20..payload.len()) {
        let error = decode(&payload[..length], usize::MAX, ROOM).unwrap_err();
        assert!(matches!(error, PayloadError::Truncated { .. }), "{length}: {error}");
    }
}

#[test]
fn what_stands_behind_the_end_is_refused() {
    let mut payload = pack(&slot(&sample(20_000))).unwrap();
    payload.push(0);
    for step in [1, 1000, usize::MAX] {
        assert_eq!(decode(&payload, step, ROOM), Err(PayloadError::Trailing));
    }
}

#[test]
fn no_more_comes_out_than_the_header_names() {
    // A header for few bytes, and contents that unpack to many.
    let few = slot(b"few");
    let bomb = miniz_oxide::deflate::compress_to_vec(&std::vec![0; 50 << 20], 6);
    let mut payload = few[..HEADER_BYTES].to_vec();
    payload.extend_from_slice(&pack(&few).unwrap()[HEADER_BYTES..HEAD_BYTES]);
    payload.extend_from_slice(&bomb);
    assert_eq!(decode(&payload, 512, ROOM), Err(PayloadError::TooLong { length: 3 }));
    // And the other way round: what ends before is no slot either.
    let many = slot(&sample(9000));
    let mut payload = pack(&many).unwrap()[..HEAD_BYTES].to_vec();
    payload.extend_from_slice(&miniz_oxide::deflate::compress_to_vec(b"few", 6));
    assert_eq!(decode(&payload, 512, ROOM), Err(PayloadError::Truncated { have: 3, length: 9000 }));
}

#[test]
fn heads_that_are_none_are_refused_by_name() {
    let good = pack(&slot(&sample(5000))).unwrap();
    let with = |at: usize, byte: u8| {
        let mut payload = good.clone();
        payload[at] ^= byte;
        decode(&payload, 100, ROOM).unwrap_err()
    };
    assert_eq!(with(0, 1), PayloadError::Header(SlotError::Empty));
    for at in [512, 519, 520, 524] {
        assert_eq!(with(at, 1), PayloadError::Prefix, "{at}");
    }
    let room = 4096 + 4999;
    assert_eq!(
        decode(&good, 100, room),
        Err(PayloadError::Header(SlotError::TooLong { length: 5000, room: 4999 }))
    );
    // Blocks of a kind that DEFLATE does not have.
    let mut payload = good[..HEAD_BYTES].to_vec();
    payload.push(7);
    payload.extend_from_slice(&[0; 20]);
    assert_eq!(decode(&payload, 100, ROOM), Err(PayloadError::Compressed { after: 0 }));
}

#[test]
fn once_broken_it_stays_so() {
    let mut payload = pack(&slot(&sample(5000))).unwrap();
    payload[512] = 0;
    let mut decoder = Decoder::new(ROOM);
    assert_eq!(decoder.step(&mut &payload[..]).map(|_| ()), Err(PayloadError::Prefix));
    assert_eq!(decoder.step(&mut &payload[..]).map(|_| ()), Err(PayloadError::Prefix));
    assert_eq!(decoder.finish(), Err(PayloadError::Prefix));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// One changed byte is noticed here, or leaves another slot, which its hash tells.
    #[test]
    fn damage_neither_panics_nor_passes(at in 0usize..10_000, byte in 1u8.., step in 1usize..3000) {
        let slot = slot(&sample(10_000));
        let mut payload = pack(&slot).unwrap();
        let at = at % payload.len();
        payload[at] ^= byte;
        if let Ok(out) = decode(&payload, step, ROOM) {
            prop_assert!(out != slot && out.len() == slot.len());
        }
    }
}
