//! The end of a channel that owns its page, written by hand: what an honest end never writes.

use core::sync::atomic::Ordering::{Relaxed, Release};

use board_support_hyp::{EventChannels, Shared, Xen};
use board_support_rt::memory::SpecialPage;
use proto_ring::{
    channel::{Side, UP},
    stream::Writer,
};
use proto_svc::{MAX_MESSAGE, Message, encode};
use proto_xen::Port;

/// The word of the page that holds the producer of what we write. Source: `proto_ring::channel`.
const PROD: usize = 64 / 4;
/// That of the consumer of what the peer writes.
const CONS: usize = 256 / 4;

/// The page, and how much of it is written.
pub(crate) struct Pen {
    page: SpecialPage,
    port: Port,
    writer: Writer,
}

impl Pen {
    /// Goes on where an honest end stopped, which writes nothing any more. `None` if the page is in disorder.
    pub(crate) fn take_over(page: SpecialPage, port: Port) -> Option<Self> {
        Some(Self { page, port, writer: Writer::attach(UP, page.words()).ok()? })
    }

    /// Whether the peer has closed its end.
    pub(crate) fn is_closed(&self) -> bool {
        Side::Upper.is_closed(self.page.words())
    }

    /// Bytes, as they are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.write(bytes);
        // The event goes out either way.
        let _ = self.writer.publish(self.page.words());
        self.bell();
    }

    /// A frame of this length, as frames are, if there is room for all of it.
    pub(crate) fn frame(&mut self, payload: &[u8]) {
        let length = (payload.len() as u16).to_le_bytes();
        if self.room() >= length.len() + payload.len() {
            self.write(&length);
            self.write(payload);
        }
        self.bytes(&[]);
    }

    /// A message as it should be.
    pub(crate) fn message<M: Message>(&mut self, message: &M) {
        let mut buffer = [0; MAX_MESSAGE];
        // Those that are sent here are short.
        self.frame(encode(message, &mut buffer).unwrap_or_default());
    }

    /// Moves our producer, without a byte to show for it.
    pub(crate) fn announce(&self, bytes: i32) {
        self.shift(PROD, bytes);
    }

    /// Says that we have read so much more than there was.
    pub(crate) fn claim(&self, bytes: i32) {
        self.shift(CONS, bytes);
    }

    /// Says that our end is closed.
    pub(crate) fn close(&self) {
        Side::Lower.close(self.page.words());
        self.bell();
    }

    /// Raises the peer.
    pub(crate) fn bell(&self) {
        // It answers nothing that matters here: the port may be closed by now.
        let _ = Xen.send(self.port);
    }

    fn shift(&self, word: usize, by: i32) {
        let word = &self.page.words()[word];
        word.store(word.load(Relaxed).wrapping_add_signed(by), Release);
        self.bell();
    }

    fn room(&mut self) -> usize {
        self.writer.room(self.page.words()).unwrap_or(0) as usize
    }

    fn write(&mut self, bytes: &[u8]) {
        if self.room() >= bytes.len() {
            // There is room, so all of them go.
            let _ = self.writer.stage(self.page.words(), bytes);
        }
    }
}
