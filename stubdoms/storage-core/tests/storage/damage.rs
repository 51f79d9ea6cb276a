//! Bits that flip, pages that somebody set back, partitions of others: refused or mended by name, never believed.

use core::ops::Range;
use std::collections::{BTreeMap, BTreeSet};

use board_support_drv::block::fake::Image;
use ed25519_dalek::Signer;
use proto_gpt::copy::Which;
use proto_gpt::slots::{Slot, State};
use proto_gpt::table::Condition;
use proto_handoff::record::{Refused, Version};
use proto_svc::storage::{Refusal, Request};
use proto_update::manifest::{ALIGN, Draft, HEADER_BYTES, Header, Kind, Machine, SIGNED_BYTES};
use stubdoms_storage_core::clients::Missing;
use stubdoms_storage_core::clients::sealing::Sealed;
use stubdoms_storage_core::store::{Found, StoreError, SuperblockError};

use crate::world::{
    BLOCK, BLOCKS, Life, MACHINE, ROOM, SLOT_A, SLOT_B, STORE, STORE_END, Selected, Values, boot, disk,
    fills, flashed, put, select, signer, system, table,
};

fn flip(image: &mut Image, block: u64, bit: usize) {
    let mut bytes = image.block(block);
    bytes[bit / 8] ^= 1 << (bit % 8);
    image.put(block, &bytes);
}

#[test]
fn one_bit_of_a_slot_flipped_anywhere_is_refused_by_its_name() {
    let disk = disk(flashed());
    let system = system("1.1.0");
    Life::start(&disk).fill(&system);
    let filled = disk.image();
    let mut positions = 0;
    // Every third bit of header and signature, and bits all over the contents.
    let bits = (0..HEADER_BYTES * 8).step_by(3).chain((ALIGN * 8..system.len() * 8).step_by(61));
    for bit in bits {
        let mut image = filled.clone();
        flip(&mut image, SLOT_B + (bit / 8 / BLOCK) as u64, bit % (BLOCK * 8));
        let mut damaged = system[..HEADER_BYTES].to_vec();
        if bit < HEADER_BYTES * 8 {
            damaged[bit / 8] ^= 1 << (bit % 8);
        }
        let expected = match Header::parse(&damaged, ROOM) {
            Err(_) => Refusal::Contents,
            Ok(_) if bit < HEADER_BYTES * 8 => Refusal::Signature,
            Ok(_) => Refusal::Contents,
        };
        let life = Life::start(&crate::world::disk(image));
        assert_eq!(life.refusal(&Request::Verify), Some(expected), "{bit}");
        assert_eq!(life.refusal(&Request::Change(proto_svc::storage::Change::Arm)), Some(Refusal::State));
        positions += 1;
    }
    assert!(positions > 2000, "{positions}");
    // What lies between header and contents is not looked at.
    let mut image = filled;
    flip(&mut image, SLOT_B + 3, 100);
    Life::start(&crate::world::disk(image)).done(&Request::Verify);
}

#[test]
fn one_bit_of_the_partition_table_flipped_anywhere_is_mended() {
    let backup = BLOCKS - 33;
    let blocks = [1, 2, backup, BLOCKS - 1];
    let mut positions = 0;
    for block in blocks {
        for bit in (0..BLOCK * 8).step_by(13) {
            let mut image = flashed();
            flip(&mut image, block, bit);
            let disk = disk(image);
            let life = Life::open(&disk);
            let which = if block < backup { Which::Primary } else { Which::Backup };
            let (found, repaired) = life.started.table.unwrap();
            assert!(matches!(found, Condition::Damaged { which: damaged, .. } if damaged == which), "{bit}");
            assert_eq!(repaired, Ok(()));
            for block in blocks {
                assert_eq!(disk.image().block(block), flashed().block(block), "{block} {bit}");
            }
            positions += 1;
        }
    }
    assert!(positions > 1000, "{positions}");
}

/// A store with three values, one of which has several pages, and what it holds.
fn stored() -> (Image, Values) {
    let disk = disk(flashed());
    let life = Life::open(&disk);
    life.put("config", &[1; 9000]);
    life.put("certs", &[2; 700]);
    life.put("update", b"armed");
    (disk.image(), life.values())
}

/// The blocks of the store that hold anything.
fn used(image: &Image) -> Vec<u64> {
    (STORE..STORE_END).filter(|block| image.block(*block).iter().any(|&byte| byte != 0)).collect()
}

