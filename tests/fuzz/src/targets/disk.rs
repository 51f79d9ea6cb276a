//! What the selector reads from the disk and dom0 is told about it.

use core::sync::atomic::{AtomicU32, Ordering};

use std::collections::BTreeMap;
use std::io::Cursor;

use ed25519_dalek::{Signer, SigningKey};
use gpt::partition::Partition as Entry;
use gpt::partition_types::{OperatingSystem, Type};
use proto_gpt::copy::{CopyError, Geometry, Header, PRIMARY_BLOCK, TableCopy, Which, backup_block};
use proto_gpt::slots::{Reason, Slot, Slots, State};
use proto_gpt::table::{Condition, Joined, NoTable, Step, Table};
use proto_gpt::{HEADER_BYTES, MAX_ENTRIES_BYTES};
use proto_handoff::acpi;
use proto_handoff::kept::{Kept, Note, Order};
use proto_handoff::record::{EventLog, Files, Handoff, Place, Refused, TableState, Version, Watchdog};
use proto_update::manifest::{ALIGN, Draft, Header as SlotHeader, Kind, Machine};
use proto_update::payload::{Decoder, pack};
use proto_update::selector::{Doubt, Replacement};
use uuid::Uuid;

const BLOCK: usize = 512;

/// A small disk, of as many blocks as there are bytes for.
struct Disk(Vec<u8>);

impl Disk {
    fn geometry(&self) -> Geometry {
        Geometry { block_bytes: BLOCK as u32, last_block: (self.0.len() / BLOCK) as u64 - 1 }
    }

    /// Gives a header and its entries the checksums that they should have, as an attacker would.
    fn put_checksums(&mut self, block: usize) {
        const CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);
        let place = block * BLOCK;
        let Some(header) = self.0.get(place..place + HEADER_BYTES) else { return };
        let number = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("four bytes"));
        let entries = u64::from(number(72)) | u64::from(number(76)) << 32;
        let length = number(80).saturating_mul(number(84)) as usize;
        let entries = self.bytes(entries, length.min(MAX_ENTRIES_BYTES)).map(|bytes| CRC.checksum(bytes));
        let header = &mut self.0[place..place + HEADER_BYTES];
        header[88..92].copy_from_slice(&entries.unwrap_or(0).to_le_bytes());
        header[16..20].fill(0);
        let checksum = CRC.checksum(header);
        header[16..20].copy_from_slice(&checksum.to_le_bytes());
    }

    fn bytes(&self, block: u64, length: usize) -> Result<&[u8], CopyError> {
        let start = usize::try_from(block).ok().and_then(|block| block.checked_mul(BLOCK));
        let range = start.and_then(|start| Some(start..start.checked_add(length)?));
        range.and_then(|range| self.0.get(range)).ok_or(CopyError::Unreadable)
    }

    fn header(&self, which: Which, block: u64) -> Result<Header, CopyError> {
        Header::parse(which, self.bytes(block, BLOCK)?, block, self.geometry())
    }

    fn copy(&self, which: Which, block: u64) -> Result<TableCopy<'_>, CopyError> {
        let header = self.header(which, block)?;
        TableCopy::parse(header, self.bytes(header.entries_block(), header.entries_bytes())?)
    }

    fn joined(&self) -> Result<Joined, NoTable> {
        let at = backup_block(self.header(Which::Primary, PRIMARY_BLOCK).as_ref(), self.geometry());
        let primary = self.copy(Which::Primary, PRIMARY_BLOCK);
        Table::join(self.geometry(), primary, self.copy(Which::Backup, at))
    }

    fn carry_out<'a>(&mut self, steps: impl Iterator<Item = Step<'a>>) {
        for step in steps {
            let Step::Write { block, bytes } = step else { continue };
            let bytes = bytes.as_ref();
            let place = usize::try_from(block).expect("a block of the disk") * BLOCK;
            let whole = bytes.len().next_multiple_of(BLOCK);
            let room = self.0.get_mut(place..place + whole).expect("nothing is written past the end");
            room.fill(0);
            room[..bytes.len()].copy_from_slice(bytes);
        }
    }
}

