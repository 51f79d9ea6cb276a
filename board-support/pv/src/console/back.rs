//! dom0's end of a guest's console.

use board_support_hyp::Shared;
use proto_io::console::{IN, OUT, set_connected};
use proto_ring::PeerFault;
use proto_ring::stream::{Reader, Writer};

use super::End;
use crate::port::Line;

/// The console of one guest, served.
///
/// What the guest writes are bytes of its choice, in any number; [`Lines`](proto_io::console::Lines) makes
/// lines of bounded length of them. One read takes at most what the page holds (2048 bytes), so a guest that
/// writes without end is served in turn with others.
#[derive(Debug)]
pub struct Back<L: Line, S: Shared> {
    end: End<L, S>,
}

impl<L: Line, S: Shared> Back<L, S> {
    /// Attaches to the console page of a guest and tells the guest that it is served. Whatever the guest
    /// wrote before is read first.
    ///
    /// # Errors
    /// A [`PeerFault`] if the indices in the page contradict each other.
    pub fn attach(line: L, page: S) -> Result<Self, PeerFault> {
        let writer = Writer::attach(IN, page.words())?;
        let reader = Reader::attach(OUT, page.words())?;
        set_connected(page.words());
        Ok(Self { end: End { line, page, writer, reader } })
    }

    /// Waits until the guest has written, and reads what is there and fits. Dropping the future loses
    /// nothing.
    ///
    /// # Errors
    /// A [`PeerFault`] of the guest. The console is then to be dropped.
    pub async fn read(&mut self, into: &mut [u8]) -> Result<usize, PeerFault> {
        self.end.read(into).await
    }

    /// Reads as many bytes as are there and fit, as after the guest's end.
    ///
    /// # Errors
    /// A [`PeerFault`] of the guest.
    pub fn try_read(&mut self, into: &mut [u8]) -> Result<usize, PeerFault> {
        self.end.try_read(into)
    }

    /// Types as many bytes as there is room for. A guest that does not read its console has none, and what is
    /// typed at it is the caller's to keep or drop; waiting for it would be a guest's hold on dom0.
    ///
    /// # Errors
    /// A [`PeerFault`] of the guest.
    pub fn try_write(&mut self, bytes: &[u8]) -> Result<usize, PeerFault> {
        self.end.try_write(bytes)
    }

    /// The page, for who unmaps it.
    pub fn page(&self) -> &S {
        &self.end.page
    }
}
