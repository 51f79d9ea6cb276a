//! The format of a slot.
//!
//! ```text
//!  0      512              4096                                       start of the partition
//!  +------+-- zero, not ---+-- part --+-- zero --+-- part --+ ...
//!  |header|   looked at    |          |          |          |
//!  +------+----------------+----------+----------+----------+
//!                          '------- contents: one SHA-256 over all of it
//! ```
//!
//! The header names length and SHA-256 of the contents, and where its parts begin; an Ed25519 signature covers
//! all of it. Parts begin at multiples of 4096 bytes, so that they can be used where they were read to.
//! On x86_64 one part is started, a program for the firmware, in which GRUB, Xen, dom0 and the archive are; on
//! aarch64 Xen, dom0, archive and the command lines are parts of their own. On both there is the selector that came
//! with this system, for its partition.
//!
//! Three types lead from bytes to what may be started, and each is the only way to the next:
//! [`Header::parse`] checks the form, [`Header::verify`] the signature, [`Trusted::contents`] the hash.

use core::fmt;
use core::ops::Range;

use ed25519_dalek::{Signature, VerifyingKey};
use proto_handoff::record::{Refused, VERSION_BYTES, Version};
use sha2::{Digest, Sha256};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

#[cfg(any(feature = "alloc", test))]
mod draft;

#[cfg(any(feature = "alloc", test))]
pub use draft::Draft;

const MAGIC: [u8; 8] = *b"SARSSLOT";
const FORMAT: u32 = 1;
/// Bytes of the header.
pub const HEADER_BYTES: usize = 512;
/// Bytes of it that are signed; the signature follows.
pub const SIGNED_BYTES: usize = HEADER_BYTES - 64;
/// Offset of the contents in the partition, and the unit at which parts begin.
pub const ALIGN: usize = 4096;
/// The most parts.
pub const MAX_PARTS: usize = 8;
/// The longest contents, in bytes: more than any system has, and no more than a small machine can hold.
pub const MAX_BYTES: u64 = 256 << 20;

/// A part's place.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct RawPart {
    kind: U32,
    reserved: U32,
    offset: U64,
    length: U64,
}

/// The header as it lies on the disk.
#[derive(Clone, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct Raw {
    magic: [u8; 8],
    format: U32,
    machine: U32,
    length: U64,
    parts: U32,
    reserved0: U32,
    version: [u8; VERSION_BYTES],
    sha256: [u8; 32],
    places: [RawPart; MAX_PARTS],
    reserved1: [u8; 160],
    signature: [u8; 64],
}

const _: () = assert!(size_of::<Raw>() == HEADER_BYTES);
const _: () = assert!(core::mem::offset_of!(Raw, signature) == SIGNED_BYTES);

/// What a slot is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// 64-bit x86.
    X86_64,
    /// 64-bit Arm.
    Aarch64,
}

impl Machine {
    const fn number(self) -> u32 {
        match self {
            Self::X86_64 => 1,
            Self::Aarch64 => 2,
        }
    }
}

/// What a part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A program for the firmware that starts everything by itself.
    Program,
    /// Xen, as a program for the firmware.
    Xen,
    /// dom0.
    Dom0,
    /// The archive.
    Archive,
    /// Xen's command line.
    XenLine,
    /// Paths of devices that dom0 leaves to driver domains, one a line.
    GiveAway,
    /// The selector, as an image of its partition ([`crate::selector`]): for storage, and not started from here.
    Selector,
}

impl Kind {
    const ALL: [Self; 7] =
        [Self::Program, Self::Xen, Self::Dom0, Self::Archive, Self::XenLine, Self::GiveAway, Self::Selector];

    const fn number(self) -> u32 {
        match self {
            Self::Program => 1,
            Self::Xen => 2,
            Self::Dom0 => 3,
            Self::Archive => 4,
            Self::XenLine => 5,
            Self::GiveAway => 6,
            Self::Selector => 7,
        }
    }
}

/// Why a slot is not to be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotError {
    /// Fewer bytes than a header has.
    Truncated {
        /// Bytes that are there.
        have: usize,
    },
    /// It does not begin as a slot does.
    Empty,
    /// A format that is not known here.
    Format {
        /// Which.
        found: u32,
    },
    /// A field has a value that stands for nothing.
    Field {
        /// Offset of the field.
        at: usize,
    },
    /// The contents are longer than the partition, or than anything that can be started.
    TooLong {
        /// Bytes that the header names.
        length: u64,
        /// Bytes that there is room for.
        room: u64,
    },
    /// The signature is by no key that is trusted.
    Signature,
    /// It is for another machine.
    Machine,
    /// The contents have another length than was signed.
    Length {
        /// Bytes that are there.
        have: usize,
    },
    /// The contents have another hash than was signed.
    Hash,
}

