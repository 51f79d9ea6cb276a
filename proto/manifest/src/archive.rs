//! The archive that is dom0's ramdisk: cpio, format "newc".
//!
//! Entries: `table`, `release`, `images/NAME`, `config/FILE`. A domain that gets provisioning files gets them
//! as an archive of its own, with the names behind `config/`.
//!
//! The reader is strict, because the archive comes from a disk: every header is checked before the
//! first entry is given out, only plain files with plain names are allowed, no name comes twice,
//! the trailer must be there, and nothing but zeroes may follow it. Fields that say nothing about
//! the contents (inode, times, owner) are not looked at. Nothing is copied.
//!
//! Source: Linux, Documentation/driver-api/early-userspace/buffer-format.rst.

use core::fmt;

#[cfg(feature = "alloc")]
mod writer;

#[cfg(feature = "alloc")]
pub use writer::Writer;

/// The most entries.
pub const MAX_ENTRIES: usize = 64;

/// The longest name of an entry, in bytes, without its NUL.
pub const MAX_NAME: usize = 64;

/// Name of the table's entry.
pub const TABLE: &str = "table";

/// Name of the entry that names the version of the system, in a slot. It makes two versions two programs, which
/// the firmware measures as different ones, whatever else they have in common.
pub const RELEASE: &str = "release";

/// Prefix of the images' names.
pub const IMAGES: &str = "images/";

/// Prefix of the provisioning files' names.
pub const CONFIG: &str = "config/";

const MAGIC: &[u8; 6] = b"070701";
const HEADER: usize = 110;
const TRAILER: &str = "TRAILER!!!";
const REGULAR: u32 = 0o100_000;
const TYPE_MASK: u32 = 0o170_000;

/// Why bytes are no archive of ours. `at` is the offset of the header, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArchiveError {
    /// No bytes at all.
    Empty,
    /// The bytes end within an entry, or before the trailer.
    Truncated {
        /// Offset of the header.
        at: usize,
    },
    /// Not the magic of "newc".
    Magic {
        /// Offset of the header.
        at: usize,
    },
    /// A header field has a character that is no hexadecimal digit.
    Digit {
        /// Offset of the header.
        at: usize,
    },
    /// A name is empty, too long, absolute, climbs, or has a character outside `[A-Za-z0-9._-/]`.
    Name {
        /// Offset of the header.
        at: usize,
    },
    /// A directory, link or device.
    NotAFile {
        /// Offset of the header.
        at: usize,
    },
    /// The bytes that fill up an entry are not zero.
    Padding {
        /// Offset of the header.
        at: usize,
    },
    /// A name is there twice.
    Duplicate {
        /// Offset of the second header.
        at: usize,
    },
    /// More than [`MAX_ENTRIES`] entries.
    TooMany,
    /// Something follows the trailer.
    Garbage {
        /// Offset of the first byte that is not zero.
        at: usize,
    },
}

impl fmt::Display for ArchiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("it is empty"),
            Self::Truncated { at } => write!(f, "it ends within the entry at byte {at}"),
            Self::Magic { at } => write!(f, "no entry of a cpio archive (newc) starts at byte {at}"),
            Self::Digit { at } => write!(f, "the header at byte {at} has a field that is no number"),
            Self::Name { at } => write!(f, "the entry at byte {at} has a name that is not allowed"),
            Self::NotAFile { at } => write!(f, "the entry at byte {at} is not a plain file"),
            Self::Padding { at } => write!(f, "the entry at byte {at} is not filled up with zeroes"),
            Self::Duplicate { at } => write!(f, "the entry at byte {at} has the name of an earlier one"),
            Self::TooMany => write!(f, "it has more than {MAX_ENTRIES} entries"),
            Self::Garbage { at } => write!(f, "something follows its trailer, at byte {at}"),
        }
    }
}

impl core::error::Error for ArchiveError {}

/// An archive whose every header was checked.
#[derive(Debug, Clone, Copy)]
pub struct Archive<'a> {
    bytes: &'a [u8],
}

/// One file of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its contents.
    pub data: &'a [u8],
}

