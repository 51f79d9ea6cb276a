use alloc::vec;
use alloc::vec::Vec;

use ed25519_dalek::{Signer, SigningKey};
use proptest::prelude::*;

use super::*;

const PARTS: [(Kind, &[u8]); 3] =
    [(Kind::Xen, &[1; 5000]), (Kind::Dom0, &[2; 10]), (Kind::XenLine, b"console=dtuart")];

fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

fn slot() -> Vec<u8> {
    let draft = Draft::new(Machine::Aarch64, Version::new("0.1.0").unwrap(), &PARTS).unwrap();
    draft.sign(|bytes| key().sign(bytes).to_bytes())
}

/// As the selector does it.
fn check(slot: &[u8], keys: &[VerifyingKey]) -> Result<[u8; 32], SlotError> {
    let room = slot.len() as u64;
    let trusted = Header::parse(slot, room)?.verify(keys, Machine::Aarch64)?;
    let contents = slot.get(ALIGN..).unwrap_or_default();
    let contents = trusted.contents(contents)?;
    for (kind, bytes) in PARTS {
        assert_eq!(contents.part(kind), Some(bytes));
    }
    assert_eq!(contents.part(Kind::Program), None);
    assert_eq!((trusted.place(Kind::Dom0), trusted.place(Kind::Program)), (Some(8192..8202), None));
    assert_eq!(trusted.version().as_str(), "0.1.0");
    Ok(*trusted.sha256())
}

#[test]
fn a_slot_is_read_as_it_was_made() {
    let slot = slot();
    assert_eq!(slot.len(), ALIGN + 3 * ALIGN + 14);
    assert!(check(&slot, &[key().verifying_key()]).is_ok());
}

/// Offsets and numbers stay: a selector has to read what later versions make.
#[test]
fn the_bytes_are_pinned() {
    let slot = slot();
    assert_eq!(slot[..16], *b"SARSSLOT\x01\0\0\0\x02\0\0\0");
    assert_eq!(slot[16..32], [0x0e, 0x30, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(slot[32..38], *b"0.1.0\0");
    assert_eq!(slot[64..96], *Sha256::digest(&slot[4096..]).as_slice());
    assert_eq!(slot[120..132], [3, 0, 0, 0, 0, 0, 0, 0, 0, 0x20, 0, 0]);
    assert_eq!(Kind::ALL.map(Kind::number), [1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn one_bit_flipped_anywhere_is_noticed() {
    let good = slot();
    let keys = [key().verifying_key()];
    let expected = check(&good, &keys).unwrap();
    let mut flipped = 0;
    // Every bit of the header, and bits all over the contents. What lies between the two is not looked at.
    let header = 0..HEADER_BYTES * 8;
    for bit in header.chain((ALIGN * 8..good.len() * 8).step_by(97)) {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let result = check(&bytes, &keys);
        assert!(result.is_err(), "{bit}");
        if bit >= ALIGN * 8 {
            assert_eq!(result, Err(SlotError::Hash), "{bit}");
        }
        flipped += 1;
    }
    assert!(flipped > 5000, "{flipped}");
    assert_eq!(check(&good, &keys), Ok(expected));
}

#[test]
fn only_a_trusted_key_will_do() {
    let other = SigningKey::from_bytes(&[8; 32]).verifying_key();
    assert_eq!(check(&slot(), &[other]), Err(SlotError::Signature));
    assert_eq!(check(&slot(), &[]), Err(SlotError::Signature));
    assert!(check(&slot(), &[other, key().verifying_key()]).is_ok());
}

#[test]
fn a_slot_for_another_machine_is_refused() {
    let header = Header::parse(&slot(), 1 << 20).unwrap();
    let refused = header.verify(&[key().verifying_key()], Machine::X86_64);
    assert_eq!(refused.map(|_| ()), Err(SlotError::Machine));
}

#[test]
fn what_does_not_fit_is_refused() {
    let slot = slot();
    for room in [0, 4096, slot.len() as u64 - 1] {
        assert!(matches!(Header::parse(&slot, room), Err(SlotError::TooLong { .. })), "{room}");
    }
    for length in 0..HEADER_BYTES {
        let error = Header::parse(&slot[..length], 1 << 20).map(|_| ());
        assert_eq!(error, Err(SlotError::Truncated { have: length }));
    }
    let trusted =
        Header::parse(&slot, 1 << 20).unwrap().verify(&[key().verifying_key()], Machine::Aarch64).unwrap();
    let short = trusted.contents(&slot[ALIGN..slot.len() - 1]).map(|_| ());
    assert_eq!(short, Err(SlotError::Length { have: 3 * ALIGN + 13 }));
    assert_eq!(Header::parse(&[0; 4096], 1 << 20).map(|_| ()), Err(SlotError::Empty));
}

#[test]
fn contents_in_pieces_are_checked_as_the_whole() {
    let slot = slot();
    let header = Header::parse(&slot, 1 << 20).unwrap();
    let trusted = header.verify(&[key().verifying_key()], Machine::Aarch64).unwrap();
    let ends = |bytes: &[u8]| {
        let mut check = trusted.check();
        bytes.chunks(700).for_each(|piece| check.take(piece));
        check.end()
    };
    let contents = &slot[ALIGN..];
    assert_eq!(ends(contents), Ok(()));
    assert_eq!(ends(&contents[1..]), Err(SlotError::Length { have: contents.len() - 1 }));
    assert_eq!(ends(&[contents, &[0]].concat()), Err(SlotError::Length { have: contents.len() + 1 }));
    let mut other = contents.to_vec();
    other[9000] ^= 1;
    assert_eq!(ends(&other), Err(SlotError::Hash));
}

#[test]
fn parts_that_make_no_slot_make_none() {
    let version = Version::new("1").unwrap();
    assert!(Draft::new(Machine::X86_64, version, &[]).is_none());
    assert!(Draft::new(Machine::X86_64, version, &[(Kind::Program, &[])]).is_none());
}

proptest! {
    /// Parts in any order and of any length come out as they went in.
    #[test]
    fn parts_come_out_as_they_went_in(lengths in prop::collection::vec(1usize..9000, 1..6)) {
        let parts: Vec<Vec<u8>> = lengths.iter().map(|&length| vec![length as u8; length]).collect();
        let named: Vec<(Kind, &[u8])> = Kind::ALL.into_iter().zip(parts.iter().map(Vec::as_slice)).collect();
        let draft = Draft::new(Machine::X86_64, Version::new("1").unwrap(), &named).unwrap();
        let slot = draft.sign(|bytes| key().sign(bytes).to_bytes());
        let header = Header::parse(&slot, slot.len() as u64).unwrap();
        let trusted = header.verify(&[key().verifying_key()], Machine::X86_64).unwrap();
        let contents = trusted.contents(&slot[ALIGN..]).unwrap();
        for (kind, bytes) in named {
            prop_assert_eq!(contents.part(kind), Some(bytes));
        }
    }
}
