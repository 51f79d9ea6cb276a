//! Writes archives: equal files in equal order give equal bytes.

use alloc::{format, vec::Vec};

use super::{ArchiveError, HEADER, MAGIC, REGULAR, TRAILER, is_plain, padded};

/// An archive that is being written into memory.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
    entries: u32,
}

impl Writer {
    /// An archive without entries.
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of bytes that a file adds, for reserving room ahead.
    pub fn size_of(name: &str, data: &[u8]) -> usize {
        padded(HEADER + name.len() + 1) + padded(data.len())
    }

    /// Adds a file.
    ///
    /// # Errors
    /// [`ArchiveError::Name`] for a name that the reader would refuse, [`ArchiveError::TooMany`]
    /// if `data` has 4 GiB or more or the archive is full. Duplicates are left to the reader.
    pub fn add(&mut self, name: &str, data: &[u8]) -> Result<(), ArchiveError> {
        if !is_plain(name) || name == TRAILER {
            return Err(ArchiveError::Name { at: self.bytes.len() });
        }
        if super::to_usize(self.entries) == super::MAX_ENTRIES {
            return Err(ArchiveError::TooMany);
        }
        let length = u32::try_from(data.len()).map_err(|_| ArchiveError::TooMany)?;
        self.entries += 1;
        self.put(self.entries, REGULAR | 0o644, name, length);
        self.bytes.extend_from_slice(data);
        self.pad();
        Ok(())
    }

    /// Writes the trailer and gives out the archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.put(0, 0, TRAILER, 0);
        self.bytes
    }

    fn put(&mut self, inode: u32, mode: u32, name: &str, length: u32) {
        // Names have at most `MAX_NAME` bytes.
        let name_length = name.len() as u32 + 1;
        // ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
        let fields = [inode, mode, 0, 0, 1, 0, length, 0, 0, 0, 0, name_length, 0];
        self.bytes.extend_from_slice(MAGIC);
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(padded(self.bytes.len()), 0);
    }
}
