//! Tables that the crate `gpt` wrote are read, and what we write it reads.

use std::io::Cursor;

use crate::disk::Disk;
use proto_gpt::copy::{CopyError, Geometry, Header, Which};
use proto_gpt::slots::{Slot, Slots, State};
use proto_gpt::table::Condition;

#[test]
fn its_partitions_are_found() {
    let disk = Disk::new(State::ACTIVE, State::UPDATING);
    let joined = disk.joined().unwrap();
    assert_eq!(joined.condition(), Condition::Sound);
    assert_eq!(joined.repair().count(), 0);
    let table = joined.repaired();
    let names: Vec<String> = table.partitions().map(|partition| partition.to_string()).collect();
    assert_eq!(names, ["esp", "slot-a", "slot-b"]);
    let slots = Slots::find(&table).unwrap();
    assert_eq!([slots.state(Slot::A), slots.state(Slot::B)], [State::ACTIVE, State::UPDATING]);
    let partition = slots.partition(Slot::B).unwrap();
    assert_eq!((partition.first_block(), partition.blocks()), (64, 31));
    assert_eq!(partition.guid().to_string(), "00000000-0000-0000-0000-000000000003");
    assert_eq!(table.disk_guid().to_string(), "00000000-0000-0000-0000-000000000007");
}

#[test]
fn it_reads_what_we_write() {
    let mut disk = Disk::new(State::ACTIVE, State::UPDATING);
    let mut table = disk.repaired();
    let mut slots = Slots::find(&table).unwrap();
    slots.take_try(Slot::B);
    assert!(slots.put(&mut table));
    let writes = disk.writes(table.store());
    writes.iter().flatten().for_each(|write| disk.put(write));
    let theirs = gpt::GptConfig::new().open_from_device(Cursor::new(disk.0)).unwrap();
    let flags: Vec<u64> = theirs.partitions().values().map(|partition| partition.flags).collect();
    assert_eq!(flags, [4, 0x102 << 48, 0x003 << 48]);
    let (first, second) = (theirs.primary_header().unwrap(), theirs.backup_header().unwrap());
    assert_eq!(first.crc32_parts, second.crc32_parts);
}

#[test]
fn an_image_on_a_larger_disk_keeps_its_second_copy_where_it_is() {
    let small = Disk::new(State::ACTIVE, State::SPARE);
    let larger = Geometry { last_block: 1 << 30, ..Disk::geometry() };
    let header = Header::parse(Which::Primary, &small.0[512..1024], 1, larger).unwrap();
    assert_eq!(header.alternate_block(), 127);
    let smaller = Geometry { last_block: 126, ..Disk::geometry() };
    assert_eq!(Header::parse(Which::Primary, &small.0[512..1024], 1, smaller), Err(CopyError::Ranges));
}

#[test]
fn headers_that_nobody_writes_are_refused_at_every_length() {
    let disk = Disk::new(State::ACTIVE, State::SPARE);
    for length in 0..92 {
        let header = Header::parse(Which::Primary, &disk.0[512..512 + length], 1, Disk::geometry());
        assert_eq!(header, Err(CopyError::Truncated { need: 92, have: length }));
    }
    let other = Header::parse(Which::Primary, &disk.0[512..1024], 2, Disk::geometry());
    assert_eq!(other, Err(CopyError::Elsewhere { block: 1 }));
    assert!(Header::parse(Which::Backup, &disk.0[512..1024], 1, Disk::geometry()).is_err());
    assert_eq!(Header::parse(Which::Primary, &[0; 512], 1, Disk::geometry()), Err(CopyError::Signature));
}
