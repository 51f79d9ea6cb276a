//! The page of a channel between two of our domains: two byte streams, and who is still there.
//!
//! | offset | word | written by |
//! |---|---|---|
//! | 0 | magic | lower |
//! | 4 | layout version | lower |
//! | 64 | `up_prod`, `up_room_event` | lower |
//! | 128 | `up_cons`, `up_data_event` | upper |
//! | 192 | `down_prod`, `down_room_event` | upper |
//! | 256 | `down_cons`, `down_data_event` | lower |
//! | 320 | `lower_closed` | lower |
//! | 384 | `upper_closed` | upper |
//! | 1024 | 1024 bytes down | upper |
//! | 2048 | 2048 bytes up | lower |
//!
//! The *lower* end owns the page: the domain, on its channel to dom0, and the offering one of two services.
//! The *upper* end maps it. "Up" runs from lower to upper. The lower end initialises the page and stores the
//! magic last; a page without magic is one whose owner has not come that far.

use crate::fault::PeerFault;
use crate::index::Index;
use crate::page::{Window, Word, Words, zero};
use crate::stream::{Direction, Events, Reader, Writer};

/// The first word of an initialised page: "SrsC" in memory.
pub const MAGIC: u32 = u32::from_le_bytes(*b"SrsC");

/// The layout described above.
pub const VERSION: u32 = 1;

const MAGIC_WORD: Word = Word::at(0);
const VERSION_WORD: Word = Word::at(4);
const LOWER_CLOSED: Word = Word::at(320);
const UPPER_CLOSED: Word = Word::at(384);

/// From the lower end to the upper end.
pub const UP: Direction = Direction {
    window: Window::at(2048, 2048),
    prod: Word::at(64),
    cons: Word::at(128),
    events: Some(Events { data: Word::at(132), room: Word::at(68) }),
};

/// From the upper end to the lower end.
pub const DOWN: Direction = Direction {
    window: Window::at(1024, 1024),
    prod: Word::at(192),
    cons: Word::at(256),
    events: Some(Events { data: Word::at(260), room: Word::at(196) }),
};

/// An end of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Owns the page, initialises it, writes up.
    Lower,
    /// Maps the page, writes down.
    Upper,
}

impl Side {
    /// The other end.
    pub fn peer(self) -> Self {
        match self {
            Self::Lower => Self::Upper,
            Self::Upper => Self::Lower,
        }
    }

    /// The two streams of this end, on a page fresh from [`initialise`].
    pub fn streams(self) -> (Writer, Reader) {
        match self {
            Self::Lower => (Writer::new(UP), Reader::new(DOWN)),
            Self::Upper => (Writer::new(DOWN), Reader::new(UP)),
        }
    }

    /// How far the peer says that it has taken what this end wrote. Its word: of use to see whether it reads,
    /// and checked by [`Writer`] before anything is written on the strength of it.
    pub fn taken_of(self, words: &Words) -> Index {
        let direction = match self {
            Self::Lower => UP,
            Self::Upper => DOWN,
        };
        Index::new(direction.cons.observe(words))
    }

    fn closed_word(self) -> Word {
        match self {
            Self::Lower => LOWER_CLOSED,
            Self::Upper => UPPER_CLOSED,
        }
    }

    /// Tells the peer that this end is gone. The peer is to be sent an event after it.
    pub fn close(self, words: &Words) {
        // Release: what was published before is visible with the flag, so the peer drains it first.
        self.closed_word().publish(words, 1);
    }

    /// Whether this end said that it is gone.
    pub fn is_closed(self, words: &Words) -> bool {
        self.closed_word().observe(words) != 0
    }
}

/// What the upper end finds in a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// The owner has initialised it and nobody has used the upper end since.
    Ready,
    /// The owner has not initialised it, or an earlier upper end (which died) used it: wait for an event.
    NotYet,
}

/// Makes the page a fresh channel. Called by the lower end, while no upper end works on it.
pub fn initialise(words: &Words) {
    zero(words);
    // The first byte is worth an event, as for rings in `io/ring.h`.
    for direction in [UP, DOWN] {
        if let Some(events) = direction.events {
            events.data.store(words, 1);
        }
    }
    VERSION_WORD.store(words, VERSION);
    // Release: who sees the magic sees the rest.
    MAGIC_WORD.publish(words, MAGIC);
}

/// Looks whether the lower end has made the page ready. Called by the upper end before its first use.
///
/// # Errors
/// [`PeerFault::BadMagic`] and [`PeerFault::BadVersion`] if there is something else in the page.
pub fn inspect(words: &Words) -> Result<Readiness, PeerFault> {
    match MAGIC_WORD.observe(words) {
        0 => return Ok(Readiness::NotYet),
        MAGIC => {}
        found => return Err(PeerFault::BadMagic { found }),
    }
    let found = VERSION_WORD.load(words);
    if found != VERSION {
        return Err(PeerFault::BadVersion { found, known: VERSION });
    }
    // The words that only an upper end writes are zero in a fresh page.
    let used = [UP.cons, DOWN.prod, UPPER_CLOSED].iter().any(|word| word.load(words) != 0);
    Ok(if used { Readiness::NotYet } else { Readiness::Ready })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::test_page;

    #[test]
    fn page_is_ready_once_initialised_and_not_after_use() {
        let page = test_page();
        assert_eq!(inspect(&page), Ok(Readiness::NotYet));
        initialise(&page);
        assert_eq!(inspect(&page), Ok(Readiness::Ready));
        let (mut writer, _) = Side::Upper.streams();
        assert_eq!(writer.stage(&page, b"x"), Ok(1));
        assert!(writer.publish(&page).wanted());
        assert_eq!(inspect(&page), Ok(Readiness::NotYet));
        initialise(&page);
        assert_eq!(inspect(&page), Ok(Readiness::Ready));
    }

    #[test]
    fn strange_pages_are_faults() {
        let page = test_page();
        initialise(&page);
        VERSION_WORD.store(&page, 7);
        assert_eq!(inspect(&page), Err(PeerFault::BadVersion { found: 7, known: VERSION }));
        MAGIC_WORD.store(&page, 0xdead_beef);
        assert_eq!(inspect(&page), Err(PeerFault::BadMagic { found: 0xdead_beef }));
    }

    #[test]
    fn closed_flags_are_one_for_each_end() {
        let page = test_page();
        initialise(&page);
        Side::Lower.close(&page);
        assert!(Side::Lower.is_closed(&page));
        assert!(!Side::Lower.peer().is_closed(&page));
    }

    #[test]
    fn both_directions_carry_bytes() {
        let page = test_page();
        initialise(&page);
        let (mut up, mut from_upper) = Side::Lower.streams();
        let (mut down, mut from_lower) = Side::Upper.streams();
        assert_eq!(up.stage(&page, &[1; 4096]), Ok(2048));
        assert_eq!(down.stage(&page, &[2; 4096]), Ok(1024));
        assert!(up.publish(&page).wanted());
        assert!(down.publish(&page).wanted());
        let mut got = [0; 4096];
        assert_eq!(from_lower.take(&page, &mut got), Ok(2048));
        assert!(got[..2048].iter().all(|&byte| byte == 1));
        assert_eq!(from_upper.take(&page, &mut got), Ok(1024));
        assert!(got[..1024].iter().all(|&byte| byte == 2));
        // The whole window was used and the header was not touched.
        assert!(!Side::Lower.is_closed(&page) && !Side::Upper.is_closed(&page));
    }
}
