//! A disk with two slots and a store, a system to fill a slot with, and what a selector would start.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::OnceLock;

use board_support_drv::block::BlockSize;
use board_support_drv::block::fake::{FakeDisk, Image};
use ed25519_dalek::{Signer, SigningKey};
use embassy_futures::block_on;
use gpt::partition::Partition as Entry;
use gpt::partition_types::{OperatingSystem, Type};
use proto_gpt::copy::{self, CopyError, Geometry, PRIMARY_BLOCK, TableCopy, Which, backup_block};
use proto_gpt::slots::{Slot, Slots, State};
use proto_gpt::table::{Bytes, Condition, Joined, NoTable, Step, Table};
use proto_handoff::record::{Refused, Version};
use proto_svc::sealing::{FromVault, StorageKey};
use proto_svc::storage::{Answer, Change, Key, MAX_PIECE, Refusal, Request};
use proto_update::manifest::{ALIGN, Draft, HEADER_BYTES, Header, Kind, Machine, SlotError};
use stubdoms_storage_core::clients::sealing::{Heard, Sealed, Sealing};
use stubdoms_storage_core::clients::{Started, Storage};
use stubdoms_storage_core::slots::Trust;
use uuid::Uuid;

pub(crate) const BLOCK: usize = 512;
/// Blocks of the partitions: two slots, the store.
const SLOT_BLOCKS: u64 = 96;
const STORE_BLOCKS: u64 = 2200 * 8;
const FIRST: u64 = 40;
pub(crate) const SLOT_A: u64 = FIRST;
pub(crate) const SLOT_B: u64 = FIRST + SLOT_BLOCKS;
pub(crate) const STORE: u64 = FIRST + 2 * SLOT_BLOCKS;
pub(crate) const STORE_END: u64 = STORE + STORE_BLOCKS;
/// Blocks of a partition for a selector, on a disk that has two.
pub(crate) const ESP_BLOCKS: u64 = 40;
pub(crate) const ESP_1: u64 = STORE_END;
pub(crate) const ESP_2: u64 = ESP_1 + ESP_BLOCKS;
/// Blocks of the disk.
pub(crate) const BLOCKS: u64 = ESP_2 + ESP_BLOCKS + 40;
/// Bytes of a slot.
pub(crate) const ROOM: u64 = SLOT_BLOCKS * BLOCK as u64;

pub(crate) const KEY: [u8; 32] = [0x42; 32];
pub(crate) const MACHINE: Machine = Machine::X86_64;

pub(crate) fn signer() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

pub(crate) fn trust() -> Trust {
    Trust { key: Some(signer().verifying_key()), machine: MACHINE }
}

/// A system of this version: header, signature, contents.
pub(crate) fn system(version: &str) -> Vec<u8> {
    system_of(version, MACHINE, &signer())
}

pub(crate) fn system_of(version: &str, machine: Machine, key: &SigningKey) -> Vec<u8> {
    signed(version, machine, key, &[(Kind::Program, &program(version))])
}

/// The same, with the selector that comes with it.
pub(crate) fn system_with(version: &str, selector: &[u8]) -> Vec<u8> {
    let parts: [(Kind, &[u8]); 2] = [(Kind::Program, &program(version)), (Kind::Selector, selector)];
    signed(version, MACHINE, &signer(), &parts)
}

fn program(version: &str) -> Vec<u8> {
    let fill = version.bytes().fold(1_u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte));
    (0..9_000_u32).map(|at| (at as u8).wrapping_mul(7) ^ fill).collect()
}

fn signed(version: &str, machine: Machine, key: &SigningKey, parts: &[(Kind, &[u8])]) -> Vec<u8> {
    let draft = Draft::new(machine, Version::new(version).unwrap(), parts).unwrap();
    draft.sign(|bytes| key.sign(bytes).to_bytes())
}

/// Puts the blocks of `bytes` that are not zero.
pub(crate) fn put(image: &mut Image, first: u64, bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    for (block, some) in (first..).zip(bytes.chunks(BLOCK)) {
        if some.iter().any(|&byte| byte != 0) {
            image.put(block, some);
        }
    }
}

/// A partition table that another implementation made: the crate that the host tool writes images with.
pub(crate) fn table(a: State, b: State) -> Image {
    table_with(a, b, 0)
}

