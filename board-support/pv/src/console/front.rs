//! The guest's end of its console.

use board_support_hyp::Shared;
use proto_io::console::{IN, OUT};
use proto_ring::PeerFault;
use proto_ring::stream::{Reader, Writer};

use super::End;
use crate::port::Line;

/// The console as an application sees it.
#[derive(Debug)]
pub struct Front<L: Line, S: Shared> {
    end: End<L, S>,
}

impl<L: Line, S: Shared> Front<L, S> {
    /// Attaches to the console page of this domain (`HVM_PARAM_CONSOLE_PFN`), going on where an earlier user
    /// of the page, such as firmware, has stopped.
    ///
    /// # Errors
    /// A [`PeerFault`] if the indices in the page contradict each other.
    pub fn attach(line: L, page: S) -> Result<Self, PeerFault> {
        let writer = Writer::attach(OUT, page.words())?;
        let reader = Reader::attach(IN, page.words())?;
        Ok(Self { end: End { line, page, writer, reader } })
    }

    /// Writes as many bytes as there is room for and returns how many those were.
    ///
    /// # Errors
    /// A [`PeerFault`] of the backend.
    pub fn try_write(&mut self, bytes: &[u8]) -> Result<usize, PeerFault> {
        self.end.try_write(bytes)
    }

    /// Writes all bytes, waiting for room. If nobody serves the console, that is for ever: add a deadline.
    /// Dropping the future leaves written what was written.
    ///
    /// # Errors
    /// A [`PeerFault`] of the backend.
    pub async fn write_all(&mut self, bytes: &[u8]) -> Result<(), PeerFault> {
        self.end.write_all(bytes).await
    }

    /// Reads as many bytes as are there and fit.
    ///
    /// # Errors
    /// A [`PeerFault`] of the backend.
    pub fn try_read(&mut self, into: &mut [u8]) -> Result<usize, PeerFault> {
        self.end.try_read(into)
    }

    /// Waits until at least one byte was typed, and reads what is there. Dropping the future loses nothing.
    ///
    /// # Errors
    /// A [`PeerFault`] of the backend.
    pub async fn read(&mut self, into: &mut [u8]) -> Result<usize, PeerFault> {
        self.end.read(into).await
    }
}
