//! Reading back of a slot, and checking: as the selector does it before it starts one.

use alloc::vec;

use board_support_drv::block::BlockDevice;
use ed25519_dalek::VerifyingKey;
use proto_update::manifest::{ALIGN, HEADER_BYTES, Header, Machine, Trusted};

use super::{SlotsError, other::OtherSlot};
use crate::disk::{Disk, DiskError, Window};

/// Bytes that are read at once.
const CHUNK: usize = 64 * 1024;

/// Whose slots are taken, and for which machine.
#[derive(Clone, Debug)]
pub struct Trust {
    /// The key that slots are signed with; none, and no slot is trusted.
    pub key: Option<VerifyingKey>,
    /// The machine.
    pub machine: Machine,
}

/// The header of a slot, if it is signed. Of its contents that says nothing.
pub(super) async fn header<D: BlockDevice>(
    disk: &Disk<D>,
    window: Window,
    trust: &Trust,
) -> Result<Trusted, SlotsError> {
    let mut bytes = [0; ALIGN];
    disk.read(window, 0, &mut bytes).await?;
    trusted(&bytes, window.bytes(disk.block_bytes()), trust)
}

fn trusted(bytes: &[u8], room: u64, trust: &Trust) -> Result<Trusted, SlotsError> {
    let bytes = bytes.get(..HEADER_BYTES).unwrap_or_default();
    let header = Header::parse(bytes, room).map_err(SlotsError::Slot)?;
    header.verify(trust.key.as_slice(), trust.machine).map_err(SlotsError::Slot)
}

/// Reads the slot that does not run from the disk, and checks header, signature, machine and contents.
pub(super) async fn verify<D: BlockDevice>(
    disk: &Disk<D>,
    slot: OtherSlot,
    trust: &Trust,
) -> Result<Trusted, SlotsError> {
    let mut head = [0; ALIGN];
    slot.read(disk, 0, &mut head).await?;
    let header = trusted(&head, slot.room(disk), trust)?;
    let mut check = header.check();
    let mut chunk = vec![0; CHUNK];
    let (mut at, mut left) = (ALIGN as u64, header.length());
    while left > 0 {
        let some = left.min(CHUNK as u64) as usize;
        let whole = some.next_multiple_of(disk.block_bytes());
        let into = chunk.get_mut(..whole).unwrap_or_default();
        slot.read(disk, at, into).await?;
        check.take(into.get(..some).unwrap_or_default());
        at += some as u64;
        left -= some as u64;
    }
    check.end().map_err(SlotsError::Slot)?;
    Ok(header)
}

impl From<DiskError> for SlotsError {
    fn from(why: DiskError) -> Self {
        Self::Disk(why)
    }
}