impl fmt::Display for SlotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { have } => write!(f, "its header has {have} bytes of {HEADER_BYTES}"),
            Self::Empty => f.write_str("it holds no system"),
            Self::Format { found } => write!(f, "its format is {found}, and {FORMAT} is known"),
            Self::Field { at } => write!(f, "the field at byte {at} of its header stands for nothing"),
            Self::TooLong { length, room } => {
                write!(f, "its contents are {length} bytes, in room for {room}")
            }
            Self::Signature => f.write_str("its signature is by no key that is trusted"),
            Self::Machine => f.write_str("it is for another machine"),
            Self::Length { have } => write!(f, "its contents are {have} bytes, which is not what was signed"),
            Self::Hash => f.write_str("the SHA-256 of its contents is not what was signed"),
        }
    }
}

impl core::error::Error for SlotError {}

/// What the selector hands to dom0 of it.
impl From<SlotError> for Refused {
    fn from(why: SlotError) -> Self {
        match why {
            SlotError::Empty => Self::Empty,
            SlotError::Signature => Self::Signature,
            SlotError::Hash | SlotError::Length { .. } => Self::Hash,
            SlotError::Truncated { .. }
            | SlotError::Format { .. }
            | SlotError::Field { .. }
            | SlotError::TooLong { .. }
            | SlotError::Machine => Self::Malformed,
        }
    }
}

/// A header whose form is right; nobody knows yet who made it.
#[derive(Clone)]
pub struct Header(Raw);

/// A header that was signed by a key that is trusted.
#[derive(Clone)]
pub struct Trusted(Raw);

/// Contents that are what was signed.
#[derive(Clone, Copy)]
pub struct Contents<'a> {
    bytes: &'a [u8],
    places: [RawPart; MAX_PARTS],
}

impl Header {
    /// Reads the header from the first bytes of a partition of `room` bytes.
    ///
    /// # Errors
    /// When there is none, or it contradicts itself or the partition.
    pub fn parse(bytes: &[u8], room: u64) -> Result<Self, SlotError> {
        let cut = SlotError::Truncated { have: bytes.len() };
        let (raw, _) = Raw::read_from_prefix(bytes).map_err(|_| cut)?;
        let wrong = |at| Err(SlotError::Field { at });
        if raw.magic != MAGIC {
            return Err(SlotError::Empty);
        }
        if raw.format.get() != FORMAT {
            return Err(SlotError::Format { found: raw.format.get() });
        }
        if raw.reserved0.get() != 0 {
            return wrong(28);
        }
        if Version::parse(raw.version).is_none() {
            return wrong(32);
        }
        if raw.reserved1.iter().any(|&byte| byte != 0) {
            return wrong(288);
        }
        let (length, room) = (raw.length.get(), room.saturating_sub(ALIGN as u64).min(MAX_BYTES));
        if length > room {
            return Err(SlotError::TooLong { length, room });
        }
        let count = raw.parts.get() as usize;
        if !(1..=MAX_PARTS).contains(&count) {
            return wrong(24);
        }
        let mut free = 0;
        for (index, place) in raw.places.iter().enumerate() {
            let at = 96 + index * size_of::<RawPart>();
            let (offset, bytes) = (place.offset.get(), place.length.get());
            if index >= count {
                if place.as_bytes().iter().any(|&byte| byte != 0) {
                    return wrong(at);
                }
                continue;
            }
            let known = Kind::ALL.iter().any(|kind| kind.number() == place.kind.get());
            let twice = raw.places.iter().take(index).any(|other| other.kind == place.kind);
            let end = offset.checked_add(bytes).filter(|&end| end <= length);
            let placed = offset >= free && offset.is_multiple_of(ALIGN as u64) && bytes > 0;
            match end {
                Some(end) if known && !twice && placed && place.reserved.get() == 0 => free = end,
                _ => return wrong(at),
            }
        }
        Ok(Self(raw))
    }

