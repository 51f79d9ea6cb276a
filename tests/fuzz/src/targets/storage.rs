//! What the storage domain reads from its disk, and what control asks of it.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::OnceLock;

use board_support_drv::block::BlockSize;
use board_support_drv::block::fake::{Event, FakeDisk, Image};
use ed25519_dalek::{Signer, SigningKey};
use embassy_futures::block_on;
use gpt::partition::Partition as Entry;
use gpt::partition_types::{OperatingSystem, Type};
use proto_gpt::slots::{Slot, State};
use proto_handoff::record::Version;
use proto_svc::sealing::{FromVault, StorageKey};
use proto_svc::storage::{Answer, Change, Key, Request, Selector, ToStorage};
use proto_svc::{MAX_MESSAGE, decode, encode};
use proto_update::manifest::{Draft, Kind, Machine};
use stubdoms_storage_core::clients::Storage;
use stubdoms_storage_core::clients::sealing::Sealing;
use stubdoms_storage_core::slots::Trust;
use uuid::Uuid;

const BLOCK: usize = 512;
const SLOT_A: u64 = 40;
const SLOT_B: u64 = SLOT_A + 48;
const STORE: u64 = SLOT_B + 48;
const STORE_END: u64 = STORE + 2200 * 8;
/// The partitions of selectors.
const ESPS: [u64; 2] = [STORE_END, STORE_END + ESP_BLOCKS];
const ESP_BLOCKS: u64 = 24;
const BLOCKS: u64 = STORE_END + 2 * ESP_BLOCKS + 40;

fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

/// A selector, in what firmware takes for a file system.
fn selector() -> Vec<u8> {
    let mut image: Vec<u8> = (0..16 * BLOCK).map(|at| (at / 5) as u8 | 1).collect();
    image[11..13].copy_from_slice(&(BLOCK as u16).to_le_bytes());
    image[19..21].copy_from_slice(&(ESP_BLOCKS as u16).to_le_bytes());
    image[510..512].copy_from_slice(&[0x55, 0xaa]);
    image
}

fn partition(image: &Image, first: u64) -> Vec<u8> {
    let mut bytes = vec![0; ESP_BLOCKS as usize * BLOCK];
    image.get(first, &mut bytes);
    bytes
}

/// A disk with two slots, an empty store and two selectors, the first of which is damaged.
fn flashed() -> Image {
    static FLASHED: OnceLock<Image> = OnceLock::new();
    FLASHED.get_or_init(make).clone()
}

fn make() -> Image {
    let slot = Uuid::from_u128(0x6a1c_5f0e_93b2_4f57_9d41_2e77_c0a8_51d3);
    let persist = Uuid::from_u128(0xc4f7_83a9_2e60_4d1b_8a95_f13b_60d7_2e8c);
    let esp = gpt::partition_types::EFI.guid;
    let entry = |number: u128, guid, first, end: u64, state: State, name: &str| Entry {
        part_type_guid: Type { guid, os: OperatingSystem::None },
        part_guid: Uuid::from_u128(number),
        first_lba: first,
        last_lba: end - 1,
        flags: state.put(0),
        name: name.into(),
    };
    let entries = BTreeMap::from([
        (1, entry(1, slot, SLOT_A, SLOT_B, State::ACTIVE, "slot-a")),
        (2, entry(2, slot, SLOT_B, STORE, State::SPARE, "slot-b")),
        (3, entry(3, persist, STORE, STORE_END, State::UNUSED, "P3")),
        (4, entry(4, esp, ESPS[0], ESPS[1], State::UNUSED, "esp")),
        (5, entry(5, esp, ESPS[1], ESPS[1] + ESP_BLOCKS, State::UNUSED, "esp-2")),
    ]);
    let mut whole = vec![0; BLOCKS as usize * BLOCK];
    let config = gpt::GptConfig::new().writable(true);
    let mut table =
        config.create_from_device(Cursor::new(&mut whole), Some(Uuid::from_u128(7))).expect("a table");
    table.update_partitions(entries).expect("partitions");
    table.write().expect("a write to memory");
    let version = Version::new("1.0.0").expect("a version");
    let selector = selector();
    let parts: [(Kind, &[u8]); 2] = [(Kind::Program, &[1; 5000]), (Kind::Selector, &selector)];
    let draft = Draft::new(Machine::X86_64, version, &parts).expect("a slot");
    let system = draft.sign(|bytes| key().sign(bytes).to_bytes());
    for first in [SLOT_A, SLOT_B] {
        let place = first as usize * BLOCK;
        whole[place..place + system.len()].copy_from_slice(&system);
    }
    for first in ESPS {
        let place = first as usize * BLOCK;
        whole[place..place + selector.len()].copy_from_slice(&selector);
    }
    whole[ESPS[0] as usize * BLOCK + 5000] ^= 1;
    let mut image = Image::new(BlockSize::B512);
    for (number, block) in (0..).zip(whole.chunks(BLOCK)) {
        if block.iter().any(|&byte| byte != 0) {
            image.put(number, block);
        }
    }
    image
}

