//! Replacing the selector.
//!
//! Nothing uses this yet: images have one EFI system partition. It is for a disk that has two with a selector each, and
//! for firmware that takes the second when the first is no file system. One of them is written at a time, whole, as an image; the other one is looked at before that, and
//! must hold a selector that is known. The image is written from its second block on, behind a first block of zeros,
//! and gets its first block when all others were read back and found right:
//!
//! ```text
//!   the other one is right -> first block zeroed -> blocks 1… written -> read back -> first block written -> read back
//!        flush                   flush                 flush                             flush
//! ```
//!
//! A file system whose first block is zero is none for any firmware. Of a block that is torn one end is old and the
//! other one new, and one of both is zero; what makes a file system stands at both ends (the geometry from byte 11 on,
//! the signature in the last two), so it is none either, or lacks nothing but the jump and the name ahead of byte 11,
//! at which UEFI does not look. So whenever the power goes, at least one partition is whole, and none is half written and
//! looks whole: what could be started at all is a selector that was known, the old or the new one. The second partition is replaced first. The first, by
//! which the machine starts, follows when the system that came with it has proven itself, and the second is then the
//! way back for who stands beside the machine.
//!
//! This guards against power cuts and bad disks. It does not find out that a selector which is whole does not work
//! on this machine: that is for tests, and for the key of Secure Boot where there is one.

use sha2::{Digest, Sha256};

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
    /// Read this many blocks of a partition from this one on, and give the SHA-256 to [`Replacement::read`].
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
    /// The other partition holds no selector that is known: this one may be the only one.
    OtherUnknown,
    /// What was read back is not what was written.
    NotWritten {
        /// The first block that was read.
        block: u64,
    },
    /// The digest of a read was given where none was asked for.
    Unasked,
}

impl core::fmt::Display for ReplaceError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Size { bytes } => write!(f, "an image of {bytes} bytes is no image of this partition"),
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
    Other,
    Zero,
    ZeroFlush,
    Body { from: u64 },
    BodyFlush,
    BodyRead,
    First,
    FirstFlush,
    WholeRead,
    Done,
    Failed,
}

/// One replacement, step by step.
#[derive(Clone, Debug)]
pub struct Replacement<'a> {
    image: &'a [u8],
    block_bytes: usize,
    known: &'a [[u8; 32]],
    state: State,
}

impl<'a> Replacement<'a> {
    /// Begins to replace a partition of `room` blocks by `image`. `known` are the hashes of images that the other one
    /// may hold, in its first as many blocks as this image has.
    ///
    /// # Errors
    /// [`ReplaceError::Size`].
    pub fn new(
        image: &'a [u8],
        block_bytes: usize,
        room: u64,
        known: &'a [[u8; 32]],
    ) -> Result<Self, ReplaceError> {
        let bytes = image.len();
        let whole = block_bytes > 0 && bytes > block_bytes && bytes.is_multiple_of(block_bytes);
        if !whole || (bytes / block_bytes) as u64 > room {
            return Err(ReplaceError::Size { bytes });
        }
        Ok(Self { image, block_bytes, known, state: State::Other })
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

    /// What is to be done now: the same until [`Self::done`] or [`Self::read`] was called. `None` at the end.
    #[must_use]
    pub fn step(&self) -> Option<Step<'a>> {
        let blocks = self.blocks();
        let read = |whose, block| Some(Step::Read { whose, block, blocks: blocks - block });
        match self.state {
            State::Other => read(Whose::Other, 0),
            State::Zero => Some(Step::Write { block: 0, bytes: None }),
            State::Body { from } => Some(Step::Write { block: from, bytes: Some(self.part(from, CHUNK)) }),
            State::First => Some(Step::Write { block: 0, bytes: Some(self.part(0, 1)) }),
            State::ZeroFlush | State::BodyFlush | State::FirstFlush => Some(Step::Flush),
            State::BodyRead => read(Whose::Target, 1),
            State::WholeRead => read(Whose::Target, 0),
            State::Done | State::Failed => None,
        }
    }

    /// The write or flush was done. What failed is not done: the replacement is dropped then, and begun anew.
    pub fn done(&mut self) {
        self.state = match self.state {
            State::Zero => State::ZeroFlush,
            State::ZeroFlush => State::Body { from: 1 },
            State::Body { from } if from + CHUNK < self.blocks() => State::Body { from: from + CHUNK },
            State::Body { .. } => State::BodyFlush,
            State::BodyFlush => State::BodyRead,
            State::First => State::FirstFlush,
            State::FirstFlush => State::WholeRead,
            // A read has its own answer.
            State::Other | State::BodyRead | State::WholeRead | State::Done | State::Failed => self.state,
        };
    }

    /// What was to be read has this SHA-256.
    ///
    /// # Errors
    /// [`ReplaceError`]; there are no steps any more then.
    pub fn read(&mut self, digest: &[u8; 32]) -> Result<(), ReplaceError> {
        let hash = |bytes: &[u8]| -> [u8; 32] { Sha256::digest(bytes).into() };
        let (right, next, error) = match self.state {
            State::Other => (self.known.contains(digest), State::Zero, ReplaceError::OtherUnknown),
            State::BodyRead => {
                let body = self.part(1, self.blocks() - 1);
                (hash(body) == *digest, State::First, ReplaceError::NotWritten { block: 1 })
            }
            State::WholeRead => {
                (hash(self.image) == *digest, State::Done, ReplaceError::NotWritten { block: 0 })
            }
            _ => (false, State::Failed, ReplaceError::Unasked),
        };
        self.state = if right { next } else { State::Failed };
        if right { Ok(()) } else { Err(error) }
    }

    /// Whether the new selector is there, whole.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }
}

#[cfg(test)]
mod tests;
