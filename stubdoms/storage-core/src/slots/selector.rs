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
use proto_update::selector::{Doubt, MAX_BYTES, ReplaceError, Replacement, Step, Whose};
use sha2::{Digest, Sha256};

use super::SlotsError;
use super::check::{Trust, verify_with_selector};
use crate::disk::{Disk, Epoch, Window};

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
    let mut carry_out = Carry { disk, target, other, image, which, doubts };
    let first = carry_out.run(&[image]).await;
    if first != Err(SlotsError::Replace(ReplaceError::OtherUnknown)) {
        return first;
    }
    // That takes as long as the verification of a slot, and is needed when the versions have different ones. A slot that
    // is not right vouches for none.
    match self::image(disk, beside, trust).await {
        Ok((_, other)) => carry_out.run(&[image, &other]).await,
        Err(why @ SlotsError::Disk(_)) => Err(why),
        Err(_) => first,
    }
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

    async fn run(&mut self, known: &[&[u8]]) -> Result<Replaced, SlotsError> {
        let Self { disk, target, other, image, .. } = *self;
        let block_bytes = disk.block_bytes();
        // One that is longer than the other partition is not what that begins with, and what is empty is none.
        let fits = |known: &&[u8]| !known.is_empty() && known.len() as u64 <= other.bytes(block_bytes);
        let known: Vec<&[u8]> = known.iter().copied().filter(fits).collect();
        let doubt = Doubt { target: *self.doubt(Whose::Target), other: *self.doubt(Whose::Other) };
        let room = target.bytes(block_bytes) / block_bytes as u64;
        let begun = Replacement::new(image, block_bytes, room, &known, doubt);
        let mut replacement = begun.map_err(SlotsError::Replace)?;
        let now = Sha256::digest(image).into();
        let mut replaced = Replaced { before: now, now, is_written: false };
        // What is written and not flushed yet is on its way as long as this lasts.
        let mut since: Option<Epoch> = None;
        // The first block of what was read last, and whose was written again.
        let (mut first, mut again) = (vec![0; block_bytes], None);
        while let Some(step) = replacement.step() {
            match step {
                Step::Read { whose, block, blocks } => {
                    let digest = self.read(&mut replacement, whose, (block, blocks), &mut first).await?;
                    if whose == Whose::Target && !replaced.is_written {
                        replaced.before = digest;
                    }
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

    /// Gives blocks to the replacement that are to be read. Their SHA-256; `first` becomes the first of them.
    async fn read(
        &self,
        replacement: &mut Replacement<'_>,
        whose: Whose,
        (block, blocks): (u64, u64),
        first: &mut [u8],
    ) -> Result<[u8; 32], SlotsError> {
        let block_bytes = self.disk.block_bytes() as u64;
        let mut hash = Sha256::new();
        let mut chunk = vec![0; CHUNK];
        let begin = block.saturating_mul(block_bytes);
        let (mut at, mut left) = (begin, blocks.saturating_mul(block_bytes));
        while left > 0 {
            let some = left.min(CHUNK as u64);
            let into = chunk.get_mut(..some as usize).unwrap_or_default();
            self.disk.read(self.window(whose), at, into).await?;
            if let (true, Some(block)) = (at == begin, into.get(..first.len())) {
                first.copy_from_slice(block);
            }
            hash.update(&*into);
            replacement.read(into).map_err(SlotsError::Replace)?;
            at += some;
            left -= some;
        }
        Ok(hash.finalize().into())
    }
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