    /// The version that it names.
    ///
    /// # Panics
    /// Never: the header was parsed.
    #[must_use]
    pub fn claimed_version(&self) -> Version {
        Version::parse(self.0.version).expect("a header is parsed with its version")
    }

    /// Bytes of contents that it names, at most [`MAX_BYTES`] and what there is room for.
    #[must_use]
    pub const fn claimed_length(&self) -> u64 {
        self.0.length.get()
    }

    /// Checks who signed it.
    ///
    /// # Errors
    /// When it was none of these, or the slot is for another machine than `machine`.
    pub fn verify(self, keys: &[VerifyingKey], machine: Machine) -> Result<Trusted, SlotError> {
        let Self(raw) = self;
        let signature = Signature::from_bytes(&raw.signature);
        let signed = raw.as_bytes().get(..SIGNED_BYTES).unwrap_or_default();
        if !keys.iter().any(|key| key.verify_strict(signed, &signature).is_ok()) {
            return Err(SlotError::Signature);
        }
        if raw.machine.get() != machine.number() {
            return Err(SlotError::Machine);
        }
        Ok(Trusted(raw))
    }
}

impl Trusted {
    /// Bytes of the contents, at most [`MAX_BYTES`] and what the partition has room for. They begin at
    /// [`ALIGN`] in the partition.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.0.length.get()
    }

    /// SHA-256 of the contents.
    #[must_use]
    pub const fn sha256(&self) -> &[u8; 32] {
        &self.0.sha256
    }

    /// The system's version.
    ///
    /// # Panics
    /// Never: the header was parsed.
    #[must_use]
    pub fn version(&self) -> Version {
        Version::parse(self.0.version).expect("a header is parsed with its version")
    }

    /// Where a part lies in the contents. Nobody knows yet whether the contents are what was signed.
    #[must_use]
    pub fn place(&self, kind: Kind) -> Option<Range<u64>> {
        place(&self.0.places, kind)
    }

    /// Begins a check of contents that are too long to be held at once.
    #[must_use]
    pub fn check(&self) -> Check {
        Check { expected: self.0.sha256, length: self.length(), taken: 0, hash: Sha256::new() }
    }

    /// Checks the contents. What may be started is in what this returns, and these very bytes have to be
    /// started, not others that are read anew.
    ///
    /// # Errors
    /// When they are not what was signed.
    pub fn contents<'a>(&self, bytes: &'a [u8]) -> Result<Contents<'a>, SlotError> {
        if bytes.len() as u64 != self.length() {
            return Err(SlotError::Length { have: bytes.len() });
        }
        let hash: [u8; 32] = Sha256::digest(bytes).into();
        if hash != self.0.sha256 {
            return Err(SlotError::Hash);
        }
        Ok(Contents { bytes, places: self.0.places })
    }
}

/// Contents that come piece by piece, on their way to be checked.
#[derive(Clone)]
pub struct Check {
    expected: [u8; 32],
    length: u64,
    taken: u64,
    hash: Sha256,
}

impl Check {
    /// Takes the next bytes of the contents.
    pub fn take(&mut self, bytes: &[u8]) {
        self.taken = self.taken.saturating_add(bytes.len() as u64);
        self.hash.update(bytes);
    }

    /// Ends the check.
    ///
    /// # Errors
    /// When what came is not what was signed.
    pub fn end(self) -> Result<(), SlotError> {
        if self.taken != self.length {
            return Err(SlotError::Length { have: usize::try_from(self.taken).unwrap_or(usize::MAX) });
        }
        let hash: [u8; 32] = self.hash.finalize().into();
        if hash == self.expected { Ok(()) } else { Err(SlotError::Hash) }
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Check").field("taken", &self.taken).finish_non_exhaustive()
    }
}

impl<'a> Contents<'a> {
    /// A part.
    #[must_use]
    pub fn part(&self, kind: Kind) -> Option<&'a [u8]> {
        let Range { start, end } = place(&self.places, kind)?;
        self.bytes.get(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
    }
}

/// Where a part lies; within the contents, for the header was parsed.
fn place(places: &[RawPart], kind: Kind) -> Option<Range<u64>> {
    let place = places.iter().find(|place| place.kind.get() == kind.number())?;
    Some(place.offset.get()..place.offset.get().checked_add(place.length.get())?)
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Header").field("length", &self.0.length.get()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Trusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trusted").field("version", &self.version()).field("length", &self.length()).finish()
    }
}

impl fmt::Debug for Contents<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contents").field("length", &self.bytes.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
