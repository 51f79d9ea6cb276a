//! The update payload: a slot as it travels.
//!
//! ```text
//!  0        512      528                                    the file
//!  +--------+--------+------------------------------+
//!  | header | prefix | contents, raw DEFLATE        |
//!  +--------+--------+------------------------------+
//! ```
//!
//! The header is that of the slot, signed ([`crate::manifest`]); it names length and hash of the contents that come
//! out. The prefix is `SARSPACK`, the format (1) and the method (1: DEFLATE), both 32 bits, little endian. Nothing may
//! stand behind the end of the compressed data.
//!
//! [`Decoder`] takes the file as it comes and gives the bytes of the slot in order, the header's block first; it holds
//! a window of 32 KiB, whatever comes. It looks at the form alone. Who made the header is storage's to check, which
//! reads the slot back: bytes that control has decoded are as foreign to it as any.

use alloc::boxed::Box;
use core::fmt;

use miniz_oxide::inflate::{
    TINFLStatus,
    core::{DecompressorOxide, decompress, inflate_flags::TINFL_FLAG_HAS_MORE_INPUT},
};
use proto_handoff::record::Version;

use crate::manifest::{ALIGN, HEADER_BYTES, Header, SlotError};

#[cfg(any(feature = "alloc", test))]
mod pack;

#[cfg(any(feature = "alloc", test))]
pub use pack::pack;

const MAGIC: [u8; 8] = *b"SARSPACK";
const FORMAT: u32 = 1;
const DEFLATE: u32 = 1;
/// Bytes of the prefix.
const PREFIX_BYTES: usize = 16;
/// Bytes ahead of the compressed contents.
const HEAD_BYTES: usize = HEADER_BYTES + PREFIX_BYTES;
/// What DEFLATE may refer back to, and so the least that has to be held.
const WINDOW: usize = 32 * 1024;

/// Why a payload cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadError {
    /// The slot's header is not right.
    Header(SlotError),
    /// What stands behind the header is not the beginning of compressed contents, or of a kind that is not known.
    Prefix,
    /// The compressed data contradict themselves.
    Compressed {
        /// Bytes of the contents that came out before.
        after: u64,
    },
    /// More came out than the header names.
    TooLong {
        /// Bytes that the header names.
        length: u64,
    },
    /// It ended early, as a file or as compressed data.
    Truncated {
        /// Bytes of the contents that came out.
        have: u64,
        /// Bytes that the header names; 0 if the header itself did not come.
        length: u64,
    },
    /// Something stands behind the end.
    Trailing,
}

impl fmt::Display for PayloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(error) => write!(f, "as an update {error}"),
            Self::Prefix => f.write_str("behind the slot's header there are no contents of a known kind"),
            Self::Compressed { after } => {
                write!(f, "its compressed contents are damaged after {after} bytes of the slot")
            }
            Self::TooLong { length } => {
                write!(f, "more comes out of it than the {length} bytes of its header")
            }
            Self::Truncated { length: 0, .. } => f.write_str("it ends within its header"),
            Self::Truncated { have, length } => {
                write!(f, "it ends after {have} of {length} bytes of the slot")
            }
            Self::Trailing => f.write_str("something stands behind its end"),
        }
    }
}

impl core::error::Error for PayloadError {}

/// What a payload says of itself. Nobody knows yet who made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The system's version.
    pub version: Version,
    /// Bytes that will be written to the slot: the header's block and the contents.
    pub slot_bytes: u64,
}

/// Bytes of the slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    /// Position in the slot: where the last piece ended.
    pub offset: u64,
    /// They; none if more of the file is needed first, or all is there.
    pub bytes: &'a [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// So many bytes of header and prefix are there.
    Head { have: usize },
    /// The header's block is to be given out next.
    Block,
    /// Contents come out.
    Contents,
    /// The compressed data have ended.
    End,
    /// It went wrong.
    Broken(PayloadError),
}

/// Takes a payload apart.
pub struct Decoder {
    room: u64,
    stage: Stage,
    head: [u8; HEAD_BYTES],
    claim: Option<Claim>,
    /// Bytes of contents that came out.
    out: u64,
    inflate: Box<DecompressorOxide>,
    /// The last 32 KiB that came out, as a ring; first of all the block with the header.
    window: Box<[u8]>,
    at: usize,
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder").field("stage", &self.stage).field("out", &self.out).finish_non_exhaustive()
    }
}

impl Decoder {
    /// One for a slot with room for so many bytes.
    #[must_use]
    pub fn new(room: u64) -> Self {
        Self {
            room,
            stage: Stage::Head { have: 0 },
            head: [0; HEAD_BYTES],
            claim: None,
            out: 0,
            inflate: Box::default(),
            window: alloc::vec![0; WINDOW].into_boxed_slice(),
            at: 0,
        }
    }

    /// What the header says, once it is there.
    #[must_use]
    pub const fn claim(&self) -> Option<Claim> {
        self.claim
    }