#[test]
fn one_bit_of_the_store_flipped_anywhere_is_mended_or_costs_the_value_that_is_named() {
    let (good, values) = stored();
    let (mut positions, mut lost, mut mended) = (0, 0, 0);
    for block in used(&good) {
        for bit in (7..BLOCK * 8).step_by(409) {
            let mut image = good.clone();
            flip(&mut image, block, bit);
            let disk = disk(image);
            let mut life = Life::start(&disk);
            let superblock = life.started.store == Ok(Found::OneSuperblock { repaired: true });
            let Some(Sealed::Open(opened)) = life.hear_key().sealed else { panic!("{block} {bit}") };
            let mut expected = values.clone();
            for (_, key) in &opened.damaged {
                assert!(expected.remove(key.as_str()).is_some());
            }
            assert_eq!(life.values(), expected, "{block} {bit}");
            assert_eq!(life.damaged() as usize, opened.damaged.len());
            lost += opened.damaged.len();
            mended += usize::from(superblock || opened.directory_repaired);
            // Once and for all: the next life finds nothing wrong.
            let mut next = Life::start(&disk);
            assert_eq!(next.started.store, Ok(Found::Sound));
            let Some(Sealed::Open(opened)) = next.hear_key().sealed else { panic!("{block} {bit}") };
            assert!(opened.damaged.is_empty() && !opened.directory_repaired, "{block} {bit}");
            assert_eq!(next.values(), expected);
            positions += 1;
        }
    }
    println!("{positions} positions, {lost} values lost, {mended} mended");
    assert!(positions > 700 && lost > 300 && mended > 150);
}

#[test]
fn a_value_that_is_damaged_while_it_runs_is_refused_and_named() {
    let (good, values) = stored();
    let superblocks = [STORE, STORE_END - 8];
    // One page at a time, behind the back of a life that has looked at all of them.
    let mut refused = 0;
    for block in used(&good).into_iter().step_by(8) {
        if superblocks.contains(&block) {
            continue;
        }
        let disk = disk(good.clone());
        let life = Life::open(&disk);
        let mut bytes = disk.image().block(block);
        bytes[100] ^= 1;
        embassy_futures::block_on(async {
            use board_support_drv::block::BlockDevice as _;
            disk.clone().write(block, &bytes, core::time::Duration::ZERO).await.unwrap();
        });
        for name in values.keys() {
            match life.try_get(name) {
                Ok(value) => assert_eq!(value, values[name]),
                Err(Refusal::Disk) => {
                    refused += 1;
                    assert_eq!(life.damaged(), 1);
                    assert_eq!(life.try_get(name), Err(Refusal::NoValue));
                }
                Err(refusal) => panic!("{refusal:?}"),
            }
        }
    }
    assert_eq!(refused, 5, "pages of values");
}

/// Whoever writes the disk sets single pages back to what they were, moves them, or exchanges them.
#[test]
fn single_pages_that_were_set_back_are_noticed() {
    let disk = disk(flashed());
    let life = Life::open(&disk);
    let mut olds = Vec::new();
    // Enough changes that pages come to be used again.
    for turn in 0..30 {
        life.put("config", &[turn; 300]);
        life.put("password", format!("number {turn}").as_bytes());
        olds.push(disk.image());
    }
    let new = disk.image();
    let values = life.values();
    let pages = || (STORE..STORE_END).step_by(8);
    let page = |image: &Image, first: u64| -> Vec<u8> {
        (first..first + 8).flat_map(|block| image.block(block)).collect()
    };
    let mut tried = 0;
    let mut check = |image: Image, what: &str| {
        let mut life = Life::start(&crate::world::disk(image));
        let Some(Sealed::Open(opened)) = life.hear_key().sealed else { panic!("{what}: {:?}", life.started) };
        let found = life.values();
        for (name, value) in &values {
            match found.get(name) {
                Some(found) => assert_eq!(found, value, "{what}: an old value, and nobody is told"),
                None => assert!(opened.damaged.iter().any(|(_, key)| key == name.as_str()), "{what}"),
            }
        }
        tried += 1;
    };
    for old in &olds[..29] {
        for first in pages() {
            let (then, now) = (page(old, first), page(&new, first));
            if then != now && then.iter().any(|&byte| byte != 0) {
                let mut image = new.clone();
                image.put(first, &then);
                check(image, "set back");
            }
        }
    }
    let used: Vec<u64> = pages().filter(|first| page(&new, *first).iter().any(|&byte| byte != 0)).collect();
    for (one, other) in used.iter().zip(used.iter().skip(1)) {
        let mut image = new.clone();
        image.put(*one, &page(&new, *other));
        image.put(*other, &page(&new, *one));
        // Superblocks in each other's place are none.
        if ![STORE, STORE_END - 8].contains(one) && ![STORE, STORE_END - 8].contains(other) {
            check(image, "exchanged");
        }
    }
    assert!(tried > 200, "{tried}");
}

