//! Big-endian integers and sized buffers (`TPM2B_…`), bounded in both directions.

use core::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

/// Bytes that every command of ours fits into.
pub const MAX_COMMAND: usize = 1024;
/// Bytes of the longest answer that is taken.
pub const MAX_RESPONSE: usize = 2048;

/// Bytes that contradict what they are to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// They end too early.
    Truncated {
        /// Bytes that are needed next.
        need: usize,
        /// Bytes that there are.
        have: usize,
    },
    /// There are more of them than belong to it.
    Trailing {
        /// How many too many.
        left: usize,
    },
    /// A length that is more than the thing can have.
    TooLong {
        /// The length.
        length: usize,
        /// The most.
        most: usize,
    },
    /// A field has another value than it must have here.
    Field {
        /// Which.
        field: Field,
        /// Its value.
        found: u64,
    },
}

/// A field that must have a certain value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// The tag of a response.
    Tag,
    /// The length that a response says it has.
    Length,
    /// The kind of capability.
    Capability,
    /// The kind of key, or a parameter of it.
    KeyForm,
    /// An elliptic curve.
    Curve,
    /// The algorithm of a signature or a hash.
    Algorithm,
    /// A selection of PCRs.
    Selection,
    /// The number of entries in a list.
    Count,
    /// The magic number of an attestation, or its type.
    Attestation,
    /// A name that is not the hash of the public area before it.
    Name,
    /// The kind of a handle.
    Handle,
    /// The first event of a log.
    SpecIdEvent,
    /// The number of a PCR.
    Pcr,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { need, have } => write!(f, "{need} bytes are needed, {have} are there"),
            Self::Trailing { left } => write!(f, "{left} bytes too many"),
            Self::TooLong { length, most } => write!(f, "{length} bytes where at most {most} can be"),
            Self::Field { field, found } => write!(f, "field {field:?} is {found:#x}"),
        }
    }
}

/// Reads bytes from front to back.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads these.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What was not read yet.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next `length` bytes.
    ///
    /// # Errors
    /// [`Malformed::Truncated`].
    pub fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let truncated = Malformed::Truncated { need: length, have: self.rest.len() };
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// [`Malformed::Truncated`].
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) =
            self.rest.split_first_chunk().ok_or(Malformed::Truncated { need: N, have: self.rest.len() })?;
        self.rest = rest;
        Ok(*taken)
    }

    /// The next byte.
    ///
    /// # Errors
    /// [`Malformed::Truncated`].
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// The next 16 bits.
    ///
    /// # Errors
    /// [`Malformed::Truncated`].
    pub fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    /// The next 32 bits.
    ///
    /// # Errors
    /// [`Malformed::Truncated`].
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    /// The next 64 bits.
    ///
    /// # Errors
    /// [`Malformed::Truncated`].
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_be_bytes)
    }

    /// A sized buffer of at most `most` bytes.
    ///
    /// # Errors
    /// [`Malformed::Truncated`], [`Malformed::TooLong`].
    pub fn sized(&mut self, most: usize) -> Result<&'a [u8], Malformed> {
        let length = usize::from(self.u16()?);
        if length > most {
            return Err(Malformed::TooLong { length, most });
        }
        self.take(length)
    }

    /// A sized buffer of at most `N` bytes, as a number of `N` bytes: a TPM may leave out leading zeros.
    ///
    /// # Errors
    /// [`Malformed::Truncated`], [`Malformed::TooLong`].
    pub fn number<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let bytes = self.sized(N)?;
        let mut number = [0; N];
        // `sized` took at most N.
        number[N - bytes.len()..].copy_from_slice(bytes);
        Ok(number)
    }

    /// A 16-bit field that must have this value.
    ///
    /// # Errors
    /// [`Malformed::Truncated`], [`Malformed::Field`].
    pub fn expect_u16(&mut self, field: Field, value: u16) -> Result<(), Malformed> {
        let found = self.u16()?;
        if found == value { Ok(()) } else { Err(Malformed::Field { field, found: found.into() }) }
    }

    /// Nothing may be left.
    ///
    /// # Errors
    /// [`Malformed::Trailing`].
    pub const fn end(self) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed::Trailing { left: self.rest.len() }) }
    }
}

/// Bytes that grow up to a bound and are wiped at the end.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Bytes<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> Default for Bytes<N> {
    fn default() -> Self {
        Self { bytes: [0; N], length: 0 }
    }
}

/// Only how many: they may be secret.
impl<const N: usize> fmt::Debug for Bytes<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.length)
    }
}

impl<const N: usize> Bytes<N> {
    /// These; none if there are too many of them.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        let mut new = Self::default();
        new.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        new.length = bytes.len();
        Some(new)
    }

    /// All that was put in.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// The same, to be changed in place.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.length]
    }

    /// Appends bytes.
    ///
    /// # Panics
    /// When they do not fit. What is written here is ours, or was bounded when it came.
    pub fn put(&mut self, bytes: &[u8]) -> &mut Self {
        let free = &mut self.bytes[self.length..];
        assert!(bytes.len() <= free.len(), "what is written fits by its bounds");
        free[..bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
        self
    }

    /// Appends a byte.
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.put(&[value])
    }

    /// Appends 16 bits.
    pub fn u16(&mut self, value: u16) -> &mut Self {
        self.put(&value.to_be_bytes())
    }

    /// Appends 32 bits.
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.put(&value.to_be_bytes())
    }

    /// Appends 64 bits.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.put(&value.to_be_bytes())
    }

    /// Appends a sized buffer.
    pub fn sized(&mut self, bytes: &[u8]) -> &mut Self {
        // `put` panics long before a length does not fit 16 bits, for N is less than that.
        const { assert!(N <= u16::MAX as usize) };
        self.u16(bytes.len() as u16).put(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_without_its_leading_zeros_is_filled_up() {
        assert_eq!(Reader::new(&[0, 2, 7, 8]).number::<4>(), Ok([0, 0, 7, 8]));
        assert_eq!(Reader::new(&[0, 2, 7, 8]).number::<1>(), Err(Malformed::TooLong { length: 2, most: 1 }));
        assert_eq!(Reader::new(&[0, 2, 7]).number::<4>(), Err(Malformed::Truncated { need: 2, have: 1 }));
    }

    #[test]
    fn bytes_are_not_shown() {
        let mut bytes = Bytes::<8>::default();
        bytes.u32(0x5353_5353);
        assert_eq!(std::format!("{bytes:?}"), "4 bytes");
    }
}