/// Whatever is on the disk: a repair leaves two right copies that say the same, a change of the slots
/// is read as it was made, and no partition is written to. The first byte says which of the copies have
/// right checksums in any case.
pub(super) fn partition_table(bytes: &[u8]) {
    let Some((flags, bytes)) = bytes.split_first() else { return };
    let mut disk = Disk(bytes.to_vec());
    if disk.0.len() < 2 * BLOCK {
        return;
    }
    if flags & 1 != 0 {
        disk.put_checksums(1);
    }
    if flags & 2 != 0 {
        disk.put_checksums(disk.0.len() / BLOCK - 1);
    }
    let Ok(joined) = disk.joined() else { return };
    let partitions: Vec<_> = joined.table().partitions().collect();
    let contents = |disk: &Disk| -> Vec<Vec<u8>> {
        let length = |blocks: u64| usize::try_from(blocks).unwrap_or(usize::MAX).saturating_mul(BLOCK);
        let bytes =
            |one: &proto_gpt::partition::Partition| disk.bytes(one.first_block(), length(one.blocks()));
        partitions.iter().map(|one| bytes(one).expect("a partition of the disk").to_vec()).collect()
    };
    let before = contents(&disk);
    disk.carry_out(joined.repair());
    let mut table = joined.repaired();
    let again = disk.joined().expect("it was repaired");
    assert_eq!((again.condition(), again.table()), (Condition::Sound, &table));
    if let Ok(mut slots) = Slots::find(&table) {
        if let Some(choice) = slots.choose(&[]) {
            assert!(slots.state(choice.slot).is_startable());
            slots.take_try(choice.slot);
        }
        let _ = slots.arm(Slot::B);
        slots.put(&mut table);
        disk.carry_out(table.store());
        let again = disk.joined().expect("it was stored");
        assert_eq!((again.condition(), again.table()), (Condition::Sound, &table));
        let read = Slots::find(again.table()).expect("the slots are still there");
        for slot in Slot::ALL.into_iter().filter(|slot| slots.partition(*slot).is_some()) {
            assert_eq!(read.state(slot), slots.state(slot));
        }
    }
    assert!(contents(&disk) == before, "a partition was written to");
}

/// The smallest disk with two slots, by another implementation; and the same without either copy.
pub(super) fn partition_tables() -> Vec<Vec<u8>> {
    const BLOCKS: usize = 80;
    let entry = |number: u128, first, last, state: State, name: &str| Entry {
        part_type_guid: Type {
            guid: Uuid::from_u128(0x6a1c_5f0e_93b2_4f57_9d41_2e77_c0a8_51d3),
            os: OperatingSystem::None,
        },
        part_guid: Uuid::from_u128(number),
        first_lba: first,
        last_lba: last,
        flags: state.put(0),
        name: name.into(),
    };
    let entries = BTreeMap::from([
        (1, entry(1, 36, 38, State::ACTIVE, "slot-a")),
        (2, entry(2, 39, 45, State::UPDATING, "slot-b")),
    ]);
    let mut whole = vec![0; BLOCKS * BLOCK];
    let config = gpt::GptConfig::new().writable(true);
    let mut table =
        config.create_from_device(Cursor::new(&mut whole), Some(Uuid::from_u128(7))).expect("a table");
    table.update_partitions(entries).expect("partitions");
    table.write().expect("a write to memory");
    let (mut first, mut second) = (whole.clone(), whole.clone());
    first[BLOCK..2 * BLOCK].fill(0);
    second[(BLOCKS - 1) * BLOCK..].fill(0);
    [(3, &whole), (0, &whole), (2, &first), (1, &second)]
        .map(|(flags, disk)| [vec![flags], disk.clone()].concat())
        .to_vec()
}

fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

/// A partition as the selector reads it. The first byte says whether it is signed anew, as an attacker with
/// the key would: what a header says must not make us stumble then either.
pub(super) fn slot_header(bytes: &[u8]) {
    let Some((flags, bytes)) = bytes.split_first() else { return };
    let mut slot = bytes.to_vec();
    if flags & 1 != 0 && slot.len() >= 512 {
        let signature = key().sign(&slot[..448]).to_bytes();
        slot[448..512].copy_from_slice(&signature);
    }
    let Ok(header) = SlotHeader::parse(&slot, slot.len() as u64) else { return };
    let Ok(trusted) = header.verify(&[key().verifying_key()], Machine::Aarch64) else { return };
    let length = usize::try_from(trusted.length()).expect("no more than the partition");
    let bytes = slot.get(ALIGN..ALIGN + length).expect("within the partition");
    let Ok(contents) = trusted.contents(bytes) else { return };
    let others = [Kind::Program, Kind::Xen, Kind::Dom0, Kind::Archive, Kind::XenLine, Kind::GiveAway];
    for kind in [&others[..], &[Kind::Selector]].concat() {
        assert!(contents.part(kind).is_none_or(|part| !part.is_empty()));
        // Where it lies is told ahead of the check, for who reads piece by piece.
        let place = trusted.place(kind).map(|place| place.start as usize..place.end as usize);
        assert_eq!(place.and_then(|place| bytes.get(place)), contents.part(kind));
    }
    if let Some(image) = contents.part(Kind::Selector) {
        let _ = Replacement::new(image, 512, 96, &[], Doubt { target: false, other: false });
    }
}