/// The same, with so many EFI system partitions of up to two.
pub(crate) fn table_with(a: State, b: State, esps: usize) -> Image {
    let slot = Uuid::from_u128(0x6a1c_5f0e_93b2_4f57_9d41_2e77_c0a8_51d3);
    let persist = Uuid::from_u128(0xc4f7_83a9_2e60_4d1b_8a95_f13b_60d7_2e8c);
    let entry = |number: u128, guid, first, end: u64, flags, name: &str| Entry {
        part_type_guid: Type { guid, os: OperatingSystem::None },
        part_guid: Uuid::from_u128(number),
        first_lba: first,
        last_lba: end - 1,
        flags,
        name: name.into(),
    };
    let mut entries = BTreeMap::from([
        (1, entry(1, slot, SLOT_A, SLOT_B, a.put(0), "slot-a")),
        (2, entry(2, slot, SLOT_B, STORE, b.put(0), "slot-b")),
        (3, entry(3, persist, STORE, STORE_END, 0, "P3")),
    ]);
    let esp = gpt::partition_types::EFI.guid;
    for (number, first) in (4..).zip([ESP_1, ESP_2]).take(esps) {
        entries.insert(number, entry(number.into(), esp, first, first + ESP_BLOCKS, 0, "esp"));
    }
    let mut bytes = vec![0; BLOCKS as usize * BLOCK];
    let config = gpt::GptConfig::new().writable(true);
    let mut table = config.create_from_device(Cursor::new(&mut bytes), Some(Uuid::from_u128(7))).unwrap();
    table.update_partitions(entries).unwrap();
    table.write().unwrap();
    let mut image = Image::new(BlockSize::B512);
    put(&mut image, 0, &bytes);
    image
}

/// As it is flashed: 1.0.0 in both slots, A is what is started; the store's partition is empty.
pub(crate) fn flashed() -> Image {
    static FLASHED: OnceLock<Image> = OnceLock::new();
    FLASHED
        .get_or_init(|| {
            let mut image = table(State::ACTIVE, State::SPARE);
            put(&mut image, SLOT_A, &system("1.0.0"));
            put(&mut image, SLOT_B, &system("1.0.0"));
            image
        })
        .clone()
}

pub(crate) fn disk(image: Image) -> FakeDisk {
    FakeDisk::of(image, BLOCKS)
}

fn random(out: &mut [u8]) {
    static DRAWN: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    let drawn = DRAWN.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    out.iter_mut().zip(drawn.to_le_bytes()).for_each(|(to, from)| *to = from);
}

/// The domain in one of its lives.
pub(crate) struct Life {
    pub(crate) storage: Storage<FakeDisk>,
    pub(crate) disk: FakeDisk,
    pub(crate) started: Started,
    sealing: Sealing,
}

impl Life {
    /// Starts it; slot A runs. Each life draws other random numbers.
    pub(crate) fn start(disk: &FakeDisk) -> Self {
        Self::start_from(disk, Some(Slot::A))
    }

    pub(crate) fn start_from(disk: &FakeDisk, running: Option<Slot>) -> Self {
        let (storage, started) = block_on(Storage::start(disk.clone(), running, trust(), random));
        Self { storage, disk: disk.clone(), started, sealing: Sealing::default() }
    }

    /// Tries again what the disk has failed at, until it does not: how often. And what has become of the store.
    pub(crate) fn mend(&mut self) -> (u32, Option<Sealed>) {
        let mut tries = 0;
        let mut last = None;
        while block_on(self.storage.is_failing()) {
            let tried = block_on(self.storage.try_again(random));
            tries += 1;
            last = tried.sealed.or(last);
            if let Some(started) = tried.found {
                self.started = started;
            }
            assert!(tries < 100, "it never ends");
        }
        (tries, last)
    }

    /// What was not kept is written again.
    pub(crate) fn seal_again(&mut self) -> Heard {
        assert!(self.sealing.pause().is_some(), "nothing waits");
        block_on(self.sealing.try_again(&self.storage))
    }

    /// The same, with the key from vault.
    pub(crate) fn open(disk: &FakeDisk) -> Self {
        let mut life = Self::start(disk);
        life.hear_key();
        life
    }

    pub(crate) fn hear(&mut self, said: FromVault) -> Heard {
        block_on(self.sealing.hear(&self.storage, said))
    }

    pub(crate) fn hear_key(&mut self) -> Heard {
        self.hear(FromVault::Key { key: StorageKey(KEY), fresh: false })
    }

