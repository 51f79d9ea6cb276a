//! Entry for fuzzing: a file of the log as storage gives it back.

use alloc::vec::Vec;

use proto_eve::newlogs::Compressed;

use super::{Stream, piece::Piece};

/// Bytes of storage as a file of the log: what is accepted reads the same when it is written.
///
/// # Panics
/// When it does not.
pub fn piece(bytes: &[u8]) {
    if let Some(read) = Piece::decode(bytes) {
        assert_eq!(read.encode(), bytes, "what was read is not what is written");
    }
}

/// A file that is accepted, for a start.
#[must_use]
pub fn piece_seed() -> Vec<u8> {
    let data = Compressed::new(b"{\"severity\":\"info\",\"content\":\"hello\"}\n");
    Piece { start: 1, stream: Stream::Device, name: "hello".into(), made: 1, mark: 2, data }.encode()
}
