//! Reading back of a slot, and checking: as the selector does it before it starts one.

use alloc::{vec, vec::Vec};
use core::ops::Range;

use board_support_drv::block::BlockDevice;
use ed25519_dalek::VerifyingKey;
use proto_update::manifest::{ALIGN, HEADER_BYTES, Header, Kind, Machine, Trusted};

use super::SlotsError;
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

/// Reads a slot from the disk, and checks header, signature, machine and contents.
pub(super) async fn verify<D: BlockDevice>(
    disk: &Disk<D>,
    slot: Window,
    trust: &Trust,
) -> Result<Trusted, SlotsError> {
    let header = header(disk, slot, trust).await?;
    contents(disk, slot, &header, |_, _| {}).await?;
    Ok(header)
}

/// The same, and the selector, for whose bytes `room` makes room. It is what was signed only if this says so.
pub(super) async fn verify_with_selector<D: BlockDevice>(
    disk: &Disk<D>,
    slot: Window,
    trust: &Trust,
    room: impl FnOnce(u64) -> Result<Vec<u8>, SlotsError>,
) -> Result<(Trusted, Vec<u8>), SlotsError> {
    let header = header(disk, slot, trust).await?;
    let place = header.place(Kind::Selector).ok_or(SlotsError::NoSelector)?;
    let mut selector = room(place.end.saturating_sub(place.start))?;
    contents(disk, slot, &header, |at, bytes| selector.extend_from_slice(within(&place, at, bytes))).await?;
    Ok((header, selector))
}

/// Those of the bytes at `at` that are in the place.
fn within<'b>(place: &Range<u64>, at: u64, bytes: &'b [u8]) -> &'b [u8] {
    let index = |of: u64| usize::try_from(of.saturating_sub(at)).unwrap_or(usize::MAX).min(bytes.len());
    bytes.get(index(place.start)..index(place.end)).unwrap_or_default()
}

/// Reads the contents, gives them to `take` with their offsets, and checks them.
async fn contents<D: BlockDevice>(
    disk: &Disk<D>,
    slot: Window,
    header: &Trusted,
    mut take: impl FnMut(u64, &[u8]),
) -> Result<(), SlotsError> {
    let mut check = header.check();
    let mut chunk = vec![0; CHUNK];
    let (mut at, mut left) = (0, header.length());
    while left > 0 {
        let some = left.min(CHUNK as u64) as usize;
        let whole = some.next_multiple_of(disk.block_bytes());
        let into = chunk.get_mut(..whole).unwrap_or_default();
        disk.read(slot, ALIGN as u64 + at, into).await?;
        let bytes = into.get(..some).unwrap_or_default();
        check.take(bytes);
        take(at, bytes);
        at += some as u64;
        left -= some as u64;
    }
    check.end().map_err(SlotsError::Slot)
}

impl From<DiskError> for SlotsError {
    fn from(why: DiskError) -> Self {
        Self::Disk(why)
    }
}