/// What is not noticed, so that nobody believes otherwise: all of the store set back is a state that was there.
#[test]
fn the_whole_store_set_back_is_not_noticed() {
    let disk = disk(flashed());
    let life = Life::open(&disk);
    life.put("a", b"old");
    let old = disk.image();
    life.put("a", b"new");
    assert_eq!(Life::open(&crate::world::disk(old)).try_get("a"), Ok(b"old".to_vec()));
}

/// And yet no nonce comes twice, though the lives have the same number: two values of one length that are put
/// after the disk was set back have nothing in common, as they would have under the same nonce.
#[test]
fn a_disk_that_was_set_back_makes_no_nonce_twice() {
    let disk = disk(flashed());
    Life::open(&disk).put("a", b"first");
    let before = disk.image();
    let pages = |value: u8| -> BTreeSet<Vec<u8>> {
        let disk = crate::world::disk(before.clone());
        let life = Life::open(&disk);
        life.put("secret", &[value; 400]);
        let image = disk.image();
        let changed = (STORE..STORE_END).filter(|block| image.block(*block) != before.block(*block));
        changed.map(|block| image.block(block)).collect()
    };
    let (one, other) = (pages(0x11), pages(0x22));
    let all = |a: &[u8], b: &[u8]| a.iter().zip(b).take(400).all(|(a, b)| a ^ b == 0x33);
    assert!(!one.iter().any(|a| other.iter().any(|b| all(a, b))));
    assert!(one.len() > 10 && other.len() > 10);
}

#[test]
fn what_is_damaged_in_both_copies_is_named_and_left_alone() {
    let (good, _) = stored();
    let (first, last) = (STORE, STORE_END - 8);
    let found = |image: Image| {
        let disk = disk(image.clone());
        let life = Life::start(&disk);
        assert_eq!(
            life.refusal(&Request::Get { key: crate::world::key("a"), offset: 0 }),
            Some(Refusal::Disk)
        );
        assert!(life.sealed().is_none(), "vault would make a key for what has one");
        let untouched = (STORE..STORE_END).all(|block| disk.image().block(block) == image.block(block));
        assert!(untouched);
        life.started.store.unwrap_err()
    };
    let mut both = good.clone();
    flip(&mut both, first + 1, 3);
    flip(&mut both, last + 1, 3);
    let why = StoreError::Superblocks([SuperblockError::Checksum; 2]);
    assert_eq!(found(both), Missing::Store(why));

    // Of others, and not empty behind an empty beginning.
    for block in [0, 2, 100, 511] {
        let mut image = flashed();
        image.put(STORE + block, &[0xef; BLOCK]);
        assert_eq!(found(image), Missing::Store(StoreError::Foreign), "{block}");
    }
    // Neither partition nor table.
    let mut image = table(State::ACTIVE, State::SPARE);
    for block in [1, BLOCKS - 1] {
        image.put(block, &[0; BLOCK]);
    }
    let disk = disk(image);
    let life = Life::start(&disk);
    assert!(matches!(life.started.store, Err(Missing::Table(_))));
    assert_eq!(life.refusal(&Request::Slots), Some(Refusal::Disk));
    assert!(disk.log().events().is_empty());
}

#[test]
fn a_directory_that_is_damaged_in_both_copies_is_named() {
    let (good, _) = stored();
    let superblocks = [STORE, STORE_END - 8];
    let mut image = good.clone();
    for block in used(&good) {
        if !superblocks.iter().any(|first| (*first..first + 8).contains(&block)) {
            flip(&mut image, block, 9);
        }
    }
    let mut life = Life::start(&disk(image));
    assert_eq!(life.hear_key().sealed, Some(Sealed::Closed(StoreError::Directory)));
    // A new key that was ordered makes room for a new beginning.
    let keep = proto_svc::sealing::FromVault::Keep {
        sealed: heapless::Vec::from_slice(b"sealed anew").unwrap(),
        kept: heapless::Vec::new(),
        fresh: true,
    };
    assert_eq!(life.hear(keep).reply, Some(proto_svc::sealing::ToVault::Kept));
    life.hear_key();
    assert_eq!(life.values(), Values::new());
    life.put("a", b"1");
    assert_eq!(Life::open(&life.disk).try_get("a"), Ok(b"1".to_vec()));
}

#[test]
fn a_damaged_slot_does_not_keep_the_other_from_being_filled() {
    let mut image = flashed();
    for block in 0..20 {
        image.put(SLOT_B + block, &[0xff; BLOCK]);
    }
    let disk = disk(image);
    let life = Life::start(&disk);
    fills(&system("1.1.0")).iter().for_each(|request| life.done(request));
    life.done(&Request::Verify);
    life.done(&Request::Change(proto_svc::storage::Change::Arm));
    assert_eq!(boot(&mut disk.image()), Some((Slot::B, "1.1.0".to_owned())));
}

