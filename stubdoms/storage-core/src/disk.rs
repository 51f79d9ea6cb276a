//! The disk, seen through windows: each part of this domain reaches its own range of blocks and no other.
//!
//! What one part has written and not made durable yet, a call that fails for another one may lose: after a flush
//! that failed a later one says nothing of it. So the disk has an *epoch*, which ends with each call that fails or is
//! dropped, and a flush answers for an epoch ([`Disk::flush`]): it fails if what was written since is not all there.
//! A read that the disk refuses, as it does for blocks that have gone bad, ends none: it takes nothing that was written.
//! A read after which the disk is reset does, for what it had in its cache may be gone.

use core::cell::Cell;
use core::time::Duration;

use board_support_drv::block::{Blame, BlockDevice, Cause, Geometry, Identity, MAX_TRANSFER, Refusal};
use proto_gpt::partition::Partition;

use crate::turns::Turns;

pub use board_support_drv::block::Error as DiskError;

/// How long the disk has for one call. A rotating disk that has to spin up takes this long.
const WITHIN: Duration = Duration::from_secs(15);

/// A disk that is shared: each call of the driver is a turn.
#[derive(Debug)]
pub struct Disk<D> {
    device: Turns<D>,
    geometry: Geometry,
    identity: Identity,
    errors: Cell<u32>,
    epoch: Cell<u64>,
}

/// A time in which no call has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Epoch(u64);

/// A call under way: unless it ends well, so does the epoch end.
struct Call<'d> {
    epoch: &'d Cell<u64>,
    kind: Kind,
    harmless: bool,
}

/// What a call that the disk refuses has touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Nothing.
    Read,
    /// What was written.
    Change,
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if !self.harmless {
            self.epoch.set(self.epoch.get().saturating_add(1));
        }
    }
}

impl<D: BlockDevice> Disk<D> {
    /// Takes a disk that was brought up.
    pub fn new(device: D) -> Self {
        let (geometry, identity) = (device.geometry(), device.identity().clone());
        Self { device: Turns::new(device), geometry, identity, errors: Cell::new(0), epoch: Cell::new(0) }
    }

    /// Which disk it is.
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// How large it is.
    pub const fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// How many calls failed.
    pub fn errors(&self) -> u32 {
        self.errors.get()
    }

    /// Bytes of a block.
    pub(crate) const fn block_bytes(&self) -> usize {
        self.geometry.block_size.bytes()
    }

    /// The whole disk.
    pub(crate) const fn whole(&self) -> Window {
        Window { first: 0, blocks: self.geometry.blocks }
    }

    /// Reads what begins at byte `at` of a window; whole blocks.
    ///
    /// A disk that lost itself is brought up again by the next call, so a read has two tries.
    pub(crate) async fn read(&self, window: Window, at: u64, into: &mut [u8]) -> Result<(), DiskError> {
        let mut block = window.block(at, into.len(), self.block_bytes())?;
        for part in into.chunks_mut(MAX_TRANSFER) {
            let mut device = self.device.turn().await;
            let mut result = self.ended(self.begin(Kind::Read), device.read(block, part, WITHIN).await);
            if result.is_err_and(|error| error.blame() == Blame::Disk) {
                result = self.ended(self.begin(Kind::Read), device.read(block, part, WITHIN).await);
            }
            result?;
            block += (part.len() / self.block_bytes()) as u64;
        }
        Ok(())
    }

    /// Writes from byte `at` of a window on; whole blocks.
    pub(crate) async fn write(&self, window: Window, at: u64, from: &[u8]) -> Result<(), DiskError> {
        let mut block = window.block(at, from.len(), self.block_bytes())?;
        for part in from.chunks(MAX_TRANSFER) {
            let mut device = self.device.turn().await;
            self.ended(self.begin(Kind::Change), device.write(block, part, WITHIN).await)?;
            block += (part.len() / self.block_bytes()) as u64;
        }
        Ok(())
    }

    /// The epoch that it is in.
    pub(crate) const fn epoch(&self) -> Epoch {
        Epoch(self.epoch.get())
    }

    /// Makes durable what the caller has written since this epoch began. After an error that is in doubt, and has to
    /// be written again: another flush says nothing of it.
    pub(crate) async fn flush(&self, since: Epoch) -> Result<(), DiskError> {
        let mut device = self.device.turn().await;
        self.ended(self.begin(Kind::Change), device.flush(WITHIN).await)?;
        if self.epoch() == since { Ok(()) } else { Err(DiskError::InDoubt) }
    }

    const fn begin(&self, kind: Kind) -> Call<'_> {
        Call { epoch: &self.epoch, kind, harmless: false }
    }

    fn ended(&self, mut call: Call<'_>, result: Result<(), DiskError>) -> Result<(), DiskError> {
        call.harmless = match result {
            Ok(()) => true,
            // So does a disk say that is being reset, or loses its power.
            Err(DiskError::Refused(Refusal { cause: Cause::Aborted, .. })) => false,
            Err(why) => match why.blame() {
                // What the disk was not even asked for it has not failed at.
                Blame::Caller => true,
                Blame::Blocks => call.kind == Kind::Read,
                Blame::Disk => false,
            },
        };
        if result.is_err() {
            self.count();
        }
        result
    }

    fn count(&self) {
        self.errors.set(self.errors.get().saturating_add(1));
    }
}

/// A range of the disk. Offsets count from its start, and none leads out of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    first: u64,
    blocks: u64,
}

impl Window {
    /// A partition.
    pub(crate) const fn of(partition: &Partition) -> Self {
        Self { first: partition.first_block(), blocks: partition.blocks() }
    }

    /// How many bytes it has.
    pub(crate) const fn bytes(self, block_bytes: usize) -> u64 {
        self.blocks.saturating_mul(block_bytes as u64)
    }

    /// The block of the disk in which a run of `length` bytes begins.
    fn block(self, at: u64, length: usize, block_bytes: usize) -> Result<u64, DiskError> {
        if !at.is_multiple_of(block_bytes as u64) || !length.is_multiple_of(block_bytes) {
            return Err(DiskError::Misaligned { bytes: length, block: block_bytes });
        }
        let (offset, count) = (at / block_bytes as u64, (length / block_bytes) as u64);
        let outside = DiskError::OutOfRange { first: offset, blocks: count as u32, have: self.blocks };
        match offset.checked_add(count) {
            Some(end) if end <= self.blocks => self.first.checked_add(offset).ok_or(outside),
            _ => Err(outside),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_offset_leads_out_of_a_window() {
        let window = Window { first: 100, blocks: 10 };
        assert_eq!(window.block(0, 5120, 512), Ok(100));
        assert_eq!(window.block(4608, 512, 512), Ok(109));
        assert_eq!(window.bytes(512), 5120);
        for (at, length) in
            [(0, 5632), (5120, 512), (4608, 1024), (u64::MAX - 511, 512), (u64::MAX - 511, 1024)]
        {
            assert!(
                matches!(window.block(at, length, 512), Err(DiskError::OutOfRange { .. })),
                "{at} {length}"
            );
        }
        for (at, length) in [(1, 512), (0, 1), (511, 512), (512, 513), (u64::MAX, 512)] {
            assert!(
                matches!(window.block(at, length, 512), Err(DiskError::Misaligned { .. })),
                "{at} {length}"
            );
        }
    }
}
