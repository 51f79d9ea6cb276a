//! What a life of the machine leaves for the next one in memory, which outlives a reset where firmware leaves it alone.
//!
//! Two pages, at an address that the selector takes from the firmware at each start, so that nobody else gets them:
//!
//! | page | what |
//! |---|---|
//! | 0 | the note of this module, and what an order says of itself |
//! | 1 | dom0's last words, as every domain's runtime writes them |
//!
//! ```text
//! byte 0  magic "SaKp"     written last, so that a page without it holds nothing
//!      4  version, 1
//!      8  the note: 0 nothing, 1 working, 2 ordered
//!     12  starts of the selector since the note was written
//!     16  CRC-32 of the 16 bytes ahead of it
//!     64  CRC-32 of the length and the text
//!     68  length of the text in bytes; 0 if there is none
//!     72  why the end was ordered, in the words of whoever did, for those who come after it
//! ```
//!
//! All words are little endian. The text is of dom0 alone, which takes it away as it reads it; a selector leaves it alone.
//! The selector counts its start; dom0 reads the note, then writes its own and sets the count to zero. So a note that was
//! read by a dom0 whose start nobody counted is of the life before, and one that was counted more than once is followed by a
//! start that did not come to dom0: an order of long ago does not pass for the reason of that.
//!
//! Trust: memory that has lost its power holds anything, which the checksum tells from a note. What a dom0 before has
//! written is believed as far as a report goes.

use core::sync::atomic::{AtomicU32, Ordering};

const MAGIC: u32 = u32::from_le_bytes(*b"SaKp");
const VERSION: u32 = 1;

/// Pages.
pub const PAGES: usize = 2;
/// Words of the note.
const WORDS: usize = 5;

/// Most bytes of what an order says of itself.
pub const MAX_ORDER: usize = 256;
/// Words ahead of it, and of it.
const ORDER_AT: usize = 16;
const ORDER_WORDS: usize = 2 + MAX_ORDER / 4;

/// What a life of the machine says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// Nothing: the power came, and no dom0 has written yet.
    Nothing,
    /// It is in the midst of its work.
    Working,
    /// It ends by order.
    Ordered,
}

/// A note, and what came after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The note.
    pub note: Note,
    /// Starts of the selector since it was written.
    pub starts: u32,
}

impl Kept {
    /// What is in the page; nothing if the power was lost, or if whoever wrote it is not understood.
    #[must_use]
    pub fn read(page: &[AtomicU32]) -> Option<Self> {
        let words = page.first_chunk::<WORDS>()?;
        let [magic, version, note, starts, checksum] =
            words.each_ref().map(|word| word.load(Ordering::Acquire));
        let sum = sum([magic, version, note, starts]);
        let known = (magic, version, checksum) == (MAGIC, VERSION, sum);
        let note = match note {
            0 => Note::Nothing,
            1 => Note::Working,
            2 => Note::Ordered,
            _ => return None,
        };
        known.then_some(Self { note, starts })
    }

    /// Writes it. A reset at any instant leaves it, or nothing.
    pub fn write(self, page: &[AtomicU32]) {
        let Some(words) = page.first_chunk::<WORDS>() else { return };
        let note = match self.note {
            Note::Nothing => 0,
            Note::Working => 1,
            Note::Ordered => 2,
        };
        words[0].store(0, Ordering::Release);
        let all = [MAGIC, VERSION, note, self.starts];
        words[4].store(sum(all), Ordering::Release);
        for (word, value) in words.iter().zip(all).rev() {
            word.store(value, Ordering::Release);
        }
    }

    /// Counts a start in the page. Returns whether there was a note: the rest of the pages is of a life before then.
    pub fn count_start(page: &[AtomicU32]) -> bool {
        let before = Self::read(page);
        let Self { note, starts } = before.unwrap_or(Self { note: Note::Nothing, starts: 0 });
        Self { note, starts: starts.saturating_add(1) }.write(page);
        before.is_some()
    }
}

/// What the order that has ended the life before says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    bytes: [u8; MAX_ORDER],
    length: usize,
}

impl Order {
    /// What is in the page, taken away from there.
    #[must_use]
    pub fn take(page: &[AtomicU32]) -> Option<Self> {
        let [checksum, length, text @ ..] = order_words(page)?;
        let mut bytes = [0; MAX_ORDER];
        for (bytes, word) in bytes.chunks_exact_mut(4).zip(text) {
            bytes.copy_from_slice(&word.load(Ordering::Acquire).to_le_bytes());
        }
        let (checksum, length) = (checksum.swap(0, Ordering::AcqRel), length.swap(0, Ordering::AcqRel));
        let order = Self { bytes, length: usize::try_from(length).ok()? };
        let text = order.bytes.get(..order.length).filter(|text| !text.is_empty())?;
        (order_sum(length, text) == checksum).then_some(order)
    }

