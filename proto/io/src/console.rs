//! The Xen console: one page, bytes out of the guest and bytes into it.
//!
//! | offset | what | written by |
//! |---|---|---|
//! | 0 | 1024 bytes in | backend |
//! | 1024 | 2048 bytes out | frontend |
//! | 3072 | `in_cons` | frontend |
//! | 3076 | `in_prod` | backend |
//! | 3080 | `out_cons` | backend |
//! | 3084 | `out_prod` | frontend |
//! | 3088 | `connection` | backend |
//!
//! There are no event thresholds: each side tells the other after every change of an index.
//!
//! Source: `io/console.h`, `struct xencons_interface`.

use proto_ring::Words;
use proto_ring::page::{Window, Word};
use proto_ring::stream::Direction;

mod lines;

pub use lines::{Line, Lines};

/// From the guest to the backend.
pub const OUT: Direction =
    Direction { window: Window::at(1024, 2048), prod: Word::at(3084), cons: Word::at(3080), events: None };

/// From the backend to the guest.
pub const IN: Direction =
    Direction { window: Window::at(0, 1024), prod: Word::at(3076), cons: Word::at(3072), events: None };

/// One byte in Xen's header; nothing else lies in its word.
const CONNECTION: Word = Word::at(3088);

/// `XENCONSOLE_CONNECTED`.
const CONNECTED: u32 = 0;
/// `XENCONSOLE_DISCONNECTED`.
const DISCONNECTED: u32 = 1;

/// Says that nobody serves the console yet. Called by who builds the guest.
pub fn set_disconnected(words: &Words) {
    CONNECTION.publish(words, DISCONNECTED);
}

/// Says that the console is served from now on. Called by the backend.
pub fn set_connected(words: &Words) {
    CONNECTION.publish(words, CONNECTED);
}

/// Whether somebody says to serve the console. A page whose builder knows nothing of the flag reads as
/// connected.
pub fn is_connected(words: &Words) -> bool {
    CONNECTION.observe(words) & 0xff == CONNECTED
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::{AtomicU32, Ordering};
    use proto_ring::stream::{Notify, Reader, Writer};

    fn byte_of(words: &Words, offset: usize) -> u8 {
        words[offset / 4].load(Ordering::Relaxed).to_ne_bytes()[offset % 4]
    }

    /// Offsets as a C compiler gives them for `struct xencons_interface`.
    #[test]
    fn layout_is_xens() {
        let words = [const { AtomicU32::new(0) }; 1024];
        let mut out = Writer::new(OUT);
        out.stage(&words, b"out").unwrap();
        assert_eq!(out.publish(&words), Notify::Yes);
        let mut typed = Writer::new(IN);
        typed.stage(&words, b"in").unwrap();
        assert_eq!(typed.publish(&words), Notify::Yes);
        assert_eq!((byte_of(&words, 0), byte_of(&words, 1)), (b'i', b'n'));
        assert_eq!((byte_of(&words, 1024), byte_of(&words, 1026)), (b'o', b't'));
        assert_eq!((byte_of(&words, 3076), byte_of(&words, 3084)), (2, 3));
        let mut got = [0; 8];
        let mut reader = Reader::new(OUT);
        assert_eq!(reader.take(&words, &mut got), Ok(3));
        assert_eq!(reader.release(&words), Notify::Yes);
        let mut reader = Reader::new(IN);
        assert_eq!(reader.take(&words, &mut got), Ok(2));
        assert_eq!(reader.release(&words), Notify::Yes);
        assert_eq!((byte_of(&words, 3072), byte_of(&words, 3080)), (2, 3));
    }

    #[test]
    fn connection_is_the_first_byte_after_the_indices() {
        let words = [const { AtomicU32::new(0) }; 1024];
        assert!(is_connected(&words));
        set_disconnected(&words);
        assert_eq!(byte_of(&words, 3088), 1);
        assert!(!is_connected(&words));
        set_connected(&words);
        assert!(is_connected(&words));
    }
}
