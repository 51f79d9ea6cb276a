//! Access to a shared page: single words, and bytes copied once.
//!
//! The page is 1024 words of 32 bits and is accessed at that width only. A range of bytes that starts or ends
//! inside a word is cut out of the loaded word, or merged into it: every window of bytes has one writer, so
//! nobody else's bytes stand in such a word. The merge reads our own bytes back from shared memory; a peer
//! that changed them meanwhile has spoilt what it will read itself, and nothing else.

use crate::index::Index;
use crate::sync::{self, AtomicU32, Ordering};

/// Words of 32 bits in a page of 4096 bytes.
pub const WORDS_PER_PAGE: usize = 1024;

/// Bytes in a page.
pub const PAGE_BYTES: usize = WORDS_PER_PAGE * 4;

/// A shared page. The peer may rewrite any word at any instant.
pub type Words = [AtomicU32; WORDS_PER_PAGE];

/// The place of one word in a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word(usize);

impl Word {
    /// The word at this offset in bytes.
    ///
    /// # Panics
    /// At compile time, where layouts are made: if the offset is no multiple of 4 or past the page.
    pub const fn at(offset_bytes: usize) -> Self {
        assert!(offset_bytes.is_multiple_of(4) && offset_bytes < PAGE_BYTES);
        Self(offset_bytes / 4)
    }

    fn of(self, words: &Words) -> &AtomicU32 {
        &words[self.0 % WORDS_PER_PAGE]
    }

    /// Loads a plain value: a threshold or flag that orders nothing.
    pub fn load(self, words: &Words) -> u32 {
        self.of(words).load(Ordering::Relaxed)
    }

    /// Stores a plain value: a threshold or flag that orders nothing.
    pub fn store(self, words: &Words, value: u32) {
        self.of(words).store(value, Ordering::Relaxed);
    }

    /// Observes what the peer published: what it wrote before is visible after.
    pub fn observe(self, words: &Words) -> u32 {
        sync::observe(self.of(words))
    }

    /// Publishes: what we wrote before is visible to a peer that observes this value.
    pub fn publish(self, words: &Words, value: u32) {
        sync::publish(self.of(words), value);
    }
}

/// A window of bytes in a page, addressed by free-running index: its size is a power of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    first_word: usize,
    size: u32,
}

impl Window {
    /// The window of `size` bytes at `offset` bytes.
    ///
    /// # Panics
    /// At compile time, where layouts are made: if the offset is no multiple of 4, the size no power of two
    /// of at least 4, or the window not inside the page.
    pub const fn at(offset_bytes: usize, size: u32) -> Self {
        assert!(offset_bytes.is_multiple_of(4) && size.is_power_of_two() && size >= 4);
        assert!(offset_bytes + size as usize <= PAGE_BYTES);
        Self { first_word: offset_bytes / 4, size }
    }

    /// Bytes in the window.
    pub const fn size(self) -> u32 {
        self.size
    }

    fn word(self, words: &Words, position: u32) -> &AtomicU32 {
        let inside = (position & (self.size - 1)) as usize / 4;
        &words[(self.first_word + inside) % WORDS_PER_PAGE]
    }

    /// Copies the bytes from index `at` on out of the page, each word loaded once.
    ///
    /// More bytes than the window has come out repeated; the callers ask for no more than is outstanding.
    pub fn copy_out(self, words: &Words, at: Index, into: &mut [u8]) {
        let mut position = at.raw();
        let mut rest = into;
        while !rest.is_empty() {
            let lane = lane(position);
            let bytes = self.word(words, position).load(Ordering::Relaxed).to_ne_bytes();
            let here = &bytes[lane..];
            let count = here.len().min(rest.len());
            let (head, tail) = rest.split_at_mut(count);
            head.copy_from_slice(&here[..count]);
            position = position.wrapping_add(count as u32);
            rest = tail;
        }
    }

    /// Copies bytes into the page from index `at` on. Only the window's one writer may call it.
    pub fn copy_in(self, words: &Words, at: Index, from: &[u8]) {
        let mut position = at.raw();
        let mut rest = from;
        while !rest.is_empty() {
            let lane = lane(position);
            let count = (4 - lane).min(rest.len());
            let (head, tail) = rest.split_at(count);
            let word = self.word(words, position);
            let mut bytes = if count == 4 { [0; 4] } else { word.load(Ordering::Relaxed).to_ne_bytes() };
            bytes[lane..lane + count].copy_from_slice(head);
            word.store(u32::from_ne_bytes(bytes), Ordering::Relaxed);
            position = position.wrapping_add(count as u32);
            rest = tail;
        }
    }
}

/// The place of a byte inside its word.
const fn lane(position: u32) -> usize {
    (position & 3) as usize
}

/// Sets the whole page to zero, as before someone else is granted it.
pub fn zero(words: &Words) {
    for word in words {
        word.store(0, Ordering::Relaxed);
    }
}

/// A page of zeroes that is not shared with anyone, for tests.
#[cfg(test)]
pub(crate) fn test_page() -> std::boxed::Box<Words> {
    std::boxed::Box::new([const { AtomicU32::new(0) }; WORDS_PER_PAGE])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;
    use std::vec::Vec;

    #[test]
    fn bytes_go_in_and_out_at_every_alignment() {
        let page = test_page();
        let window = Window::at(1024, 64);
        for start in 0..8_u32 {
            for length in (0..=64_usize).step_by(if cfg!(miri) { 7 } else { 1 }) {
                let at = Index::new(u32::MAX - 20 + start);
                let sent: Vec<u8> = (0..length).map(|n| (n as u8) ^ (start as u8) ^ 0x5a).collect();
                window.copy_in(&page, at, &sent);
                let mut got = vec![0; length];
                window.copy_out(&page, at, &mut got);
                assert_eq!(got, sent, "start {start} length {length}");
            }
        }
    }

    #[test]
    fn writing_leaves_the_neighbours_alone() {
        let page = test_page();
        let window = Window::at(2048, 16);
        window.copy_in(&page, Index::new(0), &[1; 16]);
        window.copy_in(&page, Index::new(5), &[9, 9]);
        let mut got = [0; 16];
        window.copy_out(&page, Index::new(0), &mut got);
        assert_eq!(got, [1, 1, 1, 1, 1, 9, 9, 1, 1, 1, 1, 1, 1, 1, 1, 1]);
        assert!(page[..512].iter().chain(&page[516..]).all(|w| w.load(Ordering::Relaxed) == 0));
    }

    #[test]
    fn bytes_lie_in_memory_order() {
        let page = test_page();
        Window::at(0, 8).copy_in(&page, Index::new(0), &[0x11, 0x22, 0x33, 0x44]);
        assert_eq!(Word::at(0).load(&page).to_ne_bytes(), [0x11, 0x22, 0x33, 0x44]);
    }
}
