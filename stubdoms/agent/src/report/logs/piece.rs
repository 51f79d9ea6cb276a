//! A file of the log as storage keeps it.
//!
//! ```text
//!   1 | start u32 | stream: 0, or 1 and 16 bytes | made u32 | mark u64 | name: u16 and text | lines, compressed
//! ```
//!
//! Integers are little-endian. What comes back is as foreign as any input.

use alloc::{string::String, vec::Vec};

use proto_eve::{newlogs::Compressed, uuid::Uuid};

use super::Stream;

const FORMAT: u8 = 1;
/// Bytes of the longest name of an application.
const MAX_NAME: usize = 256;
/// Bytes of the lines of one file, before they were compressed.
const MAX_LINES: usize = 128 * 1024;

/// A file that is kept.
#[derive(Debug)]
pub(super) struct Piece {
    /// Which start of the machine it is of.
    pub(super) start: u32,
    pub(super) stream: Stream,
    /// Display name of the application.
    pub(super) name: String,
    /// When it was made, in seconds since 1970.
    pub(super) made: u32,
    /// How far its stream had come with its last line, in that start.
    pub(super) mark: u64,
    pub(super) data: Compressed,
}

impl Piece {
    pub(super) fn encode(&self) -> Vec<u8> {
        let name = proto_eve::text::bounded(&self.name, MAX_NAME);
        let mut bytes = Vec::from([FORMAT]);
        bytes.extend_from_slice(&self.start.to_le_bytes());
        match &self.stream {
            Stream::Device => bytes.push(0),
            Stream::App(app) => {
                bytes.push(1);
                bytes.extend_from_slice(&app.0);
            }
        }
        bytes.extend_from_slice(&self.made.to_le_bytes());
        bytes.extend_from_slice(&self.mark.to_le_bytes());
        // It is bounded above.
        bytes.extend_from_slice(&(name.len() as u16).to_le_bytes());
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(&self.data.encode());
        bytes
    }

    /// Undoes [`Piece::encode`]; nothing if the bytes are no file of ours.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (format, bytes) = bytes.split_first()?;
        let (start, bytes) = bytes.split_first_chunk()?;
        let (kind, bytes) = bytes.split_first()?;
        let (stream, bytes) = match kind {
            0 => (Stream::Device, bytes),
            1 => bytes.split_first_chunk().map(|(app, rest)| (Stream::App(Uuid(*app)), rest))?,
            _ => return None,
        };
        let (made, bytes) = bytes.split_first_chunk()?;
        let (mark, bytes) = bytes.split_first_chunk()?;
        let (length, bytes) = bytes.split_first_chunk()?;
        let length = usize::from(u16::from_le_bytes(*length));
        let (name, data) = bytes.split_at_checked(length)?;
        let name = core::str::from_utf8(name).ok().filter(|name| name.len() <= MAX_NAME)?;
        Some(Self {
            start: u32::from_le_bytes(*start),
            stream,
            name: name.into(),
            made: u32::from_le_bytes(*made),
            mark: u64::from_le_bytes(*mark),
            data: Compressed::decode(data, MAX_LINES)?,
        })
        .filter(|_| *format == FORMAT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(stream: Stream) -> Piece {
        let data = Compressed::new(b"{\"content\":\"one\"}\n");
        Piece { start: 7, stream, name: "hello".into(), made: 1_700_000_000, mark: 99, data }
    }

    #[test]
    fn reading_undoes_writing_and_anything_else_is_refused() {
        for stream in [Stream::Device, Stream::App(Uuid([3; 16]))] {
            let bytes = piece(stream).encode();
            let read = Piece::decode(&bytes).unwrap();
            assert_eq!((read.encode(), read.stream, read.mark), (bytes.clone(), stream, 99));
            for end in 0..bytes.len() {
                assert!(Piece::decode(&bytes[..end]).is_none(), "{end}");
            }
            // Behind the name each bit counts: what comes out is what was put in, or nothing.
            let data = bytes.len() - piece(stream).data.encode().len();
            for bit in data * 8..bytes.len() * 8 {
                let mut other = bytes.clone();
                other[bit / 8] ^= 1 << (bit % 8);
                let same = Piece::decode(&other).is_none_or(|read| read.encode() == other);
                assert!(same, "{bit}");
            }
        }
        for (at, value) in [(0, 2), (5, 2)] {
            let mut other = piece(Stream::Device).encode();
            other[at] = value;
            assert!(Piece::decode(&other).is_none());
        }
    }
}
