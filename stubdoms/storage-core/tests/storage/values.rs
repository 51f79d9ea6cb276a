//! Values come back as they were put, in every life.

use proto_svc::sealing::{FromVault, StorageKey, ToVault};
use proto_svc::storage::{Answer, MAX_VALUE, Refusal, Request};
use stubdoms_storage_core::clients::sealing::Sealed;
use stubdoms_storage_core::store::{Found, StoreError};

use crate::world::{KEY, Life, Random, Values, disk, flashed, key};

#[test]
fn values_come_back_as_they_were_put() {
    let disk = disk(flashed());
    let life = Life::open(&disk);
    assert_eq!(life.started.store, Ok(Found::Empty));
    let mut random = Random(1);
    let mut expected = Values::new();
    // Around the borders of pieces, pages and the whole.
    for length in [0, 1, 899, 900, 901, 4079, 4080, 4081, 8160, 20_000, MAX_VALUE as usize] {
        let value: Vec<u8> = (0..length).map(|_| random.number() as u8).collect();
        let name = format!("value.{length}");
        life.put(&name, &value);
        expected.insert(name, value);
    }
    assert_eq!(life.values(), expected);
    // In a later life, too; and one value at a time is replaced or dropped.
    let life = Life::open(&disk);
    assert_eq!(life.started.store, Ok(Found::Sound));
    assert_eq!(life.values(), expected);
    life.put("value.901", b"another");
    expected.insert("value.901".into(), b"another".to_vec());
    life.done(&Request::Delete { key: key("value.0") });
    life.done(&Request::Delete { key: key("value.0") });
    expected.remove("value.0");
    assert_eq!(life.values(), expected);
    assert_eq!(Life::open(&disk).values(), expected);
    assert_eq!(life.try_get("value.0"), Err(Refusal::NoValue));
}

#[test]
fn nothing_is_readable_on_the_disk() {
    let disk = disk(flashed());
    let life = Life::open(&disk);
    let secret = b"a password of eight words, in the clear".repeat(40);
    life.put("a-name-that-tells-something", &secret);
    let image = disk.image();
    let mut all = Vec::new();
    for block in 0..crate::world::BLOCKS {
        all.extend(image.block(block));
    }
    for needle in [&secret[..16], b"name-that-tells", &KEY[..]] {
        assert!(!all.windows(needle.len()).any(|some| some == needle));
    }
}

#[test]
fn without_the_key_it_is_locked_and_says_so() {
    let disk = disk(flashed());
    Life::open(&disk).put("a", b"1");
    let mut life = Life::start(&disk);
    assert_eq!(life.try_get("a"), Err(Refusal::Locked));
    let heard = life.hear(FromVault::Locked { reason: "PCR 4 has changed".try_into().unwrap() });
    assert!(!heard.changed && heard.reply.is_none());
    let Answer::Status(status) = life.ask(&Request::Status) else { panic!() };
    assert_eq!((status.open, &*status.reason), (false, "PCR 4 has changed [E-STORAGE-010]"));
    // Another key opens nothing, and destroys nothing.
    let wrong = life.hear(FromVault::Key { key: StorageKey([1; 32]), fresh: false });
    assert_eq!(wrong.sealed, Some(Sealed::Closed(StoreError::Key)));
    assert_eq!(life.try_get("a"), Err(Refusal::Locked));
    let right = life.hear_key();
    assert!(right.changed && matches!(right.sealed, Some(Sealed::Open(_))));
    assert_eq!(life.try_get("a"), Ok(b"1".to_vec()));
    // Said once more, as by a vault that is there anew.
    assert!(!life.hear_key().changed);
    // A lock that comes later takes nothing back.
    life.hear(FromVault::Locked { reason: "".try_into().unwrap() });
    assert_eq!(life.try_get("a"), Ok(b"1".to_vec()));
}

#[test]
fn without_a_vault_it_says_so_until_there_is_one() {
    let disk = disk(flashed());
    Life::open(&disk).put("a", b"1");
    let mut life = Life::start(&disk);
    assert!(life.lock("vault is not there"));
    let Answer::Status(status) = life.ask(&Request::Status) else { panic!() };
    assert_eq!((status.open, &*status.reason), (false, "vault is not there [E-STORAGE-010]"));
    assert!(life.lock(""));
    let Answer::Status(status) = life.ask(&Request::Status) else { panic!() };
    assert!(!status.open && !status.reason.contains("not there"), "{}", status.reason);
    life.hear_key();
    // It needs nobody any more.
    assert!(!life.lock("vault is not there"));
    assert_eq!(life.try_get("a"), Ok(b"1".to_vec()));
}

fn keep(sealed: &[u8], kept: &[u8], fresh: bool) -> FromVault {
    FromVault::Keep {
        sealed: heapless::Vec::from_slice(sealed).unwrap(),
        kept: heapless::Vec::from_slice(kept).unwrap(),
        fresh,
    }
}

fn opens(sealed: &[u8], kept: &[u8]) -> Option<ToVault> {
    Some(ToVault::Open {
        sealed: heapless::Vec::from_slice(sealed).unwrap(),
        kept: heapless::Vec::from_slice(kept).unwrap(),
    })
}

#[test]
fn what_vault_has_it_keep_is_there_in_the_next_life() {
    let disk = disk(flashed());
    let mut life = Life::start(&disk);
    assert_eq!(life.sealed(), opens(&[], &[]));
    assert_eq!(life.hear(keep(&[1; 300], &[2; 256], true)).reply, Some(ToVault::Kept));
    life.hear_key();
    life.put("a", b"1");
    // Sealed anew to other measurements: what is stored stays.
    assert_eq!(life.hear(keep(&[3; 100], b"", false)).reply, Some(ToVault::Kept));
    assert_eq!(life.try_get("a"), Ok(b"1".to_vec()));
    let mut life = Life::start(&disk);
    assert_eq!(life.sealed(), opens(&[3; 100], b""));
    life.hear_key();
    assert_eq!(life.try_get("a"), Ok(b"1".to_vec()));
    // A new key: what the old one encrypted is gone, and nothing of it comes back.
    let heard = life.hear(keep(&[4; 100], b"", true));
    assert!(heard.changed && heard.reply == Some(ToVault::Kept));
    assert_eq!(life.try_get("a"), Err(Refusal::Locked));
    let mut life = Life::start(&disk);
    let heard = life.hear(FromVault::Key { key: StorageKey([9; 32]), fresh: false });
    assert!(matches!(heard.sealed, Some(Sealed::Open(_))));
    assert_eq!(life.values(), Values::new());
    life.put("a", b"2");
}
