//! Replacing the selector.
//!
//! A disk has two EFI system partitions with a selector each, and firmware takes the second when the first is no file
//! system. One of them is written at a time, whole, as an image; the other one is looked at before that, and must hold a
//! selector that is known. The image is written from its second block on, behind a first block of zeros, and gets its
//! first block when all others were read back and found right:
//!
//! ```text
//!   target holds it already: no more is done
//!   the other one is right -> first block zeroed -> blocks 1… written -> read back -> first block written -> read back
//!        flush                   flush                 flush                             flush
//! ```
//!
//! A file system whose first block is zero is none for any firmware. Of a block that is torn one end is old and the
//! other one new, and one of both is zero. What makes a file system stands at both ends of the boot sector, the first
//! 512 bytes of the block: the geometry from byte 11 on, the signature in bytes 510 and 511. Torn within them it is none
//! either, or lacks nothing but the jump and the name ahead of byte 11, at which UEFI does not look. Of a block of 4096
//! bytes that is torn behind them the boot sector is whole or zero; if it is whole, nothing behind it in the block
//! counts, and all other blocks are on the disk, for those were flushed before. So whenever the power goes, at least one
//! partition is whole, and none is half written and looks whole: what could be started at all is a selector that was
//! known, the old or the new one. The second partition is replaced first. The first, by which the machine starts,
//! follows when the system that came with it has proven itself, and the second is then the way back for who stands
//! beside the machine.
//!
//! What is read may lie in the disk's cache alone: a flush failed, in this life of storage or in one that nobody knows of any
//! more, and a flush that comes later says nothing of what it lost. By the order above the last block to be written is all
//! that can be in doubt of a partition that reads as whole. So that one, as it was read, is written again and flushed before
//! such a partition is believed: the other one ahead of the zeros, and the target before it is said to hold the image. The
//! same bytes, or what was torn or zero on the disk: neither makes less of it.
//!
//! This guards against power cuts and bad disks. It does not find out that a selector which is whole does not work
//! on this machine: that is for tests, and for the key of Secure Boot where there is one.
//!
//! Storage runs it, and takes the image from a slot that was signed; the host tool makes the image.

use volume::Comparison;

mod volume;

/// The longest image.
pub const MAX_BYTES: usize = 1 << 20;

/// Which of the two partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The one that is replaced.
    Target,
    /// The other one.
    Other,
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// Read this many blocks of a partition from this one on, and give them to [`Replacement::read`].
    Read {
        /// Of which.
        whose: Whose,
        /// From here on.
        block: u64,
        /// So many.
        blocks: u64,
    },
    /// Write to the target.
    Write {
        /// The first block.
        block: u64,
        /// Whole blocks; `None` for one block of zeros.
        bytes: Option<&'a [u8]>,
    },
    /// Write the first block of a partition again, as it was read last.
    Again {
        /// Of which.
        whose: Whose,
    },
    /// Have the disk keep what was written before anything that follows.
    Flush,
}

/// Why it is not replaced. The other partition is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplaceError {
    /// The image is empty, has not whole blocks, or does not fit.
    Size {
        /// Its bytes.
        bytes: usize,
    },
    /// The image is no FAT file system that firmware would find in this partition.
    NoVolume,
    /// The other partition holds no selector that is known: this one may be the only one.
    OtherUnknown,
    /// What was read back is not what was written.
    NotWritten {
        /// The first block that was read.
        block: u64,
    },
    /// Something was read that was not asked for.
    Unasked,
}

impl core::fmt::Display for ReplaceError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Size { bytes } => write!(f, "an image of {bytes} bytes is no image of this partition"),
            Self::NoVolume => f.write_str("the image is no FAT file system for this partition"),
            Self::OtherUnknown => f.write_str("the other partition holds no selector that is known"),
            Self::NotWritten { block } => {
                write!(f, "what was read back from block {block} on is not what was written")
            }
            Self::Unasked => f.write_str("nothing was to be read"),
        }
    }
}

impl core::error::Error for ReplaceError {}

