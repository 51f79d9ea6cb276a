//! The disk, over many lives: as service `disk`, which dom0 ends again and again.
//!
//! Each life finds on the partition `P3` what the last one has flushed, leaves something of its own, and
//! then keeps the disk busy until it is ended in the middle of something:
//!
//! | bytes of the partition | what |
//! |---|---|
//! | 0 – 511 | the number of the last life that has flushed its pattern |
//! | 128 KiB – 384 KiB | patterns of the last two lives, by their number's last bit |
//! | 512 KiB – | written and read back without end |

use alloc::{format, string::String, vec, vec::Vec};
use core::time::Duration;

use board_support_drv::block::{BlockDevice, MAX_TRANSFER};
use proto_gpt::{
    copy::{CopyError, Geometry, Header, TableCopy, Which},
    table::Table,
};
use proto_manifest::wiring::Wiring;
use stubdoms_service::disk::{Disk, FoundDisk};

use crate::tally::{ensure, same};

/// How long any step may take; a machine that is busy is slow.
const WITHIN: Duration = Duration::from_secs(10);

/// What the first block begins with once it was written.
const MAGIC: u64 = 0x5361_7273_656e_6469;

/// Bytes of the partition ahead of the patterns, and of what is written without end.
const PATTERNS: usize = MAX_TRANSFER;
const LOAD: usize = 4 * MAX_TRANSFER;

/// Rounds of the load after which a line tells how far it is.
const ROUNDS: u32 = 8;

/// Runs until the domain is ended.
pub(crate) async fn run(wiring: &Wiring) {
    if let Err(why) = live(wiring).await {
        log::error!("FAIL disk: {why}");
    }
}

async fn live(wiring: &Wiring) -> Result<(), String> {
    let found = FoundDisk::find(wiring).map_err(|error| format!("{error}"))?;
    let mut disk = found.bring_up(WITHIN).await.map_err(|(error, _)| format!("{error}"))?;
    let (identity, geometry) = (disk.identity().clone(), disk.geometry());
    let (model, serial) = (identity.model, identity.serial);
    let bytes = geometry.block_size.bytes();
    let mut persist = Partition::find(&mut disk).await?;
    let mut head = vec![0; bytes];
    persist.read(&mut disk, 0, &mut head).await?;
    let number = |at: usize| u64::from_le_bytes(head[at..][..8].try_into().expect("eight bytes"));
    let last = if number(0) == MAGIC { number(8) } else { 0 };
    let mut area = vec![0; MAX_TRANSFER];
    if last > 0 {
        persist.read(&mut disk, place(last), &mut area).await?;
        ensure!(area == pattern(last), "what life {last} has flushed is not there");
    }
    let life = last + 1;
    persist.write(&mut disk, place(life), &pattern(life)).await?;
    persist.flush(&mut disk).await?;
    head[..8].copy_from_slice(&MAGIC.to_le_bytes());
    head[8..16].copy_from_slice(&life.to_le_bytes());
    persist.write(&mut disk, 0, &head).await?;
    persist.flush(&mut disk).await?;
    log::info!("disk: life {life}: {model}, serial {serial}, {} blocks of {bytes}", geometry.blocks);
    stubdoms_service::ready();
    persist.keep_busy(&mut disk, life).await
}

/// Where the pattern of a life is.
fn place(life: u64) -> usize {
    PATTERNS * (1 + (life % 2) as usize)
}

fn pattern(seed: u64) -> Vec<u8> {
    (0..MAX_TRANSFER as u64)
        .map(|at| ((at >> 9) ^ at.wrapping_mul(31) ^ seed.wrapping_mul(0x9d)) as u8)
        .collect()
}

/// The partition `persist`.
struct Partition {
    first: u64,
    block: usize,
}

impl Partition {
    async fn find(disk: &mut Disk) -> Result<Self, String> {
        let geometry = disk.geometry();
        let block = geometry.block_size.bytes();
        let shape = Geometry { block_bytes: block as u32, last_block: geometry.blocks - 1 };
        let mut head = vec![0; block];
        disk.read(1, &mut head, WITHIN).await.map_err(|error| format!("block 1: {error}"))?;
        let header = Header::parse(Which::Primary, &head, 1, shape).map_err(|error| format!("{error}"))?;
        let mut entries = vec![0; header.entries_bytes().next_multiple_of(block)];
        let at = header.entries_block();
        disk.read(at, &mut entries, WITHIN).await.map_err(|error| format!("block {at}: {error}"))?;
        let copy = TableCopy::parse(header, &entries);
        let joined = Table::join(shape, copy, Err(CopyError::Unreadable));
        let joined = joined.map_err(|error| format!("{error}"))?;
        let persist = joined.table().partitions().find(|partition| partition.is_named("P3"));
        let persist = persist.ok_or("there is no partition `P3`")?;
        let bytes = persist.blocks() * block as u64;
        ensure!(bytes > (LOAD + 64 * MAX_TRANSFER) as u64, "the partition has {bytes} bytes");
        Ok(Self { first: persist.first_block(), block })
    }

    fn at(&self, offset: usize) -> u64 {
        self.first + (offset / self.block) as u64
    }

    async fn read(&mut self, disk: &mut Disk, offset: usize, into: &mut [u8]) -> Result<(), String> {
        disk.read(self.at(offset), into, WITHIN).await.map_err(|error| format!("read at {offset}: {error}"))
    }

    async fn write(&mut self, disk: &mut Disk, offset: usize, from: &[u8]) -> Result<(), String> {
        disk.write(self.at(offset), from, WITHIN).await.map_err(|error| format!("write at {offset}: {error}"))
    }

    async fn flush(&mut self, disk: &mut Disk) -> Result<(), String> {
        disk.flush(WITHIN).await.map_err(|error| format!("flush: {error}"))
    }

    /// Writes and reads back, with lengths from one block to the largest.
    async fn keep_busy(&mut self, disk: &mut Disk, life: u64) -> Result<(), String> {
        let mut into = vec![0; MAX_TRANSFER];
        for round in 0_u32.. {
            let length = (MAX_TRANSFER >> (round % 9)).max(self.block);
            let offset = LOAD + (round as usize % 64) * MAX_TRANSFER;
            let bytes = &pattern(life ^ u64::from(round))[..length];
            self.write(disk, offset, bytes).await?;
            if round % 4 == 0 {
                self.flush(disk).await?;
            }
            let into = &mut into[..length];
            self.read(disk, offset, into).await?;
            ensure!(into == bytes, "round {round}: {length} bytes at {offset} are not what was written");
            let counts = disk.counts();
            same!(counts.resets, 0, "resets");
            if round == ROUNDS {
                let (commands, late) = (counts.commands, counts.late);
                log::info!("disk: life {life}: busy, {commands} commands, {late} without interrupt");
            }
        }
        Ok(())
    }
}