    pub(crate) fn lock(&self, reason: &str) -> bool {
        block_on(self.storage.lock(reason))
    }

    pub(crate) fn sealed(&self) -> Option<proto_svc::sealing::ToVault> {
        block_on(self.sealing.open(&self.storage))
    }

    pub(crate) fn ask(&self, request: &Request) -> Answer {
        block_on(self.storage.answer(request)).0
    }

    /// What was refused, and why.
    pub(crate) fn refusal(&self, request: &Request) -> Option<Refusal> {
        match self.ask(request) {
            Answer::Refused { refusal, .. } => Some(refusal),
            _ => None,
        }
    }

    pub(crate) fn done(&self, request: &Request) {
        let answer = self.ask(request);
        assert!(!matches!(answer, Answer::Refused { .. }), "{request:?}: {answer:?}");
    }

    pub(crate) fn try_put(&self, name: &str, value: &[u8]) -> Answer {
        let mut answer = Answer::Done;
        for request in puts(name, value) {
            answer = self.ask(&request);
            if answer != Answer::Done {
                break;
            }
        }
        answer
    }

    pub(crate) fn put(&self, name: &str, value: &[u8]) {
        assert_eq!(self.try_put(name, value), Answer::Done, "{name}");
    }

    pub(crate) fn try_get(&self, name: &str) -> Result<Vec<u8>, Refusal> {
        let mut value = Vec::new();
        loop {
            let request = Request::Get { key: key(name), offset: value.len() as u32 };
            match self.ask(&request) {
                Answer::Value { total, bytes, .. } if bytes.is_empty() => {
                    assert_eq!(value.len() as u32, total);
                    return Ok(value);
                }
                Answer::Value { bytes, .. } => value.extend_from_slice(&bytes),
                Answer::Refused { refusal, .. } => return Err(refusal),
                answer => panic!("{answer:?}"),
            }
        }
    }

    /// All names and values.
    pub(crate) fn values(&self) -> Values {
        let mut values = Values::new();
        let mut after = Key::new();
        loop {
            match self.ask(&Request::Next { after }) {
                Answer::Name(Some(name)) => {
                    values.insert(name.to_string(), self.try_get(&name).unwrap());
                    after = name;
                }
                Answer::Name(None) => return values,
                answer => panic!("{answer:?}"),
            }
        }
    }

    pub(crate) fn damaged(&self) -> u32 {
        match self.ask(&Request::Status) {
            Answer::Status(status) => status.damaged,
            answer => panic!("{answer:?}"),
        }
    }

    /// Fills the other slot.
    pub(crate) fn fill(&self, system: &[u8]) {
        fills(system).iter().for_each(|request| self.done(request));
    }

    pub(crate) fn states(&self) -> [State; 2] {
        states(&self.disk.image())
    }
}

/// What is stored, by name.
pub(crate) type Values = BTreeMap<String, Vec<u8>>;

pub(crate) fn key(name: &str) -> Key {
    Key::try_from(name).unwrap()
}

/// The requests that put a value.
pub(crate) fn puts(name: &str, value: &[u8]) -> Vec<Request> {
    let put = |offset: usize, bytes: &[u8]| Request::Put {
        key: key(name),
        total: value.len() as u32,
        offset: offset as u32,
        bytes: heapless::Vec::from_slice(bytes).unwrap(),
    };
    if value.is_empty() {
        return vec![put(0, &[])];
    }
    value.chunks(MAX_PIECE).enumerate().map(|(index, piece)| put(index * MAX_PIECE, piece)).collect()
}

/// The requests that fill a slot.
pub(crate) fn fills(system: &[u8]) -> Vec<Request> {
    let begin = Request::Begin { length: system.len() as u64 };
    let write = |(index, piece): (usize, &[u8])| Request::Write {
        offset: (index * MAX_PIECE) as u64,
        bytes: heapless::Vec::from_slice(piece).unwrap(),
    };
    core::iter::once(begin).chain(system.chunks(MAX_PIECE).enumerate().map(write)).collect()
}

/// Fills the other slot, and has it tried at the next start.
pub(crate) fn updates(system: &[u8]) -> Vec<Request> {
    let mut requests = fills(system);
    requests.extend([Request::Verify, Request::Change(Change::Arm)]);
    requests
}

fn geometry() -> Geometry {
    Geometry { block_bytes: BLOCK as u32, last_block: BLOCKS - 1 }
}