/// Blocks that are written at once.
const CHUNK: u64 = 128;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Target,
    /// The target holds the image, or the other one a known image, and may not do so on the disk.
    Again {
        whose: Whose,
    },
    AgainFlush {
        whose: Whose,
    },
    AgainRead,
    /// Whether it holds the known image of this number.
    Other {
        known: usize,
    },
    Zero,
    ZeroFlush,
    Body {
        from: u64,
    },
    BodyFlush,
    BodyRead,
    First,
    FirstFlush,
    WholeRead,
    Done,
    Failed,
}

/// Which partitions may not be on the disk as they are read: nobody knows of an earlier life of storage what failed in
/// it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// The one that is replaced.
    pub target: bool,
    /// The other one.
    pub other: bool,
}

/// One replacement, step by step.
#[derive(Clone, Debug)]
pub struct Replacement<'a> {
    image: &'a [u8],
    block_bytes: usize,
    known: &'a [&'a [u8]],
    doubt: Doubt,
    state: State,
    /// What is being read.
    comparison: Comparison<'a>,
}

impl<'a> Replacement<'a> {
    /// Begins to replace a partition of `room` blocks by `image`. `known` are the images that the other one may hold, each
    /// of whole blocks. Of a target that holds the image no more than the first block is written, and that only if it is in doubt.
    ///
    /// # Errors
    /// [`ReplaceError::Size`], [`ReplaceError::NoVolume`].
    pub fn new(
        image: &'a [u8],
        block_bytes: usize,
        room: u64,
        known: &'a [&'a [u8]],
        doubt: Doubt,
    ) -> Result<Self, ReplaceError> {
        let bytes = image.len();
        let whole = block_bytes > 0 && bytes > block_bytes && bytes.is_multiple_of(block_bytes);
        if !whole || (bytes / block_bytes) as u64 > room {
            return Err(ReplaceError::Size { bytes });
        }
        let volume = fat_sectors(image, block_bytes).ok_or(ReplaceError::NoVolume)?;
        if volume > room || volume < (bytes / block_bytes) as u64 {
            return Err(ReplaceError::NoVolume);
        }
        let comparison = Comparison::of_volume(image);
        Ok(Self { image, block_bytes, known, doubt, state: State::Target, comparison })
    }

    fn blocks(&self) -> u64 {
        (self.image.len() / self.block_bytes) as u64
    }

    /// Bytes of the image from a block on, at most so many blocks of them.
    fn part(&self, block: u64, blocks: u64) -> &'a [u8] {
        let at = |block: u64| usize::try_from(block).unwrap_or(usize::MAX).saturating_mul(self.block_bytes);
        let end = at(block + blocks).min(self.image.len());
        self.image.get(at(block)..end).unwrap_or_default()
    }

    /// What is to be done now: the same until [`Self::done`] was called, or [`Self::read`] for all of it. `None` at the end.
    #[must_use]
    pub fn step(&self) -> Option<Step<'a>> {
        let blocks = self.blocks();
        let target = |block| Some(Step::Read { whose: Whose::Target, block, blocks: blocks - block });
        match self.state {
            State::Target | State::AgainRead | State::WholeRead => target(0),
            State::BodyRead => target(1),
            State::Other { known } => {
                let bytes = self.known.get(known)?.len();
                Some(Step::Read { whose: Whose::Other, block: 0, blocks: (bytes / self.block_bytes) as u64 })
            }
            State::Again { whose } => Some(Step::Again { whose }),
            State::Zero => Some(Step::Write { block: 0, bytes: None }),
            State::Body { from } => Some(Step::Write { block: from, bytes: Some(self.part(from, CHUNK)) }),
            State::First => Some(Step::Write { block: 0, bytes: Some(self.part(0, 1)) }),
            State::AgainFlush { .. } | State::ZeroFlush | State::BodyFlush | State::FirstFlush => {
                Some(Step::Flush)
            }
            State::Done | State::Failed => None,
        }
    }

    /// The write or flush was done. What failed is not done: the replacement is dropped then, and begun anew.
    pub fn done(&mut self) {
        self.become_of(match self.state {
            State::Again { whose } => State::AgainFlush { whose },
            State::AgainFlush { whose: Whose::Target } => State::AgainRead,
            State::AgainFlush { whose: Whose::Other } => State::Zero,
            State::Zero => State::ZeroFlush,
            State::ZeroFlush => State::Body { from: 1 },
            State::Body { from } if from + CHUNK < self.blocks() => State::Body { from: from + CHUNK },
            State::Body { .. } => State::BodyFlush,
            State::BodyFlush => State::BodyRead,
            State::First => State::FirstFlush,
            State::FirstFlush => State::WholeRead,
            // A read has its own answer.
            State::Target
            | State::Other { .. }
            | State::AgainRead
            | State::BodyRead
            | State::WholeRead
            | State::Done
            | State::Failed => return,
        });
    }

    fn become_of(&mut self, state: State) {
        self.state = state;
        self.comparison = match state {
            State::Target | State::AgainRead => Comparison::of_volume(self.image),
            State::Other { known } => {
                Comparison::of_volume(self.known.get(known).copied().unwrap_or_default())
            }
            State::BodyRead => Comparison::exact(self.part(1, self.blocks())),
            State::WholeRead => Comparison::exact(self.image),
            // Nothing is read.
            _ => Comparison::exact(&[]),
        };
    }

    /// Takes the next of what is to be read, whole blocks. The step is done when all of them came.
    ///
    /// # Errors
    /// [`ReplaceError`]; there are no steps any more then.
    pub fn read(&mut self, found: &[u8]) -> Result<(), ReplaceError> {
        self.comparison.take(found);
        if self.comparison.left() > 0 {
            return Ok(());
        }
        let is_same = self.comparison.is_same();
        let next = match self.state {
            State::Target if is_same && self.doubt.target => Ok(State::Again { whose: Whose::Target }),
            State::Target if is_same => Ok(State::Done),
            State::Target if self.known.is_empty() => Err(ReplaceError::OtherUnknown),
            State::Target => Ok(State::Other { known: 0 }),
            State::Other { .. } if is_same && self.doubt.other => Ok(State::Again { whose: Whose::Other }),
            State::Other { .. } if is_same => Ok(State::Zero),
            State::Other { known } if known + 1 < self.known.len() => Ok(State::Other { known: known + 1 }),
            State::Other { .. } => Err(ReplaceError::OtherUnknown),
            State::BodyRead if is_same => Ok(State::First),
            State::BodyRead => Err(ReplaceError::NotWritten { block: 1 }),
            State::AgainRead | State::WholeRead if is_same => Ok(State::Done),
            State::AgainRead | State::WholeRead => Err(ReplaceError::NotWritten { block: 0 }),
            State::Again { .. }
            | State::AgainFlush { .. }
            | State::Zero
            | State::ZeroFlush
            | State::Body { .. }
            | State::BodyFlush
            | State::First
            | State::FirstFlush
            | State::Done
            | State::Failed => Err(ReplaceError::Unasked),
        };
        self.become_of(next.unwrap_or(State::Failed));
        next.map(|_| ())
    }

    /// Whether the new selector is there, whole.
    #[cfg(test)]
    fn is_done(&self) -> bool {
        self.state == State::Done
    }
}

/// Sectors of a FAT volume by its first sector, if firmware takes it for one on a disk with such blocks: EDK2 reads bytes,
/// U-Boot wants sectors of the size of the disk's blocks. Source: Microsoft's FAT specification 1.03, section 3.
fn fat_sectors(volume: &[u8], block_bytes: usize) -> Option<u64> {
    let half = |at: usize| {
        let bytes = volume.get(at..at + 2)?.try_into().ok()?;
        Some(u16::from_le_bytes(bytes))
    };
    if volume.get(510..512) != Some(&[0x55, 0xaa]) || usize::from(half(11)?) != block_bytes {
        return None;
    }
    match half(19)? {
        0 => Some(u64::from(half(32)?) | u64::from(half(34)?) << 16),
        sectors => Some(sectors.into()),
    }
}

#[cfg(test)]
mod tests;
