//! Messages on a stream: a length of 16 bits, little-endian, then that many bytes.

use crate::fault::PeerFault;
use crate::index::Index;
use crate::page::Words;
use crate::stream::{Notify, Reader, Writer};

/// The longest payload of a message in bytes.
pub const MAX_PAYLOAD: usize = 1000;

/// Bytes ahead of the payload.
pub const HEADER: usize = 2;

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Sent {
    /// It is in the page.
    Whole(Notify),
    /// There is no room for it yet.
    NoRoom,
    /// It is longer than [`MAX_PAYLOAD`].
    TooLong,
}

/// Puts whole messages on a stream.
#[derive(Debug)]
pub struct FrameWriter {
    writer: Writer,
}

impl FrameWriter {
    /// Messages on this stream.
    pub fn new(writer: Writer) -> Self {
        Self { writer }
    }

    /// Sends a message whole or not at all.
    ///
    /// # Errors
    /// As [`Writer::room`].
    pub fn send(&mut self, words: &Words, payload: &[u8]) -> Result<Sent, PeerFault> {
        let Some(length) = length_of(payload) else { return Ok(Sent::TooLong) };
        if (self.writer.room(words)? as usize) < HEADER + payload.len() {
            return Ok(Sent::NoRoom);
        }
        // Nobody but us takes room away, so both fit. The consumer index is looked at again, which can
        // only make more room or be a fault.
        self.writer.stage(words, &length.to_le_bytes())?;
        self.writer.stage(words, payload)?;
        Ok(Sent::Whole(self.writer.publish(words)))
    }

    /// Where the reader stands when it has taken everything that was sent; compare with
    /// [`Side::taken_of`](crate::channel::Side::taken_of).
    pub fn end(&self) -> Index {
        self.writer.end()
    }

    /// Asks to be told when a message of this length fits. `Ok(true)`: it fits already.
    ///
    /// # Errors
    /// As [`Writer::room`].
    pub fn await_room(&mut self, words: &Words, payload_bytes: usize) -> Result<bool, PeerFault> {
        let need = HEADER + payload_bytes.min(MAX_PAYLOAD);
        self.writer.await_room(words, need as u32)
    }
}

fn length_of(payload: &[u8]) -> Option<u16> {
    if payload.len() > MAX_PAYLOAD { None } else { u16::try_from(payload.len()).ok() }
}

/// Takes whole messages off a stream.
#[derive(Debug)]
pub struct FrameReader {
    reader: Reader,
    /// Payload length of the message whose header was taken.
    expected: Option<u16>,
}

impl FrameReader {
    /// Messages on this stream.
    pub fn new(reader: Reader) -> Self {
        Self { reader, expected: None }
    }

    /// Takes the next message, if it is there whole, and returns its length in bytes.
    ///
    /// The header is copied once and remembered, so a peer that rewrites it later changes nothing.
    ///
    /// # Errors
    /// [`PeerFault::FrameTooLong`], and as [`Reader::available`].
    pub fn receive(
        &mut self,
        words: &Words,
        into: &mut [u8; MAX_PAYLOAD],
    ) -> Result<Option<(usize, Notify)>, PeerFault> {
        let Some(length) = self.header(words)? else { return Ok(None) };
        // `header` has compared it with the size of `into`.
        let payload = &mut into[..usize::from(length)];
        if (self.reader.available(words)? as usize) < payload.len() {
            return Ok(None);
        }
        self.reader.take(words, payload)?;
        self.expected = None;
        Ok(Some((payload.len(), self.reader.release(words))))
    }

    /// Asks to be told when more of the next message is there. `Ok(true)`: it is there whole already.
    ///
    /// # Errors
    /// As [`receive`](Self::receive).
    pub fn await_data(&mut self, words: &Words) -> Result<bool, PeerFault> {
        loop {
            let need = self.expected.map_or(HEADER, usize::from);
            if !self.reader.await_data(words, need as u32)? {
                return Ok(false);
            }
            if self.expected.is_some() || self.header(words)?.is_none() {
                return Ok(true);
            }
        }
    }

