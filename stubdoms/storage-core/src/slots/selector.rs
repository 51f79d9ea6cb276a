//! The selector's partitions: read, and replaced by what came with a slot.
//!
//! `proto/update` has the order of a replacement; here it is carried out. What is written is the very buffer that was
//! read with its slot and found to be what was signed. Which selectors are known, so that one of them may stand in the
//! other partition, says the same: that of this slot, or that of the other one.

use alloc::{vec, vec::Vec};

use board_support_drv::block::BlockDevice;
use proto_gpt::partition::ESP;
use proto_gpt::table::Table;
use proto_handoff::record::Version;
use proto_svc::storage::Selector;
use proto_update::selector::{Doubt, Known, MAX_BYTES, ReplaceError, Replacement, Step, Whose};
use sha2::{Digest, Sha256};

use super::SlotsError;
use super::check::{Taker, Trust, verify_with_selector};
use crate::disk::{Disk, DiskError, Epoch, Window};

/// Bytes that are read at once.
const CHUNK: usize = 64 * 1024;

/// A selector that was asked for is where it belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replaced {
    /// The SHA-256 of what the partition began with before.
    pub before: [u8; 32],
    /// That of what it begins with now.
    pub now: [u8; 32],
    /// Whether anything was written.
    pub is_written: bool,
}

/// The two partitions of selectors, in the order of the table. There is no other way to write to them than
/// [`replace`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Esps {
    first: Window,
    second: Window,
}

/// Finds them: exactly two.
pub(super) fn esps(table: &Table) -> Result<Esps, SlotsError> {
    let mut found = table.partitions().filter(|partition| partition.kind() == ESP);
    match (found.next(), found.next(), found.count()) {
        (Some(first), Some(second), 0) => Ok(Esps { first: Window::of(&first), second: Window::of(&second) }),
        (first, second, more) => Err(SlotsError::Esps {
            have: usize::from(first.is_some()) + usize::from(second.is_some()) + more,
        }),
    }
}

/// Which of them may not be on the disk as they are read: both, until in this life they were written and flushed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Doubts {
    first: bool,
    second: bool,
}

impl Doubts {
    pub(super) const BOTH: Self = Self { first: true, second: true };

    /// That of one of them, as the target of a replacement or beside it.
    const fn of(&mut self, which: Selector, whose: Whose) -> &mut bool {
        match (which, whose) {
            (Selector::First, Whose::Target) | (Selector::Second | Selector::SecondBack, Whose::Other) => {
                &mut self.first
            }
            (Selector::First, Whose::Other) | (Selector::Second | Selector::SecondBack, Whose::Target) => {
                &mut self.second
            }
        }
    }
}

impl Taker for Vec<u8> {
    fn take(&mut self, bytes: &[u8]) {
        // There is room for all of it: see `room`.
        self.extend_from_slice(bytes);
    }
}

impl Taker for Sha256 {
    fn take(&mut self, bytes: &[u8]) {
        self.update(bytes);
    }
}

/// The selector in a slot, and the slot's version.
pub(super) async fn image<D: BlockDevice>(
    disk: &Disk<D>,
    slot: Window,
    trust: &Trust,
) -> Result<(Version, Vec<u8>), SlotsError> {
    let (header, image) = verify_with_selector(disk, slot, trust, room).await?;
    Ok((header.version(), image))
}

/// Room for a selector of so many bytes.
fn room(bytes: u64) -> Result<Vec<u8>, SlotsError> {
    let too_many = SlotsError::SelectorBytes { bytes };
    let length = usize::try_from(bytes).ok().filter(|&length| length <= MAX_BYTES).ok_or(too_many)?;
    let mut image = Vec::new();
    image.try_reserve_exact(length).map_err(|_| too_many)?;
    Ok(image)
}

/// The selector in a slot as what may stand in the other partition; none if the slot is not right.
async fn known<D: BlockDevice>(
    disk: &Disk<D>,
    slot: Window,
    trust: &Trust,
) -> Result<Option<Known>, SlotsError> {
    let mut length = 0;
    let hash = |bytes| {
        length = bytes;
        Ok(Sha256::new())
    };
    match verify_with_selector(disk, slot, trust, hash).await {
        Ok((_, hash)) => {
            let blocks = length.div_ceil(disk.block_bytes() as u64);
            Ok(Some(Known { blocks, sha256: hash.finalize().into() }))
        }
        Err(why @ SlotsError::Disk(_)) => Err(why),
        Err(_) => Ok(None),
    }
}

