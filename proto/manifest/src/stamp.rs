//! Magic and version in front of a compiled record.
//!
//! A record is `magic: u32 LE`, `version: u32 LE`, then the value in postcard. A reader takes
//! exactly one version: dom0 and the image that it carries are built together, and a record of
//! another version means that they were mixed up.

use core::fmt;

use serde::{Serialize, de::DeserializeOwned};

/// Length of magic and version, in bytes.
pub const STAMP_BYTES: usize = 8;

/// Which record, and which version of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Four bytes that no other record starts with.
    pub magic: [u8; 4],
    /// Raised with each change of the layout; old numbers are never reused.
    pub version: u32,
}

/// Why a compiled record cannot be read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordError {
    /// Fewer bytes than magic and version need.
    Truncated {
        /// Bytes needed.
        need: usize,
        /// Bytes there.
        have: usize,
    },
    /// Another kind of record, or none.
    Magic {
        /// The four bytes found.
        found: [u8; 4],
    },
    /// Written by another version of the tools.
    Version {
        /// The version found.
        found: u32,
        /// The only version that this reader knows.
        known: u32,
    },
    /// The value behind the stamp does not decode, or bytes are left over.
    Malformed,
    /// The value decodes, and contradicts itself.
    Inconsistent(Contradiction),
    /// The buffer is too small for the record.
    NoRoom {
        /// Bytes there.
        have: usize,
    },
}

/// What is wrong with a record that decodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contradiction {
    /// A name breaks the rules of [`crate::name`].
    Name,
    /// Two domains, channels of one domain, or devices have the same name.
    Duplicate,
    /// A channel or a domain refers to something that is not in the table.
    Dangling,
    /// A device is given to two domains.
    DeviceTwice,
    /// A number is outside of what a domain may have.
    Range,
}

impl fmt::Display for Contradiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name => "a name in it is not a valid name",
            Self::Duplicate => "a name in it is used twice",
            Self::Dangling => "it refers to something that it does not hold",
            Self::DeviceTwice => "a device in it is given to two domains",
            Self::Range => "a number in it is out of range",
        })
    }
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { need, have } => write!(f, "truncated: {have} bytes, at least {need} needed"),
            Self::Magic { found } => write!(f, "starts with {found:02x?}, which is not its magic"),
            Self::Version { found, known } => {
                write!(f, "version {found} is unknown, this program reads version {known}")
            }
            Self::Malformed => f.write_str("its contents do not decode"),
            Self::Inconsistent(why) => why.fmt(f),
            Self::NoRoom { have } => write!(f, "does not fit into {have} bytes"),
        }
    }
}

impl core::error::Error for RecordError {}

impl Stamp {
    /// Writes stamp and `value` into `out` and returns the bytes used.
    ///
    /// # Errors
    /// [`RecordError::NoRoom`] if `out` is too small.
    pub fn encode<'a, T: Serialize>(
        &self,
        value: &T,
        out: &'a mut [u8],
    ) -> Result<&'a mut [u8], RecordError> {
        let have = out.len();
        let full = RecordError::NoRoom { have };
        let (head, body) = out.split_at_mut_checked(STAMP_BYTES).ok_or(full)?;
        let used = postcard::to_slice(value, body).map_err(|_| full)?.len();
        let (magic, version) = head.split_at_mut(4);
        magic.copy_from_slice(&self.magic);
        version.copy_from_slice(&self.version.to_le_bytes());
        out.get_mut(..STAMP_BYTES + used).ok_or(full)
    }

    /// Reads the value behind the stamp.
    ///
    /// # Errors
    /// In the order of the checks: [`RecordError::Truncated`], [`RecordError::Magic`],
    /// [`RecordError::Version`], [`RecordError::Malformed`].
    pub fn decode<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, RecordError> {
        let (head, body) = bytes
            .split_first_chunk::<STAMP_BYTES>()
            .ok_or(RecordError::Truncated { need: STAMP_BYTES, have: bytes.len() })?;
        let [m0, m1, m2, m3, v0, v1, v2, v3] = *head;
        let found = [m0, m1, m2, m3];
        if found != self.magic {
            return Err(RecordError::Magic { found });
        }
        let found = u32::from_le_bytes([v0, v1, v2, v3]);
        if found != self.version {
            return Err(RecordError::Version { found, known: self.version });
        }
        match postcard::take_from_bytes(body) {
            Ok((value, [])) => Ok(value),
            _ => Err(RecordError::Malformed),
        }
    }
}
