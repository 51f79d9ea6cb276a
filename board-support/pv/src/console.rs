//! The two ends of a Xen console.
//!
//! Both ends are one machine with the directions swapped: [`End`]. There are no event thresholds in this
//! protocol, so each end tells the other after every change and looks before it sleeps.

use core::future::poll_fn;
use core::task::{Context, Poll};

use board_support_hyp::Shared;
use proto_ring::PeerFault;
use proto_ring::stream::{Notify, Reader, Writer};

use crate::port::Line;

pub mod back;
pub mod front;

/// One end of a console: bytes to the other end, bytes from it.
#[derive(Debug)]
struct End<L: Line, S: Shared> {
    line: L,
    page: S,
    writer: Writer,
    reader: Reader,
}

impl<L: Line, S: Shared> End<L, S> {
    /// Writes as many bytes as there is room for.
    fn try_write(&mut self, bytes: &[u8]) -> Result<usize, PeerFault> {
        let count = self.writer.stage(self.page.words(), bytes)?;
        let notify = self.writer.publish(self.page.words());
        self.tell(notify);
        Ok(count)
    }

    /// Reads as many bytes as are there and fit.
    fn try_read(&mut self, into: &mut [u8]) -> Result<usize, PeerFault> {
        let count = self.reader.take(self.page.words(), into)?;
        let notify = self.reader.release(self.page.words());
        self.tell(notify);
        Ok(count)
    }

    async fn write_all(&mut self, bytes: &[u8]) -> Result<(), PeerFault> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let count = poll_fn(|cx| self.poll_write(rest, cx)).await?;
            rest = &rest[count..];
        }
        Ok(())
    }

    async fn read(&mut self, into: &mut [u8]) -> Result<usize, PeerFault> {
        poll_fn(|cx| self.poll_read(into, cx)).await
    }

    fn poll_write(&mut self, bytes: &[u8], cx: &mut Context<'_>) -> Poll<Result<usize, PeerFault>> {
        self.poll_progress(cx, |end| end.try_write(bytes))
    }

    fn poll_read(&mut self, into: &mut [u8], cx: &mut Context<'_>) -> Poll<Result<usize, PeerFault>> {
        if into.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.poll_progress(cx, |end| end.try_read(into))
    }

    /// Tries until some bytes moved or there is nothing more to look at. A peer that raises the port all the
    /// time gets one more try and then waits its turn.
    fn poll_progress(
        &mut self,
        cx: &mut Context<'_>,
        mut attempt: impl FnMut(&mut Self) -> Result<usize, PeerFault>,
    ) -> Poll<Result<usize, PeerFault>> {
        for _ in 0..2 {
            match attempt(self) {
                Ok(0) => {}
                done => return Poll::Ready(done),
            }
            if self.line.poll_look(cx).is_pending() {
                // What came before the port was asked is found by this last look; what comes after it wakes
                // us.
                return match attempt(self) {
                    Ok(0) => Poll::Pending,
                    done => Poll::Ready(done),
                };
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn tell(&self, notify: Notify) {
        if notify.wanted() {
            // A port that does not work has nobody behind it to be told.
            let _ = self.line.notify();
        }
    }
}

#[cfg(test)]
mod tests;
