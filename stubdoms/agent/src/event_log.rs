//! The event log, put together of the pieces in which dom0 gives it.

use alloc::vec::Vec;

use proto_eve::attest::MAX_EVENT_LOG;

/// What is there of the log.
#[derive(Debug, Default)]
pub struct EventLogPieces {
    bytes: Vec<u8>,
}

/// What a piece leads to.
#[derive(Debug, PartialEq, Eq)]
pub enum EventLogStep {
    /// Ask for the piece that begins here.
    Ask(u32),
    /// This is the log; empty if there is none, or one that is longer than any controller takes.
    Whole(Vec<u8>),
}

impl EventLogPieces {
    /// The log is asked for from its beginning, which is at 0.
    pub fn begin(&mut self) {
        self.bytes.clear();
    }

    /// A piece has come: bytes that there are in all, where it begins, and it. A log that grows meanwhile is read
    /// to its new end.
    pub fn take(&mut self, total: u32, offset: u32, piece: &[u8]) -> EventLogStep {
        let room = usize::try_from(total).is_ok_and(|total| total <= MAX_EVENT_LOG);
        if !room || self.bytes.len() + piece.len() > MAX_EVENT_LOG {
            self.bytes.clear();
            return EventLogStep::Whole(Vec::new());
        }
        // Anything but the next piece is no part of it.
        if u32::try_from(self.bytes.len()) == Ok(offset) {
            self.bytes.extend_from_slice(piece);
        }
        match u32::try_from(self.bytes.len()) {
            Ok(have) if have < total && !piece.is_empty() => EventLogStep::Ask(have),
            _ => EventLogStep::Whole(core::mem::take(&mut self.bytes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    #[test]
    fn pieces_make_the_log() {
        let mut log = EventLogPieces::default();
        assert_eq!(log.take(0, 0, b""), EventLogStep::Whole(vec![]));
        assert_eq!(log.take(5, 0, b"ab"), EventLogStep::Ask(2));
        // It has grown, and a piece came twice.
        assert_eq!(log.take(6, 0, b"ab"), EventLogStep::Ask(2));
        assert_eq!(log.take(6, 2, b"cdef"), EventLogStep::Whole(b"abcdef".to_vec()));
        assert_eq!(log.take(3, 0, b"xyz"), EventLogStep::Whole(b"xyz".to_vec()));
    }

    #[test]
    fn a_dom0_that_does_not_keep_to_it_ends_the_log() {
        let mut log = EventLogPieces::default();
        assert_eq!(log.take(u32::MAX, 0, b"ab"), EventLogStep::Whole(vec![]));
        assert_eq!(log.take(9, 0, b"ab"), EventLogStep::Ask(2));
        assert_eq!(log.take(9, 2, b""), EventLogStep::Whole(b"ab".to_vec()));
        let piece = vec![0; MAX_EVENT_LOG];
        assert_eq!(log.take(9, 0, &piece), EventLogStep::Whole(piece.clone()));
        log.begin();
        assert_eq!(log.take(9, 0, &vec![0; MAX_EVENT_LOG + 1]), EventLogStep::Whole(vec![]));
    }
}
