//! Entries for fuzzing: what is read from the disk ahead of any cipher, and behind it.

use crate::store::directory::Directory;
use crate::store::superblock::Superblock;

/// A page as a superblock: what is accepted emits the same bytes.
///
/// # Panics
/// When it does not.
pub fn superblock(page: &[u8]) {
    if let Ok(read) = Superblock::parse(page) {
        assert_eq!(read.emit(), page, "what was read is not what is written");
    }
}

/// A superblock that is accepted, for a start.
///
/// # Panics
/// Never.
#[must_use]
pub fn superblock_seed() -> alloc::vec::Vec<u8> {
    let empty = Superblock {
        pages: 1000,
        sequence: 1,
        store: [1; 16],
        life: 1,
        root: None,
        sealed: [2; 100].into_iter().collect(),
        kept: heapless::Vec::new(),
    };
    empty.emit()
}

/// Bytes as a directory, as if they had been authentic: what is accepted reads the same when it is written.
///
/// # Panics
/// When it does not.
pub fn directory(bytes: &[u8]) {
    if let Ok(read) = Directory::decode(bytes, 1000, [1, 2]) {
        let again = Directory::decode(&read.encode(), 1000, [1, 2]);
        assert_eq!(again, Ok(read), "what was written is not what is read");
    }
}

/// A directory that is accepted, for a start.
#[must_use]
pub fn directory_seed() -> alloc::vec::Vec<u8> {
    Directory::default().encode()
}