/// A slot as each architecture has it, and where which part lies in it.
fn whole(machine: Machine) -> (Vec<u8>, Vec<(Range<usize>, &'static str)>) {
    let noise = |seed: u8, length: usize| -> Vec<u8> {
        (0..length).map(|at| (at as u8).wrapping_mul(31) ^ (at >> 8) as u8 ^ seed).collect()
    };
    let parts: Vec<(Kind, &str, Vec<u8>)> = match machine {
        // GRUB, which brings Xen, dom0 and archive along.
        Machine::X86_64 => vec![(Kind::Program, "program", noise(1, 20_000))],
        Machine::Aarch64 => vec![
            (Kind::Xen, "Xen", noise(2, 7000)),
            (Kind::Dom0, "dom0", noise(3, 6000)),
            (Kind::Archive, "archive", noise(4, 5000)),
            (Kind::XenLine, "line", b"console=dtuart".to_vec()),
        ],
    };
    let drafted: Vec<(Kind, &[u8])> = parts.iter().map(|(kind, _, bytes)| (*kind, &bytes[..])).collect();
    let draft = Draft::new(machine, Version::new("1.1.0").unwrap(), &drafted).unwrap();
    let slot = draft.sign(|bytes| signer().sign(bytes).to_bytes());
    let mut places = vec![(0..SIGNED_BYTES, "manifest"), (SIGNED_BYTES..HEADER_BYTES, "signature")];
    let mut at = ALIGN;
    for (_, name, bytes) in &parts {
        places.push((at..at + bytes.len(), *name));
        at = (at + bytes.len()).next_multiple_of(ALIGN);
    }
    (slot, places)
}

/// One bit of what is started, wherever it is: the slot is not started and dom0 is told which and why; the other one
/// is, at once.
#[test]
fn one_bit_of_the_active_slot_flipped_anywhere_starts_the_other_one() {
    let mut positions = BTreeMap::<&str, usize>::new();
    for machine in [Machine::X86_64, Machine::Aarch64] {
        let (slot, places) = whole(machine);
        let mut good = table(State::ACTIVE, State::SPARE);
        put(&mut good, SLOT_A, &slot);
        put(&mut good, SLOT_B, &slot);
        let nothing = |_: Option<(u64, &[u8])>| {};
        assert_eq!(select(&good, machine, nothing).started, Some((Slot::A, "1.1.0".to_owned())));
        for (place, name) in places {
            let bits = place.len() * 8;
            // All of the signature and the line, and as many of the rest.
            for bit in (place.start * 8..place.end * 8).step_by((bits / 499).max(1)) {
                let mut image = good.clone();
                flip(&mut image, SLOT_A + (bit / 8 / BLOCK) as u64, bit % (BLOCK * 8));
                let Selected { started, refused, table } = select(&image, machine, nothing);
                assert_eq!(started, Some((Slot::B, "1.1.0".to_owned())), "{name} {bit}");
                assert_eq!(table, Condition::Sound);
                let [(Slot::A, why)] = refused[..] else { panic!("{name} {bit}: {refused:?}") };
                let expected: &[Refused] = match name {
                    "manifest" => &[Refused::Empty, Refused::Malformed, Refused::Signature],
                    "signature" => &[Refused::Signature],
                    _ => &[Refused::Hash],
                };
                assert!(expected.contains(&why), "{name} {bit}: {why:?}");
                *positions.entry(name).or_default() += 1;
            }
        }
    }
    println!("{positions:?}");
    assert!(positions.values().sum::<usize>() >= 3000 && positions.len() == 7, "{positions:?}");
}

/// One bit of either copy of the table, as the selector finds it: the same slot is started, the copy is named, and
/// is what it was afterwards.
#[test]
fn one_bit_of_the_table_flipped_anywhere_starts_the_same_slot() {
    let backup = BLOCKS - 33;
    let blocks = [1, 2, backup, BLOCKS - 1];
    let good = flashed();
    let mut positions = 0;
    for block in blocks {
        for bit in (3..BLOCK * 8).step_by(11) {
            let mut image = good.clone();
            flip(&mut image, block, bit);
            let selected = select(&image, MACHINE, |_| {});
            let which = if block < backup { Which::Primary } else { Which::Backup };
            assert!(
                matches!(selected.table, Condition::Damaged { which: damaged, .. } if damaged == which),
                "{block} {bit}: {selected:?}"
            );
            assert_eq!(selected.started, Some((Slot::A, "1.0.0".to_owned())), "{block} {bit}");
            assert_eq!(boot(&mut image), Some((Slot::A, "1.0.0".to_owned())));
            for block in blocks {
                assert!(image.block(block) == good.block(block), "{block} {bit}: mended");
            }
            positions += 1;
        }
    }
    assert!(positions > 1000, "{positions}");
}