    /// Leaves it in the page, cut where it is longer than [`MAX_ORDER`]. Ahead of the note that there was an order.
    pub fn leave(page: &[AtomicU32], text: &[u8]) {
        let Some([checksum, length, words @ ..]) = order_words(page) else { return };
        let text = &text[..text.len().min(MAX_ORDER)];
        for (word, bytes) in words.iter().zip(text.chunks(4)) {
            let mut whole = [0; 4];
            whole[..bytes.len()].copy_from_slice(bytes);
            word.store(u32::from_le_bytes(whole), Ordering::Release);
        }
        length.store(text.len() as u32, Ordering::Release);
        checksum.store(order_sum(text.len() as u32, text), Ordering::Release);
    }

    /// Its text.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

fn order_words(page: &[AtomicU32]) -> Option<&[AtomicU32; ORDER_WORDS]> {
    page.get(ORDER_AT..)?.first_chunk()
}

const CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);

fn order_sum(length: u32, text: &[u8]) -> u32 {
    let mut digest = CRC.digest();
    digest.update(&length.to_le_bytes());
    digest.update(text);
    digest.finalize()
}

fn sum(words: [u32; WORDS - 1]) -> u32 {
    let mut digest = CRC.digest();
    for word in words {
        digest.update(&word.to_le_bytes());
    }
    digest.finalize()
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    /// A page as it is when the power comes.
    fn page() -> Vec<AtomicU32> {
        (0..1024u32).map(|word| AtomicU32::new(word.wrapping_mul(0x9e37_79b9))).collect()
    }

    #[test]
    fn what_was_written_is_read() {
        let page = page();
        assert_eq!(Kept::read(&page), None);
        for note in [Note::Nothing, Note::Working, Note::Ordered] {
            for starts in [0, 1, u32::MAX] {
                let kept = Kept { note, starts };
                kept.write(&page);
                assert_eq!(Kept::read(&page), Some(kept));
            }
        }
        Kept { note: Note::Working, starts: 3 }.write(&page);
        let bytes: Vec<u32> = page[..5].iter().map(|word| word.load(Ordering::Relaxed)).collect();
        assert_eq!(bytes, [0x704b_6153, 1, 1, 3, 0x0720_fa4f], "selector and dom0 need not be of one build");
    }

    #[test]
    fn starts_are_counted_from_the_power_on_and_from_each_note_on() {
        let page = page();
        assert!(!Kept::count_start(&page), "the power was off");
        assert_eq!(Kept::read(&page), Some(Kept { note: Note::Nothing, starts: 1 }));
        Kept { note: Note::Ordered, starts: 0 }.write(&page);
        for starts in 1..4 {
            assert!(Kept::count_start(&page));
            assert_eq!(Kept::read(&page), Some(Kept { note: Note::Ordered, starts }));
        }
        Kept { note: Note::Working, starts: u32::MAX }.write(&page);
        assert!(Kept::count_start(&page));
        assert_eq!(Kept::read(&page), Some(Kept { note: Note::Working, starts: u32::MAX }));
    }

    #[test]
    fn what_an_order_says_is_read_once_and_a_flipped_bit_leaves_nothing() {
        let page = page();
        assert_eq!(Order::take(&page), None, "memory that has lost its power");
        for text in [&b"v"[..], b"word", b"why it is", &[0xff; MAX_ORDER], &[7; MAX_ORDER + 9]] {
            Order::leave(&page, text);
            Kept { note: Note::Ordered, starts: 0 }.write(&page);
            assert!(Kept::count_start(&page), "a selector leaves the text alone");
            let taken = Order::take(&page).unwrap();
            assert_eq!(taken.text(), &text[..text.len().min(MAX_ORDER)]);
            assert_eq!(Order::take(&page), None, "it is of the last end alone");
        }
        Order::leave(&page, b"");
        assert_eq!(Order::take(&page), None);
        for bit in 0..(2 + 3) * 32 {
            Order::leave(&page, b"why it is");
            let word = &page[ORDER_AT + bit / 32];
            // The last word is not full.
            let counts = bit / 8 < 8 + 9;
            word.fetch_xor(1 << (bit % 32), Ordering::Relaxed);
            assert_eq!(Order::take(&page).is_none(), counts, "{bit}");
        }
        assert_eq!(Order::take(&page[..ORDER_AT + 4]), None);
        Order::leave(&page[..ORDER_AT + 4], b"why");
    }

    #[test]
    fn one_bit_flipped_anywhere_leaves_nothing() {
        for bit in 0..WORDS * 32 {
            let page = page();
            Kept { note: Note::Working, starts: 1 }.write(&page);
            page[bit / 32].fetch_xor(1 << (bit % 32), Ordering::Relaxed);
            assert_eq!(Kept::read(&page), None, "{bit}");
        }
        assert_eq!(Kept::read(&page()[..4]), None);
    }
}
