//! The back end of a request ring: takes requests, puts responses.

use crate::fault::PeerFault;
use crate::index::{Index, passes};
use crate::page::Words;
use crate::slots::{REQ_EVENT, REQ_PROD, RSP_EVENT, RSP_PROD, Slots};
use crate::stream::Notify;
use crate::sync::{fence_armed, fence_published};

/// The back end of a ring whose slots have `SLOT` bytes.
#[derive(Debug)]
pub struct Back<const SLOT: usize> {
    req_cons: Index,
    /// The last `req_prod` that the frontend showed and that was found good.
    req_seen: Index,
    /// Responses written, `rsp_prod_pvt` in `io/ring.h`.
    staged: Index,
    rsp_prod: Index,
}

impl<const SLOT: usize> Back<SLOT> {
    /// Slots in the ring, and the most requests that one pass should handle.
    pub const NR_ENTS: u32 = Slots::<SLOT>::NR_ENTS;

    /// The back end of a ring that its frontend has just made.
    pub fn new() -> Self {
        Self::starting_at(Index::new(0))
    }

    /// The back end of a ring on which both ends stand at `index`.
    pub fn starting_at(index: Index) -> Self {
        Self { req_cons: index, req_seen: index, staged: index, rsp_prod: index }
    }

    /// Requests that can be taken now.
    ///
    /// # Errors
    /// [`PeerFault::ProducerOutOfRange`] if more requests are outstanding than the ring has slots,
    /// [`PeerFault::ProducerMovedBack`] if requests were withdrawn.
    pub fn requests(&mut self, words: &Words) -> Result<u32, PeerFault> {
        // Acquire: the requests that the index covers are visible after it.
        let prod = Index::new(REQ_PROD.observe(words));
        let pending = prod.since(self.req_cons);
        // Both are ours, and requests in flight never exceed `NR_ENTS`.
        let room = Self::NR_ENTS - self.in_flight();
        if pending > room {
            return Err(PeerFault::ProducerOutOfRange { pending, room });
        }
        let seen = self.req_seen.since(self.req_cons);
        if pending < seen {
            return Err(PeerFault::ProducerMovedBack { pending, seen });
        }
        self.req_seen = prod;
        Ok(pending)
    }

    /// Copies the next request out of the page. `Ok(false)` means that none is queued.
    ///
    /// # Errors
    /// As [`requests`](Self::requests).
    pub fn take(&mut self, words: &Words, request: &mut [u8; SLOT]) -> Result<bool, PeerFault> {
        if self.requests(words)? == 0 {
            return Ok(false);
        }
        Slots::copy_out(words, self.req_cons, request);
        self.req_cons = self.req_cons.plus(1);
        Ok(true)
    }

    /// Requests taken and not answered.
    pub fn in_flight(&self) -> u32 {
        self.req_cons.since(self.staged)
    }

    /// Writes a response, into the slot of the oldest request that has none. The frontend sees it after
    /// [`push`](Self::push).
    ///
    /// # Panics
    /// If every request taken was answered: each response answers a request, which is our own invariant.
    pub fn put(&mut self, words: &Words, response: &[u8; SLOT]) {
        assert!(self.in_flight() > 0, "a response answers a request that was taken");
        Slots::copy_in(words, self.staged, response);
        self.staged = self.staged.plus(1);
    }

    /// Shows the responses written to the frontend.
    pub fn push(&mut self, words: &Words) -> Notify {
        let old = self.rsp_prod;
        if old == self.staged {
            return Notify::No;
        }
        self.rsp_prod = self.staged;
        // Release: the responses are visible before the index that covers them, and our copies of the
        // requests were made before their slots can be reused.
        RSP_PROD.publish(words, self.rsp_prod.raw());
        // Full fence: the index is visible before we look at the frontend's threshold. Without it the
        // frontend could arm the threshold, miss the index and sleep, while we read the one of before.
        fence_published();
        Notify::when(passes(old, self.rsp_prod, Index::new(RSP_EVENT.load(words))))
    }

    /// Asks to be told of the next request, and looks once more: `Ok(true)` means that there is one already
    /// and that there is no reason to sleep.
    ///
    /// # Errors
    /// As [`requests`](Self::requests).
    pub fn await_request(&mut self, words: &Words) -> Result<bool, PeerFault> {
        REQ_EVENT.store(words, self.req_cons.plus(1).raw());
        // Full fence: the threshold is visible before the last look. Without it the frontend could publish,
        // miss the threshold and send nothing, while we see the index of before.
        fence_armed();
        Ok(self.requests(words)? > 0)
    }
}

impl<const SLOT: usize> Default for Back<SLOT> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
