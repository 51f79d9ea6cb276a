//! PEM text (RFC 7468), read leniently: blocks are found wherever they stand, and white space inside
//! a block does not matter.

use alloc::vec::Vec;

use base64ct::{Base64, Encoding};

/// Text between the dashes of a certificate's block.
pub const CERTIFICATE: &str = "CERTIFICATE";

/// More blocks than any file of ours has; the rest is not looked at.
const MAX_BLOCKS: usize = 64;

/// One block, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block<'a> {
    /// Text between the dashes, such as `CERTIFICATE`.
    pub label: &'a str,
    /// What the block holds.
    pub der: Vec<u8>,
}

/// Why a text holds no blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PemError {
    /// A block has no end line, or an end line with another label.
    Unterminated {
        /// Byte at which the block begins.
        at: usize,
    },
    /// A block's content is not base64.
    NotBase64 {
        /// Byte at which the block begins.
        at: usize,
    },
    /// No block at all.
    Empty,
}

impl core::fmt::Display for PemError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Unterminated { at } => write!(f, "the PEM block at byte {at} has no end"),
            Self::NotBase64 { at } => write!(f, "the PEM block at byte {at} is not base64"),
            Self::Empty => write!(f, "there is no PEM block"),
        }
    }
}

/// The blocks of `text`, in order. Bytes outside of blocks are skipped.
///
/// # Errors
/// The first block that does not end or decode, or [`PemError::Empty`].
pub fn blocks(text: &[u8]) -> Result<Vec<Block<'_>>, PemError> {
    let mut found = Vec::new();
    let mut from = 0;
    while found.len() < MAX_BLOCKS {
        let Some(begin) = find(text, from, b"-----BEGIN ") else { break };
        let unterminated = PemError::Unterminated { at: begin };
        let label_at = begin + 11;
        let label_end = find(text, label_at, b"-----").ok_or(unterminated)?;
        let label = core::str::from_utf8(&text[label_at..label_end]).map_err(|_| unterminated)?;
        let body_at = label_end + 5;
        let end = find(text, body_at, b"-----END ").ok_or(unterminated)?;
        let tail = &text[end + 9..];
        if !(tail.starts_with(label.as_bytes()) && tail[label.len()..].starts_with(b"-----")) {
            return Err(unterminated);
        }
        let body: Vec<u8> =
            text[body_at..end].iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
        let not_base64 = PemError::NotBase64 { at: begin };
        let body = core::str::from_utf8(&body).map_err(|_| not_base64)?;
        let der = Base64::decode_vec(body).map_err(|_| not_base64)?;
        found.push(Block { label, der });
        from = end + 9;
    }
    if found.is_empty() { Err(PemError::Empty) } else { Ok(found) }
}

/// A certificate as PEM text: lines of 64 letters, a line end after the last.
#[must_use]
pub fn certificate(der: &[u8]) -> Vec<u8> {
    const LINE: usize = 64;
    let body = Base64::encode_string(der);
    let mut text = Vec::from(b"-----BEGIN CERTIFICATE-----\n");
    for line in body.as_bytes().chunks(LINE) {
        text.extend_from_slice(line);
        text.push(b'\n');
    }
    text.extend_from_slice(b"-----END CERTIFICATE-----\n");
    text
}

/// The DER of each certificate in `text`.
///
/// # Errors
/// As [`blocks`]; [`PemError::Empty`] also when there are blocks, but no certificate.
pub fn certificates(text: &[u8]) -> Result<Vec<Vec<u8>>, PemError> {
    let found: Vec<_> =
        blocks(text)?.into_iter().filter(|block| block.label == CERTIFICATE).map(|block| block.der).collect();
    if found.is_empty() { Err(PemError::Empty) } else { Ok(found) }
}

fn find(text: &[u8], from: usize, needle: &[u8]) -> Option<usize> {
    text.get(from..)?.windows(needle.len()).position(|window| window == needle).map(|at| from + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_blocks_between_other_text() {
        let text =
            b"hello\n-----BEGIN A-----\r\nAQ ID\n-----END A-----\n\n-----BEGIN B-----\n-----END B-----";
        let found = blocks(text).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].label, &found[0].der[..]), ("A", &[1, 2, 3][..]));
        assert_eq!((found[1].label, &found[1].der[..]), ("B", &[][..]));
    }

    #[test]
    fn what_is_written_is_read() {
        for length in [1, 47, 48, 49, 500] {
            let der = alloc::vec![0xa5; length];
            let text = certificate(&der);
            assert_eq!(certificates(&text), Ok(alloc::vec![der]));
            assert!(text.split(|byte| *byte == b'\n').all(|line| line.len() <= 64));
        }
    }

    #[test]
    fn names_the_block_that_is_broken() {
        assert_eq!(blocks(b""), Err(PemError::Empty));
        assert_eq!(blocks(b"-----BEGIN A-----"), Err(PemError::Unterminated { at: 0 }));
        assert_eq!(blocks(b" -----BEGIN A"), Err(PemError::Unterminated { at: 1 }));
        assert_eq!(blocks(b"-----BEGIN A-----AQID-----END B-----"), Err(PemError::Unterminated { at: 0 }));
        assert_eq!(blocks(b"-----BEGIN A-----!!-----END A-----"), Err(PemError::NotBase64 { at: 0 }));
        assert_eq!(certificates(b"-----BEGIN A-----AQID-----END A-----"), Err(PemError::Empty));
    }
}
