//! Memory that a device reads and writes: copied once, word by word, never borrowed as bytes.
//!
//! Devices are little-endian, and so are both processors: word and byte order need no change, but are
//! written so that they would be right elsewhere too.

use core::sync::atomic::{AtomicU32, Ordering};

/// Words of a page.
pub type Words = [AtomicU32; 1024];

/// Copies the bytes from word `first` on into `into`. `false` if they end before.
#[must_use]
pub fn copy_out(words: &[AtomicU32], first: usize, into: &mut [u8]) -> bool {
    let count = into.len().div_ceil(4);
    let Some(from) = words.get(first..).and_then(|rest| rest.get(..count)) else {
        return false;
    };
    for (chunk, word) in into.chunks_mut(4).zip(from) {
        let bytes = word.load(Ordering::Relaxed).to_le_bytes();
        chunk.copy_from_slice(&bytes[..chunk.len()]);
    }
    true
}

/// Copies `from` to the bytes from word `first` on; the last word is filled up with zeros. `false` if
/// they do not fit.
#[must_use]
pub fn copy_in(words: &[AtomicU32], first: usize, from: &[u8]) -> bool {
    let count = from.len().div_ceil(4);
    let Some(into) = words.get(first..).and_then(|rest| rest.get(..count)) else {
        return false;
    };
    for (chunk, word) in from.chunks(4).zip(into) {
        let mut bytes = [0; 4];
        bytes[..chunk.len()].copy_from_slice(chunk);
        word.store(u32::from_le_bytes(bytes), Ordering::Relaxed);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_as_they_went_in() {
        let words = [const { AtomicU32::new(0xffff_ffff) }; 8];
        for length in 0..=16 {
            let sent: std::vec::Vec<u8> = (1..=length).collect();
            assert!(copy_in(&words, 2, &sent));
            let mut got = std::vec![0; sent.len()];
            assert!(copy_out(&words, 2, &mut got));
            assert_eq!(got, sent);
        }
        assert_eq!(words[1].load(Ordering::Relaxed), 0xffff_ffff);
        assert_eq!(words[6].load(Ordering::Relaxed), 0xffff_ffff);
        assert!(!copy_in(&words, 5, &[0; 13]));
        assert!(!copy_out(&words, 9, &mut [0; 1]));
        assert!(copy_out(&words, 8, &mut []));
    }
}