fn life(disk: &FakeDisk) -> (Storage<FakeDisk>, bool) {
    let trust = Trust { key: Some(key().verifying_key()), machine: Machine::X86_64 };
    let random = |out: &mut [u8]| out.fill(9);
    let (storage, _) = block_on(Storage::start(disk.clone(), Some(Slot::A), trust, random));
    let said = FromVault::Key { key: StorageKey([3; 32]), fresh: false };
    let heard = block_on(Sealing::default().hear(&storage, said));
    (storage, heard.changed)
}

fn ask(storage: &Storage<FakeDisk>, request: &Request) -> Answer {
    block_on(storage.answer(request)).0
}

const VALUES: [(&str, &[u8]); 2] = [("config", &[5; 700]), ("note", b"some text")];

fn put(name: &str, value: &[u8]) -> Request {
    Request::Put {
        key: Key::try_from(name).expect("short"),
        total: value.len() as u32,
        offset: 0,
        bytes: heapless::Vec::from_slice(value).expect("short"),
    }
}

/// A store with some values.
fn stored() -> Image {
    static STORED: OnceLock<Image> = OnceLock::new();
    let make = || {
        let disk = FakeDisk::of(flashed(), BLOCKS);
        let (storage, _) = life(&disk);
        for (name, value) in VALUES {
            assert_eq!(ask(&storage, &put(name, value)), Answer::Done);
        }
        disk.image()
    };
    STORED.get_or_init(make).clone()
}

/// Whoever writes the disk changes bytes of the store: each change is the number of a page of it, a place in
/// the page and a byte. What is found is what was put, or nothing. And bytes alone as superblock and directory.
pub(super) fn store_image(bytes: &[u8]) {
    stubdoms_storage_core::fuzz::superblock(bytes);
    stubdoms_storage_core::fuzz::directory(bytes);
    let mut image = stored();
    for change in bytes.as_chunks::<4>().0.iter().take(64) {
        let [page, high, low, value] = *change;
        // The pages at the start, and the last one.
        let first = if page % 16 == 15 { STORE_END - 8 } else { STORE + u64::from(page % 16) * 8 };
        let place = usize::from(u16::from_le_bytes([low, high])) % 4096;
        let number = first + (place / BLOCK) as u64;
        let mut block = image.block(number);
        block[place % BLOCK] = value;
        image.put(number, &block);
    }
    let disk = FakeDisk::of(image, BLOCKS);
    let (storage, _) = life(&disk);
    for (name, value) in VALUES {
        let get = Request::Get { key: Key::try_from(name).expect("short"), offset: 0 };
        if let Answer::Value { bytes, .. } = ask(&storage, &get) {
            assert_eq!(bytes, value, "a value that nobody put");
        }
    }
    let Answer::Status(status) = ask(&storage, &Request::Status) else { panic!("no status") };
    if status.open {
        assert_eq!(ask(&storage, &put("later", b"1")), Answer::Done);
    }
}

