//! Filling of the slot that does not run.
//!
//! The pieces come in order. Header and signature, which come first, are held back and written last: until then
//! the slot begins with zeros, and whatever is behind them is nothing that starts.

use alloc::{boxed::Box, vec::Vec};

use board_support_drv::block::BlockDevice;
use proto_update::manifest::ALIGN;

use super::{SlotsError, other::OtherSlot};
use crate::disk::{Disk, DiskError, Epoch};

/// Bytes that are written at once.
const CHUNK: usize = 64 * 1024;

/// A slot that is being filled.
#[derive(Debug)]
pub(super) struct Fill {
    into: OtherSlot,
    length: u64,
    next: u64,
    head: Vec<u8>,
    chunk: Vec<u8>,
    /// What was written is on its way to the disk as long as this lasts.
    since: Epoch,
}

impl Fill {
    /// Wipes the header of what was there: after this there is nothing in the slot. Its state must say so, too,
    /// before this is called.
    pub(super) async fn begin<D: BlockDevice>(
        disk: &Disk<D>,
        into: OtherSlot,
        length: u64,
    ) -> Result<Box<Self>, DiskError> {
        let since = disk.epoch();
        into.write(disk, 0, &[0; ALIGN]).await?;
        disk.flush(since).await?;
        let (head, chunk) = (Vec::with_capacity(ALIGN), Vec::with_capacity(CHUNK));
        Ok(Box::new(Self { into, length, next: 0, head, chunk, since }))
    }

    /// Where the next piece begins, and where the last one ends.
    pub(super) const fn progress(&self) -> (u64, u64) {
        (self.next, self.length)
    }

    /// Takes the next piece. `true` when it was the last one and all is durable.
    pub(super) async fn write<D: BlockDevice>(
        &mut self,
        disk: &Disk<D>,
        offset: u64,
        mut bytes: &[u8],
    ) -> Result<bool, SlotsError> {
        let end = offset.checked_add(bytes.len() as u64).filter(|end| *end <= self.length);
        if offset != self.next || bytes.is_empty() || end.is_none() {
            return Err(SlotsError::Piece { offset, expected: self.next, length: self.length });
        }
        while !bytes.is_empty() {
            let (place, room) = match self.head.len() {
                ALIGN => (&mut self.chunk, CHUNK),
                _ => (&mut self.head, ALIGN),
            };
            let (some, rest) = bytes.split_at(bytes.len().min(room - place.len()));
            place.extend_from_slice(some);
            self.next += some.len() as u64;
            bytes = rest;
            if self.chunk.len() == CHUNK {
                self.write_chunk(disk).await?;
            }
        }
        if self.next < self.length {
            return Ok(false);
        }
        self.write_chunk(disk).await?;
        disk.flush(self.since).await?;
        self.head.resize(ALIGN, 0);
        self.into.write(disk, 0, &self.head).await?;
        disk.flush(self.since).await?;
        Ok(true)
    }

    async fn write_chunk<D: BlockDevice>(&mut self, disk: &Disk<D>) -> Result<(), DiskError> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        if disk.epoch() != self.since {
            // Of what was written before something may be gone.
            return Err(DiskError::InDoubt);
        }
        // Where the chunk begins: all that came and is not in it was written.
        let at = self.next - self.chunk.len() as u64;
        // The rest of the last block is zero.
        self.chunk.resize(self.chunk.len().next_multiple_of(disk.block_bytes()), 0);
        self.into.write(disk, at, &self.chunk).await?;
        self.chunk.clear();
        Ok(())
    }
}
