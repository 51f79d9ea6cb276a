//! gzip files (RFC 1952) of one member.

use alloc::vec::Vec;

/// A text in the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Text {
    /// The name of the file.
    Name = 0x08,
    /// A comment.
    Comment = 0x10,
}

/// What was compressed, still without the header.
#[derive(Clone, Debug)]
pub(crate) struct Deflated {
    deflated: Vec<u8>,
    crc: u32,
    length: u32,
}

impl Deflated {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        Self {
            deflated: miniz_oxide::deflate::compress_to_vec(bytes, 9),
            crc: crc32(bytes),
            // The field is the length modulo 2³².
            length: bytes.len() as u32,
        }
    }

    pub(crate) fn size(&self) -> usize {
        self.deflated.len()
    }

    /// What it is kept as: checksum and length, little-endian, and the stream.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let Self { deflated, crc, length } = self;
        [&crc.to_le_bytes()[..], &length.to_le_bytes(), deflated].concat()
    }

    /// Undoes [`Deflated::encode`]; nothing if it is no stream of at most `limit` bytes with this checksum and length.
    pub(crate) fn decode(bytes: &[u8], limit: usize) -> Option<Self> {
        let (crc, rest) = bytes.split_first_chunk()?;
        let (length, deflated) = rest.split_first_chunk()?;
        let (crc, length) = (u32::from_le_bytes(*crc), u32::from_le_bytes(*length));
        let inflated = miniz_oxide::inflate::decompress_to_vec_with_limit(deflated, limit).ok()?;
        let right = inflated.len() as u64 == u64::from(length) && crc32(&inflated) == crc;
        right.then(|| Self { deflated: deflated.to_vec(), crc, length })
    }

    /// The file. `modified` is in seconds since 1970, the text Latin-1 without NUL.
    pub(crate) fn file(&self, modified: u32, text: Option<(Text, Vec<u8>)>) -> Vec<u8> {
        const BEST: u8 = 2;
        const UNKNOWN_SYSTEM: u8 = 255;
        let flag = text.as_ref().map_or(0, |(kind, _)| *kind as u8);
        let mut file = Vec::from([0x1f, 0x8b, 8, flag]);
        file.extend_from_slice(&modified.to_le_bytes());
        file.extend_from_slice(&[BEST, UNKNOWN_SYSTEM]);
        if let Some((_, text)) = text {
            file.extend(text);
            file.push(0);
        }
        file.extend_from_slice(&self.deflated);
        file.extend_from_slice(&self.crc.to_le_bytes());
        file.extend_from_slice(&self.length.to_le_bytes());
        file
    }
}

/// A gzip file of these bytes, without name or time.
pub(crate) fn compress(bytes: &[u8]) -> Vec<u8> {
    Deflated::new(bytes).file(0, None)
}

/// CRC-32 as in gzip: reflected, polynomial 0xEDB88320. Source: RFC 1952 §8.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        let index = (crc ^ u32::from(byte)) & 0xff;
        (crc >> 8) ^ CRC_TABLE[index as usize]
    })
}

static CRC_TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc_is_that_of_gzip() {
        // Check value of CRC-32/ISO-HDLC.
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn a_file_without_a_name_has_ten_bytes_of_header() {
        let bytes = b"event".repeat(100);
        let file = compress(&bytes);
        assert_eq!(&file[..10], &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 255]);
        let body = &file[10..file.len() - 8];
        assert_eq!(miniz_oxide::inflate::decompress_to_vec(body).unwrap(), bytes);
    }
}
