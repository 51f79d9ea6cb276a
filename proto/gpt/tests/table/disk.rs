//! A disk in memory whose table another implementation made, and the shell around the table.

use std::collections::BTreeMap;
use std::io::Cursor;

use gpt::partition::Partition as Entry;
use gpt::partition_types::{OperatingSystem, Type};
use proto_gpt::copy::{CopyError, Geometry, Header, PRIMARY_BLOCK, TableCopy, Which, backup_block};
use proto_gpt::slots::{Slot, Slots, State};
use proto_gpt::table::{Joined, NoTable, Step, Table};
use uuid::Uuid;

pub(crate) const BLOCK: usize = 512;
/// Blocks of the disk: as few as hold the table twice and three partitions.
const BLOCKS: usize = 128;

/// The first block of the second copy: its entries.
pub(crate) const BACKUP_ENTRIES: usize = BLOCKS - 33;
/// The block of the second copy's header.
pub(crate) const BACKUP_HEADER: usize = BLOCKS - 1;

/// A disk.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Disk(pub(crate) Vec<u8>);

/// A write or the like that a disk gets: one block.
pub(crate) type BlockWrite = (usize, [u8; BLOCK]);

impl Disk {
    /// Made by the crate `gpt`, which shares nothing with ours, and which the host tool writes images with.
    pub(crate) fn new(a: State, b: State) -> Self {
        let slot = Uuid::from_u128(0x6a1c_5f0e_93b2_4f57_9d41_2e77_c0a8_51d3);
        let esp = gpt::partition_types::EFI.guid;
        let entry = |number: u128, guid, first, last, flags, name: &str| Entry {
            part_type_guid: Type { guid, os: OperatingSystem::None },
            part_guid: Uuid::from_u128(number),
            first_lba: first,
            last_lba: last,
            flags,
            name: name.into(),
        };
        let entries = BTreeMap::from([
            (1, entry(1, esp, 34, 47, 4, "esp")),
            (2, entry(2, slot, 48, 63, a.put(0), "slot-a")),
            (3, entry(3, slot, 64, 94, b.put(0), "slot-b")),
        ]);
        let mut bytes = vec![0; BLOCKS * BLOCK];
        let config = gpt::GptConfig::new().writable(true);
        let mut table =
            config.create_from_device(Cursor::new(&mut bytes), Some(Uuid::from_u128(7))).expect("a table");
        table.update_partitions(entries).expect("partitions");
        table.write().expect("a write to memory");
        Self(bytes)
    }

    pub(crate) fn geometry() -> Geometry {
        Geometry { block_bytes: BLOCK as u32, last_block: BLOCKS as u64 - 1 }
    }

    fn blocks(&self, block: u64, bytes: usize) -> &[u8] {
        let start = usize::try_from(block).unwrap() * BLOCK;
        &self.0[start..start + bytes]
    }

    fn copy(&self, which: Which, block: u64) -> Result<TableCopy<'_>, CopyError> {
        let header = self.header(which, block)?;
        TableCopy::parse(header, self.blocks(header.entries_block(), header.entries_bytes()))
    }

    fn header(&self, which: Which, block: u64) -> Result<Header, CopyError> {
        Header::parse(which, self.blocks(block, BLOCK), block, Self::geometry())
    }

    /// Reads the table as a shell would.
    pub(crate) fn joined(&self) -> Result<Joined, NoTable> {
        let at = backup_block(self.header(Which::Primary, PRIMARY_BLOCK).as_ref(), Self::geometry());
        Table::join(Self::geometry(), self.copy(Which::Primary, PRIMARY_BLOCK), self.copy(Which::Backup, at))
    }

    /// The table, after whatever repair is due.
    pub(crate) fn repaired(&mut self) -> Table {
        let joined = self.joined().expect("one copy is right");
        let writes = self.writes(joined.repair());
        writes.iter().flatten().for_each(|write| self.put(write));
        joined.repaired()
    }

    /// What steps change, by block: the groups between which flushes stand.
    pub(crate) fn writes<'a>(&self, steps: impl Iterator<Item = Step<'a>>) -> Vec<Vec<BlockWrite>> {
        let mut groups = vec![Vec::new()];
        for step in steps {
            match step {
                Step::Flush => groups.push(Vec::new()),
                Step::Write { block, bytes } => {
                    for (index, part) in bytes.as_ref().chunks(BLOCK).enumerate() {
                        let mut whole = [0; BLOCK];
                        whole[..part.len()].copy_from_slice(part);
                        let block = usize::try_from(block).unwrap() + index;
                        if self.0[block * BLOCK..][..BLOCK] != whole {
                            groups.last_mut().unwrap().push((block, whole));
                        }
                    }
                }
            }
        }
        groups
    }

    pub(crate) fn put(&mut self, (block, bytes): &BlockWrite) {
        self.0[block * BLOCK..][..BLOCK].copy_from_slice(bytes);
    }

    /// Every state in which a cut of the power can leave the disk while the writes are made: all groups
    /// before one, any of the blocks of that one, and one of those half-written or spoilt.
    pub(crate) fn cuts(&self, groups: &[Vec<BlockWrite>]) -> Vec<Self> {
        let mut states = vec![self.clone()];
        let mut whole = self.clone();
        for group in groups {
            assert!(group.len() < 8, "a change is of few blocks");
            for subset in 0..1u32 << group.len() {
                let written = |index: &usize| subset & 1 << index != 0;
                let mut state = whole.clone();
                (0..group.len()).filter(written).for_each(|index| state.put(&group[index]));
                for (block, bytes) in (0..group.len()).filter(written).map(|index| &group[index]) {
                    for torn in [8, 92, 180] {
                        let mut torn_state = state.clone();
                        let place = block * BLOCK;
                        torn_state.0[place + torn..place + BLOCK]
                            .copy_from_slice(&whole.0[place + torn..place + BLOCK]);
                        states.push(torn_state.clone());
                        torn_state.0[place..place + BLOCK].copy_from_slice(bytes);
                        torn_state.0[place + torn] ^= 0x5a;
                        states.push(torn_state);
                    }
                }
                states.push(state);
            }
            group.iter().for_each(|write| whole.put(write));
        }
        states
    }
}

/// The states of both slots.
pub(crate) fn states(slots: &Slots) -> [State; 2] {
    Slot::ALL.map(|slot| slots.state(slot))
}