fn bytes(image: &Image, block: u64, length: usize) -> Vec<u8> {
    let mut into = vec![0; length.next_multiple_of(BLOCK)];
    image.get(block, &mut into);
    into
}

fn copy(image: &Image, which: Which, block: u64) -> Result<(copy::Header, Vec<u8>), CopyError> {
    let header = copy::Header::parse(which, &bytes(image, block, BLOCK), block, geometry())?;
    Ok((header, bytes(image, header.entries_block(), header.entries_bytes())))
}

fn joined(image: &Image) -> Result<Joined, NoTable> {
    let primary = copy(image, Which::Primary, PRIMARY_BLOCK);
    let at = backup_block(primary.as_ref().map(|(header, _)| header), geometry());
    let backup = copy(image, Which::Backup, at);
    Table::join(geometry(), whole(&primary), whole(&backup))
}

fn whole(copy: &Result<(copy::Header, Vec<u8>), CopyError>) -> Result<TableCopy<'_>, CopyError> {
    let (header, entries) = copy.as_ref().map_err(|why| *why)?;
    TableCopy::parse(*header, entries)
}

pub(crate) fn states(image: &Image) -> [State; 2] {
    let joined = joined(image).unwrap();
    let slots = Slots::find(joined.table()).unwrap();
    Slot::ALL.map(|slot| slots.state(slot))
}

/// A slot, and the version in it.
pub(crate) type Running = (Slot, String);

/// What a selector made of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Selected {
    /// What both copies of the table were like.
    pub(crate) table: Condition,
    pub(crate) started: Option<Running>,
    /// What it did not start, and what it tells dom0 of that.
    pub(crate) refused: Vec<(Slot, Refused)>,
}

/// What a selector does with a disk. It writes by `write`, a flush as `None`.
pub(crate) fn select(
    image: &Image,
    machine: Machine,
    mut write: impl FnMut(Option<(u64, &[u8])>),
) -> Selected {
    let mut carry_out = |step: Step<'_>| match step {
        Step::Flush => write(None),
        Step::Write { block, bytes } => {
            let mut whole = match &bytes {
                Bytes::Entries(bytes) => bytes.to_vec(),
                Bytes::Header(bytes) => bytes.to_vec(),
            };
            whole.resize(whole.len().next_multiple_of(BLOCK), 0);
            write(Some((block, &whole)));
        }
    };
    let found = joined(image).expect("one copy of the table is always right");
    found.repair().for_each(&mut carry_out);
    let condition = found.condition();
    let mut table = found.repaired();
    let mut slots = Slots::find(&table).unwrap();
    let mut selected = Selected { table: condition, started: None, refused: Vec::new() };
    loop {
        let refused: Vec<Slot> = selected.refused.iter().map(|(slot, _)| *slot).collect();
        let Some(choice) = slots.choose(&refused) else { return selected };
        slots.take_try(choice.slot);
        if slots.put(&mut table) {
            table.store().for_each(&mut carry_out);
        }
        match version_in(image, choice.slot, machine) {
            Ok(version) => {
                selected.started = Some((choice.slot, version));
                return selected;
            }
            Err(why) => selected.refused.push((choice.slot, why.into())),
        }
    }
}

/// The same on a disk in memory: what is started. Tries are taken off on the disk.
pub(crate) fn boot(image: &mut Image) -> Option<Running> {
    let before = image.clone();
    let write = |write: Option<(u64, &[u8])>| {
        if let Some((block, bytes)) = write {
            image.put(block, bytes);
        }
    };
    select(&before, MACHINE, write).started
}

/// The version of a slot that is right.
fn version_in(image: &Image, slot: Slot, machine: Machine) -> Result<String, SlotError> {
    let first = if slot == Slot::A { SLOT_A } else { SLOT_B };
    let bytes = bytes(image, first, ROOM as usize);
    let header = Header::parse(&bytes[..HEADER_BYTES], ROOM)?.verify(trust().key.as_slice(), machine)?;
    header.contents(&bytes[ALIGN..ALIGN + header.length() as usize])?;
    Ok(header.version().to_string())
}

/// SplitMix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.number() % bound.max(1) as u64) as usize
    }

    pub(crate) fn value(&mut self, longest: usize) -> Vec<u8> {
        let length = self.below(longest + 1);
        (0..length).map(|_| self.number() as u8).collect()
    }
}