    fn header(&mut self, words: &Words) -> Result<Option<u16>, PeerFault> {
        if let Some(length) = self.expected {
            return Ok(Some(length));
        }
        if (self.reader.available(words)? as usize) < HEADER {
            return Ok(None);
        }
        let mut header = [0; HEADER];
        self.reader.take(words, &mut header)?;
        let length = u16::from_le_bytes(header);
        if usize::from(length) > MAX_PAYLOAD {
            return Err(PeerFault::FrameTooLong { length, max: MAX_PAYLOAD as u16 });
        }
        self.expected = Some(length);
        Ok(Some(length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::{DOWN, Side, UP};
    use crate::page::test_page;
    use std::vec;

    #[test]
    fn messages_of_all_lengths_arrive_whole() {
        let page = test_page();
        let start = Index::new(u32::MAX - 700);
        // A page whose indices are about to wrap.
        DOWN.prod.store(&page, start.raw());
        DOWN.cons.store(&page, start.raw());
        let mut writer = FrameWriter::new(Writer::starting_at(DOWN, start));
        let mut reader = FrameReader::new(Reader::starting_at(DOWN, start));
        let mut got = [0; MAX_PAYLOAD];
        // Miri takes a thousand times as long.
        let every = if cfg!(miri) { 97 } else { 1 };
        for length in (0..=MAX_PAYLOAD).step_by(every).chain([1, 0, MAX_PAYLOAD]) {
            let payload = vec![length as u8; length];
            assert!(matches!(writer.send(&page, &payload), Ok(Sent::Whole(_))), "length {length}");
            let (count, _) = reader.receive(&page, &mut got).unwrap().unwrap();
            assert_eq!(&got[..count], &payload[..]);
            assert_eq!(reader.receive(&page, &mut got), Ok(None));
        }
    }

    #[test]
    fn message_waits_for_room_and_is_never_torn() {
        let page = test_page();
        let mut writer = FrameWriter::new(Writer::new(DOWN));
        let mut reader = FrameReader::new(Reader::new(DOWN));
        assert!(matches!(writer.send(&page, &[1; 1000]), Ok(Sent::Whole(_))));
        assert_eq!(writer.send(&page, &[2; 100]), Ok(Sent::NoRoom));
        assert_eq!(writer.await_room(&page, 100), Ok(false));
        let mut got = [0; MAX_PAYLOAD];
        let (count, notify) = reader.receive(&page, &mut got).unwrap().unwrap();
        assert_eq!((count, notify), (1000, Notify::Yes));
        assert_eq!(writer.await_room(&page, 100), Ok(true));
        assert!(matches!(writer.send(&page, &[2; 100]), Ok(Sent::Whole(_))));
    }

    #[test]
    fn what_the_reader_has_not_taken_shows() {
        let page = test_page();
        let mut writer = FrameWriter::new(Writer::new(DOWN));
        let mut reader = FrameReader::new(Reader::new(DOWN));
        assert_eq!(Side::Upper.taken_of(&page), writer.end());
        assert!(matches!(writer.send(&page, b"one"), Ok(Sent::Whole(_))));
        assert!(matches!(writer.send(&page, b"two"), Ok(Sent::Whole(_))));
        let mut got = [0; MAX_PAYLOAD];
        for unread in [true, true, false] {
            assert_eq!(Side::Upper.taken_of(&page) != writer.end(), unread);
            reader.receive(&page, &mut got).unwrap();
        }
        // The other direction is another matter.
        assert_eq!(Side::Lower.taken_of(&page), Index::new(0));
    }

    #[test]
    fn too_long_a_message_is_ours_to_refuse() {
        let page = test_page();
        let mut writer = FrameWriter::new(Writer::new(UP));
        assert_eq!(writer.send(&page, &[0; MAX_PAYLOAD + 1]), Ok(Sent::TooLong));
    }

    #[test]
    fn length_beyond_the_limit_is_a_peer_fault() {
        let page = test_page();
        let mut raw = Writer::new(UP);
        raw.stage(&page, &1001_u16.to_le_bytes()).unwrap();
        let _ = raw.publish(&page);
        let mut reader = FrameReader::new(Reader::new(UP));
        let mut got = [0; MAX_PAYLOAD];
        let fault = PeerFault::FrameTooLong { length: 1001, max: 1000 };
        assert_eq!(reader.receive(&page, &mut got), Err(fault));
    }

    #[test]
    fn header_rewritten_after_it_was_read_changes_nothing() {
        let page = test_page();
        let mut raw = Writer::new(UP);
        raw.stage(&page, &[4, 0, b'a', b'b']).unwrap();
        let _ = raw.publish(&page);
        let mut reader = FrameReader::new(Reader::new(UP));
        let mut got = [0; MAX_PAYLOAD];
        assert_eq!(reader.receive(&page, &mut got), Ok(None));
        UP.window.copy_in(&page, Index::new(0), &[0xff, 0xff]);
        raw.stage(&page, b"cd").unwrap();
        let _ = raw.publish(&page);
        let (count, _) = reader.receive(&page, &mut got).unwrap().unwrap();
        assert_eq!(&got[..count], b"abcd");
    }

    #[test]
    fn reader_of_a_half_message_is_told_when_it_is_whole() {
        let page = test_page();
        let mut raw = Writer::new(UP);
        let mut reader = FrameReader::new(Reader::new(UP));
        assert_eq!(reader.await_data(&page), Ok(false));
        raw.stage(&page, &[3]).unwrap();
        assert_eq!(raw.publish(&page), Notify::No);
        raw.stage(&page, &[0, 1]).unwrap();
        assert_eq!(raw.publish(&page), Notify::Yes);
        assert_eq!(reader.await_data(&page), Ok(false));
        raw.stage(&page, &[2]).unwrap();
        assert_eq!(raw.publish(&page), Notify::No);
        raw.stage(&page, &[3]).unwrap();
        assert_eq!(raw.publish(&page), Notify::Yes);
        assert_eq!(reader.await_data(&page), Ok(true));
    }
}
