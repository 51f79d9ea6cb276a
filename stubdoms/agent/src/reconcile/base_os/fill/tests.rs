use alloc::{vec, vec::Vec};

use proto_handoff::record::Version;
use proto_update::{
    manifest::{Draft, Kind, Machine},
    payload::pack,
};

use super::*;

fn payload(length: usize) -> (Vec<u8>, Vec<u8>) {
    // Noise, which stays as long when it is packed.
    let noise =
        |at: u64| at.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let contents: Vec<u8> = (0..length as u64).map(|at| (noise(at) >> 56) as u8).collect();
    let version = Version::new("2").unwrap();
    let slot = Draft::new(Machine::X86_64, version, &[(Kind::Program, &contents)]).unwrap().sign(|_| [1; 64]);
    let payload = pack(&slot).unwrap();
    (slot, payload)
}

fn hash(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Brings a payload in pieces, with a storage that answers for one piece in `lag` steps.
fn fill(payload: &[u8], step: usize, lag: usize) -> (Fill, Vec<u8>) {
    let mut fill = Fill::new(1 << 24);
    let (mut slot, mut under_way) = (Vec::new(), 0);
    let mut rest = payload;
    let mut turns = 0;
    let mut ended = false;
    while fill.outcome().is_none() {
        turns += 1;
        assert!(turns < 1_000_000, "it comes to an end");
        let piece = &rest[..rest.len().min(step)];
        rest = &rest[fill.take(piece)..];
        assert!(fill.input.len() <= MAX_INPUT && fill.output.len() <= 32 * 1024, "little is held");
        if fill.claim().is_some() {
            fill.open();
        }
        while let Some((count, Request::Write { offset, bytes })) = fill.next() {
            assert_eq!((offset as usize, bytes.len()), (slot.len(), count));
            slot.extend_from_slice(&bytes);
            under_way += 1;
            assert!(under_way <= MAX_WRITES);
        }
        if under_way > 0 && turns % lag == 0 {
            under_way -= 1;
            fill.wrote();
        }
        if rest.is_empty() && !ended {
            ended = true;
            if fill.end(hash(payload)) != Ended::Right {
                break;
            }
        }
    }
    (fill, slot)
}

#[test]
fn a_payload_of_any_length_at_any_pace_is_written_whole_and_in_order() {
    for length in [1, 5000, 300_000] {
        let (slot, payload) = payload(length);
        for (step, lag) in [(1 << 20, 1), (1000, 3), (70_000, 7)] {
            let (mut fill, written) = fill(&payload, step, lag);
            assert_eq!(fill.outcome(), Some(Ok(())));
            assert!(written == slot, "{length} {step} {lag}");
        }
    }
}

#[test]
fn nothing_is_written_before_the_slot_is_empty() {
    let (_, payload) = payload(300_000);
    let mut fill = Fill::new(1 << 24);
    let taken = fill.take(&payload);
    assert!(fill.claim().is_some() && fill.next().is_none());
    assert_eq!(fill.taken(), taken as u64);
    assert!(taken < payload.len(), "and whoever brings more waits");
    fill.open();
    assert!(fill.next().is_some());
}

#[test]
fn the_hash_tells_what_was_broken_on_its_way_from_what_was_published_so() {
    let (_, mut payload) = payload(9000);
    let right = hash(&payload);
    payload[700] ^= 1;
    let mut fill = Fill::new(1 << 24);
    fill.take(&payload);
    fill.open();
    while fill.next().is_some() {
        fill.wrote();
    }
    assert_eq!(fill.end(right), Ended::WrongHash(hash(&payload)));
    // The same bytes, published.
    for (bytes, error) in [
        (vec![0; 600], PayloadError::Header(proto_update::manifest::SlotError::Empty)),
        (payload[..100].to_vec(), PayloadError::Truncated { have: 0, length: 0 }),
        (payload[..600].to_vec(), PayloadError::Truncated { have: 0, length: 9000 }),
        (Vec::new(), PayloadError::Truncated { have: 0, length: 0 }),
    ] {
        let mut fill = Fill::new(1 << 24);
        assert_eq!(fill.take(&bytes), bytes.len());
        fill.open();
        while fill.next().is_some() {
            fill.wrote();
        }
        let told = match fill.end(hash(&bytes)) {
            Ended::Unusable(error) => error,
            Ended::Right => fill.outcome().unwrap().unwrap_err(),
            Ended::WrongHash(_) => panic!("it is what was published"),
        };
        match (told, error) {
            (PayloadError::Truncated { length, .. }, PayloadError::Truncated { length: expected, .. }) => {
                assert_eq!(length, expected);
            }
            (told, error) => assert_eq!(told, error),
        }
    }
}

#[test]
fn what_stands_behind_the_end_makes_it_unusable() {
    let (_, mut payload) = payload(9000);
    payload.extend_from_slice(&[0; 3000]);
    let (mut fill, _) = fill(&payload, 1000, 1);
    let outcome = fill.outcome();
    assert!(outcome == Some(Err(PayloadError::Trailing)) || outcome.is_none() && fill.error.is_some());
}