/// Replaces one of the selectors by `image`. If the other one is another, it has to be that of the slot `beside`.
pub(super) async fn replace<D: BlockDevice>(
    disk: &Disk<D>,
    esps: &Esps,
    which: Selector,
    image: &[u8],
    (beside, trust): (Window, &Trust),
    doubts: &mut Doubts,
) -> Result<Replaced, SlotsError> {
    let (target, other) = match which {
        Selector::First => (esps.first, esps.second),
        Selector::Second | Selector::SecondBack => (esps.second, esps.first),
    };
    let blocks = (image.len() / disk.block_bytes()) as u64;
    let mut some = vec![Known { blocks, sha256: Sha256::digest(image).into() }];
    let mut carry_out = Carry { disk, target, other, image, which, doubts };
    let first = carry_out.run(&some).await;
    if first != Err(SlotsError::Replace(ReplaceError::OtherUnknown)) {
        return first;
    }
    // That takes as long as the verification of a slot, and is needed when the versions have different ones.
    some.extend(known(disk, beside, trust).await?);
    carry_out.run(&some).await
}

/// What a replacement is carried out with.
struct Carry<'a, D> {
    disk: &'a Disk<D>,
    target: Window,
    other: Window,
    image: &'a [u8],
    which: Selector,
    doubts: &'a mut Doubts,
}

impl<D: BlockDevice> Carry<'_, D> {
    const fn window(&self, whose: Whose) -> Window {
        match whose {
            Whose::Target => self.target,
            Whose::Other => self.other,
        }
    }

    const fn doubt(&mut self, whose: Whose) -> &mut bool {
        self.doubts.of(self.which, whose)
    }

    async fn run(&mut self, known: &[Known]) -> Result<Replaced, SlotsError> {
        let Self { disk, target, other, image, .. } = *self;
        let block_bytes = disk.block_bytes();
        let room = |window: Window| window.bytes(block_bytes) / block_bytes as u64;
        // One that is longer than the other partition is not what that begins with.
        let known: Vec<Known> = known.iter().filter(|known| known.blocks <= room(other)).copied().collect();
        let doubt = Doubt { target: *self.doubt(Whose::Target), other: *self.doubt(Whose::Other) };
        let begun = Replacement::new(image, block_bytes, room(target), &known, doubt);
        let mut replacement = begun.map_err(SlotsError::Replace)?;
        let mut replaced = Replaced { before: [0; 32], now: *replacement.sha256(), is_written: false };
        // What is written and not flushed yet is on its way as long as this lasts.
        let mut since: Option<Epoch> = None;
        // The first block of what was read last, and whose was written again.
        let (mut first, mut again) = (vec![0; block_bytes], None);
        while let Some(step) = replacement.step() {
            match step {
                Step::Read { whose, block, blocks } => {
                    let digest = digest(disk, self.window(whose), block, blocks, &mut first).await?;
                    if whose == Whose::Target && !replaced.is_written {
                        replaced.before = digest;
                    }
                    replacement.read(&digest).map_err(SlotsError::Replace)?;
                }
                Step::Again { whose } => {
                    since.get_or_insert(disk.epoch());
                    disk.write(self.window(whose), 0, &first).await?;
                    again = Some(whose);
                    replacement.done();
                }
                Step::Write { block, bytes } => {
                    *self.doubt(Whose::Target) = true;
                    replaced.is_written = true;
                    since.get_or_insert(disk.epoch());
                    let at = block.saturating_mul(block_bytes as u64);
                    match bytes {
                        Some(bytes) => disk.write(target, at, bytes).await?,
                        None => disk.write(target, at, &vec![0; block_bytes]).await?,
                    }
                    replacement.done();
                }
                Step::Flush => {
                    disk.flush(since.take().unwrap_or(disk.epoch())).await?;
                    if again.take() == Some(Whose::Other) {
                        *self.doubt(Whose::Other) = false;
                    }
                    replacement.done();
                }
            }
        }
        *self.doubt(Whose::Target) = false;
        Ok(replaced)
    }
}

/// The SHA-256 of blocks of a window, and the first of them.
async fn digest<D: BlockDevice>(
    disk: &Disk<D>,
    window: Window,
    block: u64,
    blocks: u64,
    first: &mut [u8],
) -> Result<[u8; 32], DiskError> {
    let block_bytes = disk.block_bytes() as u64;
    let mut hash = Sha256::new();
    let mut chunk = vec![0; CHUNK];
    let (mut at, mut left) = (block.saturating_mul(block_bytes), blocks.saturating_mul(block_bytes));
    let begin = at;
    while left > 0 {
        let some = left.min(CHUNK as u64);
        let into = chunk.get_mut(..some as usize).unwrap_or_default();
        disk.read(window, at, into).await?;
        if let (true, Some(block)) = (at == begin, into.get(..first.len())) {
            first.copy_from_slice(block);
        }
        hash.update(&*into);
        at += some;
        left -= some;
    }
    Ok(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_has_a_megabyte_at_most() {
        assert!(room(MAX_BYTES as u64).is_ok());
        for bytes in [MAX_BYTES as u64 + 1, 1 << 32, u64::MAX] {
            assert_eq!(room(bytes), Err(SlotsError::SelectorBytes { bytes }));
        }
    }
}
