//! The page of a request ring: header words, then slots that requests and their responses share.
//!
//! | offset | word | written by |
//! |---|---|---|
//! | 0 | `req_prod` | front |
//! | 4 | `req_event` | back |
//! | 8 | `rsp_prod` | back |
//! | 12 | `rsp_event` | front |
//! | 64 | `nr_ents` slots | front (requests), back (responses) |
//!
//! Source: `io/ring.h`, `DEFINE_RING_TYPES`.

use crate::index::Index;
use crate::page::{PAGE_BYTES, WORDS_PER_PAGE, Word, Words};
use crate::sync::Ordering;

pub(crate) const REQ_PROD: Word = Word::at(0);
pub(crate) const REQ_EVENT: Word = Word::at(4);
pub(crate) const RSP_PROD: Word = Word::at(8);
pub(crate) const RSP_EVENT: Word = Word::at(12);

/// Offset of the first slot in bytes.
pub const HEADER_BYTES: usize = 64;

/// Slots in a ring of one page whose slots have `slot_bytes` bytes: as many as fit, rounded down to a power
/// of two.
pub const fn nr_ents(slot_bytes: usize) -> u32 {
    let fitting = ((PAGE_BYTES - HEADER_BYTES) / slot_bytes) as u32;
    1 << fitting.ilog2()
}

/// The slots of a ring whose slots have `SLOT` bytes, a multiple of 4.
pub(crate) struct Slots<const SLOT: usize>;

impl<const SLOT: usize> Slots<SLOT> {
    pub(crate) const NR_ENTS: u32 = {
        assert!(SLOT.is_multiple_of(4) && SLOT >= 4 && SLOT <= PAGE_BYTES - HEADER_BYTES);
        nr_ents(SLOT)
    };

    /// Copies a slot out of the page, each word loaded once.
    pub(crate) fn copy_out(words: &Words, at: Index, into: &mut [u8; SLOT]) {
        let first = Self::first_word(at);
        for (position, bytes) in into.chunks_exact_mut(4).enumerate() {
            let word = words[(first + position) % WORDS_PER_PAGE].load(Ordering::Relaxed);
            bytes.copy_from_slice(&word.to_ne_bytes());
        }
    }

    /// Copies a slot into the page.
    pub(crate) fn copy_in(words: &Words, at: Index, from: &[u8; SLOT]) {
        let first = Self::first_word(at);
        for (position, bytes) in from.as_chunks::<4>().0.iter().enumerate() {
            words[(first + position) % WORDS_PER_PAGE].store(u32::from_ne_bytes(*bytes), Ordering::Relaxed);
        }
    }

    fn first_word(at: Index) -> usize {
        let slot = (at.raw() & (Self::NR_ENTS - 1)) as usize;
        (HEADER_BYTES + slot * SLOT) / 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sizes known from Xen's headers for one page.
    #[test]
    fn sizes_are_xens() {
        assert_eq!(nr_ents(12), 256, "netif tx");
        assert_eq!(nr_ents(8), 256, "netif rx");
        assert_eq!(nr_ents(112), 32, "blkif");
    }
}
