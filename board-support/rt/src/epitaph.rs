//! A domain's last words, in a page that dom0 can read.
//!
//! ```text
//! byte 0  magic "SaEp"     written last, so that a page without it holds nothing
//!      4  length of the text in bytes, u32 little endian
//!      8  text, UTF-8, cut at the end of the page
//! ```
//!
//! The writer is a domain that is about to end; the reader takes the page of a domain it does not
//! trust: it copies, cuts and replaces what is no text.

use alloc::string::String;
use core::{
    fmt,
    sync::atomic::{AtomicU32, Ordering},
};

pub mod order;

/// Words of the page.
pub const WORDS: usize = 1024;
/// Most bytes of text.
pub const MAX_TEXT: usize = (WORDS - TEXT_AT) * 4;

const MAGIC: u32 = u32::from_le_bytes(*b"SaEp");
const TEXT_AT: usize = 2;

/// Writes the page. Neither allocates nor fails: what does not fit is left out.
#[derive(Debug)]
pub struct Writer<'a> {
    page: &'a [AtomicU32; WORDS],
    length: usize,
    /// The bytes of the word that is not full yet.
    partial: [u8; 4],
}

impl<'a> Writer<'a> {
    /// Starts on `page`. What was there does not count any more.
    #[must_use]
    pub fn new(page: &'a [AtomicU32; WORDS]) -> Self {
        page[0].store(0, Ordering::Release);
        Self { page, length: 0, partial: [0; 4] }
    }

    /// Makes what was written so far readable. More may follow.
    pub fn publish(&self) {
        order::publish(&self.page[0], &self.page[1], self.length as u32);
    }
}

impl fmt::Write for Writer<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes().take(MAX_TEXT - self.length) {
            self.partial[self.length % 4] = byte;
            self.page[TEXT_AT + self.length / 4].store(u32::from_le_bytes(self.partial), Ordering::Relaxed);
            self.length += 1;
        }
        Ok(())
    }
}

/// The last words in `page`, if there are any. Characters that would disturb a log are replaced.
#[must_use]
pub fn read(page: &[AtomicU32; WORDS]) -> Option<String> {
    let length = order::find(&page[0], &page[1])?;
    let length = (length as usize).min(MAX_TEXT);
    let bytes = page[TEXT_AT..].iter().flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes());
    let bytes: alloc::vec::Vec<u8> = bytes.take(length).collect();
    let text = String::from_utf8_lossy(&bytes);
    Some(text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect())
}

#[cfg(test)]
mod tests {
    use core::fmt::Write;
    use std::{format, string::ToString};

    use super::*;

    fn page() -> [AtomicU32; WORDS] {
        [const { AtomicU32::new(0xdddd_dddd) }; WORDS]
    }

    #[test]
    fn what_was_written_is_read() {
        let page = page();
        assert_eq!(read(&page), None);
        let mut writer = Writer::new(&page);
        write!(writer, "PANIC at main.rs:{}", 7).unwrap();
        assert_eq!(read(&page), None);
        writer.publish();
        assert_eq!(read(&page).unwrap(), "PANIC at main.rs:7");
        write!(writer, ": ä").unwrap();
        writer.publish();
        assert_eq!(read(&page).unwrap(), "PANIC at main.rs:7: ä");
    }

    #[test]
    fn a_long_text_is_cut_at_the_end_of_the_page() {
        let page = page();
        let mut writer = Writer::new(&page);
        for _ in 0..1000 {
            writer.write_str("0123456789").unwrap();
        }
        writer.publish();
        let text = read(&page).unwrap();
        assert_eq!(text.len(), MAX_TEXT);
        assert!(text.starts_with("0123456789"));
    }

    #[test]
    fn a_lying_page_is_cut_and_cleaned() {
        let page = page();
        page[0].store(MAGIC, Ordering::Relaxed);
        page[1].store(u32::MAX, Ordering::Relaxed);
        assert_eq!(read(&page).unwrap(), "\u{fffd}".repeat(MAX_TEXT).to_string());
        page[1].store(6, Ordering::Relaxed);
        page[2].store(u32::from_le_bytes(*b"a\x1b[b"), Ordering::Relaxed);
        page[3].store(u32::from_le_bytes(*b"\nc\0\0"), Ordering::Relaxed);
        assert_eq!(read(&page).unwrap(), format!("a\u{fffd}[b\nc"));
    }
}