pub(super) fn slots() -> Vec<Vec<u8>> {
    let version = Version::new("0.1.0").expect("a name");
    let parts: [(Kind, &[u8]); 3] =
        [(Kind::Xen, &[1; 5000]), (Kind::Dom0, &[2; 10]), (Kind::XenLine, b"a b")];
    let draft = Draft::new(Machine::Aarch64, version, &parts).expect("three parts");
    let slot = draft.sign(|bytes| key().sign(bytes).to_bytes());
    vec![[vec![0], slot.clone()].concat(), [vec![1], slot].concat()]
}

/// A payload, in pieces whose length the first byte gives. What comes out has no gaps, is no more than was claimed, and
/// goes back into a payload from which the same comes out.
pub(super) fn payload(bytes: &[u8]) {
    const ROOM: u64 = 1 << 20;
    let Some((step, bytes)) = bytes.split_first() else { return };
    let unpack = |payload: &[u8], step: usize| {
        let mut decoder = Decoder::new(ROOM);
        let mut slot = Vec::new();
        for piece in payload.chunks(step) {
            let mut input = piece;
            loop {
                let before = input.len();
                let piece = decoder.step(&mut input).ok()?;
                assert_eq!(piece.offset, slot.len() as u64);
                slot.extend_from_slice(piece.bytes);
                let idle = piece.bytes.is_empty() && input.len() == before;
                let claim = decoder.claim().map_or(0, |claim| claim.slot_bytes);
                assert!(slot.len() as u64 <= claim && claim <= ROOM);
                if idle {
                    break;
                }
            }
        }
        let claim = decoder.finish().ok()?;
        assert_eq!(claim.slot_bytes, slot.len() as u64);
        Some(slot)
    };
    let Some(slot) = unpack(bytes, usize::from(*step) + 1) else { return };
    let again = pack(&slot).expect("it has a header's block");
    assert!(unpack(&again, 1000) == Some(slot));
}

pub(super) fn payloads() -> Vec<Vec<u8>> {
    let slots = slots().into_iter().map(|slot| slot[1..].to_vec());
    slots.flat_map(|slot| [0, 99].map(|step| [vec![step], pack(&slot).expect("a slot")].concat())).collect()
}

/// The record alone, and in its table; what outlives a reset. What was read is written so that it is read again; a
/// record may have more than is known here.
pub(super) fn handoff(bytes: &[u8]) {
    if let Ok(record) = Handoff::parse(bytes) {
        assert_eq!(Handoff::parse(&record.emit()), Ok(record));
        assert!(!record.to_string().is_empty());
    }
    if let Ok(record) = acpi::parse(bytes) {
        assert_eq!(acpi::parse(&acpi::table(&record)), Ok(record));
    }
    let page: Vec<AtomicU32> =
        bytes.as_chunks().0.iter().map(|word| AtomicU32::new(u32::from_le_bytes(*word))).collect();
    let before: Vec<u32> = page.iter().map(|word| word.load(Ordering::Relaxed)).collect();
    if let Some(kept) = Kept::read(&page) {
        kept.write(&page);
        assert!(page.iter().map(|word| word.load(Ordering::Relaxed)).eq(before));
    }
    if let Some(order) = Order::take(&page) {
        assert_eq!(Order::take(&page), None, "it is taken away");
        Order::leave(&page, order.text());
        assert_eq!(Order::take(&page).as_ref().map(Order::text), Some(order.text()));
    }
}

pub(super) fn handoffs() -> Vec<Vec<u8>> {
    let guid = proto_gpt::Guid::from_bytes([5; 16]);
    let record = Handoff {
        slot: Slot::B,
        reason: Some(Reason::Refused),
        state: State::SPARE,
        table: TableState::PrimaryRepaired,
        refused: Some(Refused::Hash),
        watchdog: Watchdog::Itco { seconds: 30 },
        watchdog_fired: true,
        place: Place { disk: guid, partition: guid, block_bytes: 512, first_block: 2048, blocks: 98304 },
        version: Version::new("0.1.0").expect("a name"),
        sha256: [3; 32],
        log: Some(EventLog { at: 0x7f00_0000, bytes: 4000, final_events_at: 0, final_events_seen: 0 }),
        files: Some(Files { at: 0x7f10_0000, bytes: 9000 }),
        kept_at: Some(0x0fff_e000),
    };
    let page: Vec<AtomicU32> = (0..96).map(AtomicU32::new).collect();
    Kept { note: Note::Ordered, starts: 3 }.write(&page);
    Order::leave(&page, b"7 - it did not reach the controller");
    let page = page.iter().flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes()).collect();
    // One of another build, which is shorter, and one with more behind it.
    let of_length = |length: u16| {
        let mut bytes = record.emit().to_vec();
        bytes.resize(usize::from(length) - 4, 7);
        bytes[10..12].copy_from_slice(&length.to_le_bytes());
        let sum = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(&bytes);
        [bytes, sum.to_le_bytes().to_vec()].concat()
    };
    vec![record.emit().to_vec(), acpi::table(&record).to_vec(), page, of_length(192), of_length(300)]
}