impl<'a> Archive<'a> {
    /// Checks the whole archive.
    ///
    /// # Errors
    /// The first fault, in the order of the bytes. Duplicates are looked for last.
    pub fn open(bytes: &'a [u8]) -> Result<Self, ArchiveError> {
        if bytes.is_empty() {
            return Err(ArchiveError::Empty);
        }
        let mut names = heapless::Vec::<(&str, usize), MAX_ENTRIES>::new();
        let mut at = 0;
        loop {
            let (entry, next) = read_entry(bytes, at)?;
            let Some(entry) = entry else {
                at = next;
                break;
            };
            names.push((entry.name, at)).map_err(|_| ArchiveError::TooMany)?;
            at = next;
        }
        if let Some(extra) = bytes.iter().skip(at).position(|&byte| byte != 0) {
            return Err(ArchiveError::Garbage { at: at + extra });
        }
        names.sort_unstable();
        let twins = names.iter().zip(names.iter().skip(1)).find(|(one, other)| one.0 == other.0);
        if let Some((_, &(_, at))) = twins {
            return Err(ArchiveError::Duplicate { at });
        }
        Ok(Self { bytes })
    }

    /// All entries, in their order.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'a>> + use<'a> {
        let bytes = self.bytes;
        let mut at = 0;
        core::iter::from_fn(move || {
            // `open` walked the same bytes: an error here would have been one there.
            let (entry, next) = read_entry(bytes, at).ok()?;
            at = next;
            entry
        })
        .fuse()
    }

    /// The contents of the entry called `name`.
    pub fn find(&self, name: &str) -> Option<&'a [u8]> {
        self.entries().find(|entry| entry.name == name).map(|entry| entry.data)
    }

    /// The entries whose name starts with `prefix`, with the rest of their names.
    pub fn under(&self, prefix: &str) -> impl Iterator<Item = Entry<'a>> {
        self.entries().filter_map(move |entry| {
            let name = entry.name.strip_prefix(prefix)?;
            Some(Entry { name, data: entry.data })
        })
    }
}

/// Reads the entry whose header is at `at`: the entry, or nothing for the trailer, and the offset
/// of what follows.
fn read_entry(bytes: &[u8], at: usize) -> Result<(Option<Entry<'_>>, usize), ArchiveError> {
    let cut = ArchiveError::Truncated { at };
    let header: &[u8; HEADER] = bytes.get(at..).and_then(<[u8]>::first_chunk).ok_or(cut)?;
    if !header.starts_with(MAGIC) {
        return Err(ArchiveError::Magic { at });
    }
    let field = |index: usize| number(header, index).ok_or(ArchiveError::Digit { at });
    for index in 0..13 {
        field(index)?;
    }
    let (mode, data_len, name_len) = (field(1)?, to_usize(field(6)?), to_usize(field(11)?));
    if !(2..=MAX_NAME + 1).contains(&name_len) {
        return Err(ArchiveError::Name { at });
    }

    let name_at = at + HEADER;
    let data_at = padded(name_at + name_len);
    let data_end = data_at.checked_add(data_len).ok_or(cut)?;
    let next = padded(data_end);
    if next < data_end {
        return Err(cut);
    }
    let name = bytes.get(name_at..name_at + name_len - 1).ok_or(cut)?;
    let fill = bytes.get(name_at + name_len - 1..data_at).ok_or(cut)?;
    let data = bytes.get(data_at..data_end).ok_or(cut)?;
    let tail = bytes.get(data_end..next).ok_or(cut)?;
    if fill.iter().chain(tail).any(|&byte| byte != 0) {
        return Err(ArchiveError::Padding { at });
    }

    if name == TRAILER.as_bytes() {
        return if data.is_empty() { Ok((None, next)) } else { Err(ArchiveError::NotAFile { at }) };
    }
    let name = core::str::from_utf8(name).map_err(|_| ArchiveError::Name { at })?;
    if !is_plain(name) {
        return Err(ArchiveError::Name { at });
    }
    if mode & TYPE_MASK != REGULAR {
        return Err(ArchiveError::NotAFile { at });
    }
    Ok((Some(Entry { name, data }), next))
}

/// Relative, without `.` and `..`, and made of characters that need no quoting anywhere.
fn is_plain(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    name.len() <= MAX_NAME
        && name.split('/').all(|part| !matches!(part, "" | "." | "..") && part.bytes().all(plain))
}

/// The `index`th of the 13 fields of 8 hexadecimal digits.
fn number(header: &[u8; HEADER], index: usize) -> Option<u32> {
    let start = MAGIC.len() + 8 * index;
    header.get(start..start + 8)?.iter().try_fold(0u32, |value, &digit| {
        let digit = char::from(digit).to_digit(16)?;
        Some(value << 4 | digit)
    })
}

/// The next multiple of 4.
fn padded(at: usize) -> usize {
    at.wrapping_add(3) & !3
}

fn to_usize(value: u32) -> usize {
    // All our targets have at least 32 bits.
    value as usize
}

#[cfg(all(test, feature = "alloc"))]
mod tests;