    /// Takes from the front of `input` what it needs to give out the next piece. Call it again while it gives or takes
    /// something.
    ///
    /// # Errors
    /// [`PayloadError`], and the same ever after.
    pub fn step<'a>(&'a mut self, input: &mut &[u8]) -> Result<Piece<'a>, PayloadError> {
        let range = match self.advance(input) {
            Ok(range) => range,
            Err(error) => {
                self.stage = Stage::Broken(error);
                return Err(error);
            }
        };
        let Some((offset, start, end)) = range else {
            return Ok(Piece { offset: self.offset(), bytes: &[] });
        };
        Ok(Piece { offset, bytes: self.window.get(start..end).unwrap_or_default() })
    }

    /// The file has ended.
    ///
    /// # Errors
    /// [`PayloadError`] unless it was whole.
    pub fn finish(&self) -> Result<Claim, PayloadError> {
        let length = self.claim.map_or(0, |claim| claim.slot_bytes - ALIGN as u64);
        let truncated = PayloadError::Truncated { have: self.out, length };
        match (self.stage, self.claim) {
            (Stage::Broken(error), _) => Err(error),
            (Stage::End, Some(claim)) if self.out == length => Ok(claim),
            (Stage::Head { .. } | Stage::Block | Stage::Contents | Stage::End, _) => Err(truncated),
        }
    }

    /// Where the next piece begins.
    fn offset(&self) -> u64 {
        match self.stage {
            Stage::Head { .. } | Stage::Block => 0,
            Stage::Contents | Stage::End | Stage::Broken(_) => ALIGN as u64 + self.out,
        }
    }

    /// Moves on by one piece: its offset in the slot, and its place in the window.
    fn advance(&mut self, input: &mut &[u8]) -> Result<Option<(u64, usize, usize)>, PayloadError> {
        if let Stage::Head { have } = self.stage {
            let have = self.take_head(have, input)?;
            self.stage = if have < HEAD_BYTES { Stage::Head { have } } else { Stage::Block };
            return Ok(None);
        }
        match self.stage {
            Stage::Head { .. } => Ok(None),
            Stage::Block => {
                self.stage = Stage::Contents;
                let (block, header) = (self.window.get_mut(..HEADER_BYTES), self.head.get(..HEADER_BYTES));
                if let (Some(block), Some(header)) = (block, header) {
                    block.copy_from_slice(header);
                }
                Ok(Some((0, 0, ALIGN)))
            }
            Stage::Contents => self.inflate(input),
            Stage::End if input.is_empty() => Ok(None),
            Stage::End => Err(PayloadError::Trailing),
            Stage::Broken(error) => Err(error),
        }
    }

    fn take_head(&mut self, have: usize, input: &mut &[u8]) -> Result<usize, PayloadError> {
        let count = input.len().min(HEAD_BYTES - have);
        let (taken, rest) = input.split_at(count);
        *input = rest;
        if let Some(place) = self.head.get_mut(have..have + count) {
            place.copy_from_slice(taken);
        }
        if have + count < HEAD_BYTES {
            return Ok(have + count);
        }
        let (header, prefix) = self.head.split_at(HEADER_BYTES);
        let header = Header::parse(header, self.room).map_err(PayloadError::Header)?;
        let number = |at: usize| {
            let bytes = prefix.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
            bytes.map_or(0, u32::from_le_bytes)
        };
        if !prefix.starts_with(&MAGIC) || (number(8), number(12)) != (FORMAT, DEFLATE) {
            return Err(PayloadError::Prefix);
        }
        self.claim = Some(Claim {
            version: header.claimed_version(),
            slot_bytes: ALIGN as u64 + header.claimed_length(),
        });
        Ok(HEAD_BYTES)
    }

    fn inflate(&mut self, input: &mut &[u8]) -> Result<Option<(u64, usize, usize)>, PayloadError> {
        let length = self.claim.map_or(0, |claim| claim.slot_bytes - ALIGN as u64);
        if self.at == WINDOW {
            self.at = 0;
        }
        let start = self.at;
        let (status, taken, given) =
            decompress(&mut self.inflate, input, &mut self.window, start, TINFL_FLAG_HAS_MORE_INPUT);
        *input = input.get(taken..).unwrap_or_default();
        let offset = self.offset();
        self.at = start + given;
        self.out += given as u64;
        if self.out > length {
            return Err(PayloadError::TooLong { length });
        }
        match status {
            TINFLStatus::Done if self.out < length => {
                return Err(PayloadError::Truncated { have: self.out, length });
            }
            TINFLStatus::Done => self.stage = Stage::End,
            TINFLStatus::NeedsMoreInput | TINFLStatus::HasMoreOutput => {}
            _ => return Err(PayloadError::Compressed { after: self.out }),
        }
        Ok((given > 0).then_some((offset, start, self.at)))
    }
}

#[cfg(test)]
mod tests;