pub(super) fn store_images() -> Vec<Vec<u8>> {
    vec![
        stubdoms_storage_core::fuzz::superblock_seed(),
        stubdoms_storage_core::fuzz::directory_seed(),
        vec![0, 0, 1, 7],
        vec![0, 3, 1, 7, 15, 3, 1, 7],
        (1..15).flat_map(|page| [page, 2, 200, 77]).collect(),
    ]
}

/// Requests of a control that was taken over, each behind two bytes of its length: the slot that runs is not
/// written, nor any selector but as it was signed, the store is read in a later life as in this one.
pub(super) fn storage_requests(mut bytes: &[u8]) {
    let disk = FakeDisk::of(flashed(), BLOCKS);
    let (storage, _) = life(&disk);
    for _ in 0..64 {
        let Some((length, rest)) = bytes.split_first_chunk::<2>() else { break };
        let length = usize::from(u16::from_le_bytes(*length)).min(rest.len());
        let (message, rest) = rest.split_at(length);
        bytes = rest;
        if let Ok(ToStorage::Ask { request, .. }) = decode::<ToStorage>(message) {
            let answer = ask(&storage, &request);
            let fits = proto_svc::storage::FromStorage::Answer { number: 1, answer };
            encode(&fits, &mut [0; MAX_MESSAGE]).expect("an answer fits a message");
        }
    }
    let mine =
        |event: &Event| matches!(event, Event::Write { block, .. } if (SLOT_A..SLOT_B).contains(block));
    assert!(!disk.log().events().iter().any(mine), "the slot that runs was written");
    for first in ESPS {
        let (before, now) = (partition(&flashed(), first), partition(&disk.image(), first));
        assert!(now == before || now.starts_with(&selector()), "a selector that nobody signed");
    }
    let (later, _) = life(&disk);
    let mut after = Key::new();
    loop {
        let next = |storage| ask(storage, &Request::Next { after: after.clone() });
        let (now, then) = (next(&storage), next(&later));
        assert_eq!(now, then, "a later life finds something else");
        let Answer::Name(Some(name)) = now else { break };
        let get = Request::Get { key: name.clone(), offset: 0 };
        assert_eq!(ask(&storage, &get), ask(&later, &get));
        after = name;
    }
}

pub(super) fn storage_request_lists() -> Vec<Vec<u8>> {
    let list = |requests: &[Request]| -> Vec<u8> {
        let mut all = Vec::new();
        for request in requests {
            let mut buffer = [0; MAX_MESSAGE];
            let message = ToStorage::Ask { number: 1, request: request.clone() };
            let bytes = encode(&message, &mut buffer).expect("it fits");
            all.extend((bytes.len() as u16).to_le_bytes());
            all.extend(bytes);
        }
        all
    };
    let key = || Key::try_from("config").expect("short");
    let piece = |offset, bytes: &[u8]| Request::Write {
        offset,
        bytes: heapless::Vec::from_slice(bytes).expect("short"),
    };
    vec![
        list(&[
            put("config", b"some"),
            Request::Get { key: key(), offset: 0 },
            Request::Delete { key: key() },
        ]),
        list(&[Request::Begin { length: 5000 }, piece(0, &[1; 900]), piece(900, &[2; 900]), Request::Verify]),
        list(&[Request::Change(Change::TryOther), Request::Slots, Request::Change(Change::Abandon)]),
        list(&[Request::Change(Change::Arm), Request::Change(Change::Commit), Request::Status]),
        list(&[put("a.b-c", &[]), Request::Next { after: Key::new() }]),
        list(&[
            Request::ReplaceSelector(Selector::Second),
            Request::ReplaceSelector(Selector::First),
            Request::ReplaceSelector(Selector::SecondBack),
            Request::ReplaceSelector(Selector::First),
        ]),
    ]
}
