//! The front end of a request ring: puts requests, takes responses.

use crate::fault::PeerFault;
use crate::index::{Index, passes};
use crate::page::{Words, zero};
use crate::slots::{REQ_EVENT, REQ_PROD, RSP_EVENT, RSP_PROD, Slots};
use crate::stream::Notify;
use crate::sync::{fence_armed, fence_published};

/// The ring has no free slot: take responses first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingFull;

/// The front end of a ring whose slots have `SLOT` bytes.
///
/// Which identifiers are outstanding is the owner's to know: the ring hands out what the backend wrote, and
/// the owner checks it against its own table ([`PeerFault::UnknownId`]).
#[derive(Debug)]
pub struct Front<const SLOT: usize> {
    /// Requests written, `req_prod_pvt` in `io/ring.h`.
    staged: Index,
    req_prod: Index,
    rsp_cons: Index,
    /// The last `rsp_prod` that the backend showed and that was found good.
    rsp_seen: Index,
}

impl<const SLOT: usize> Front<SLOT> {
    /// Slots in the ring.
    pub const NR_ENTS: u32 = Slots::<SLOT>::NR_ENTS;

    /// Makes the page an empty ring. The backend does not know of it yet.
    pub fn initialise(words: &Words) -> Self {
        zero(words);
        REQ_EVENT.store(words, 1);
        RSP_EVENT.store(words, 1);
        Self::starting_at(Index::new(0))
    }

    /// The front end of a ring on which both ends stand at `index`.
    pub fn starting_at(index: Index) -> Self {
        Self { staged: index, req_prod: index, rsp_cons: index, rsp_seen: index }
    }

    /// Slots free for requests.
    pub fn free(&self) -> u32 {
        Self::NR_ENTS - self.staged.since(self.rsp_cons)
    }

    /// The index of the slot that the next request goes into.
    pub fn next(&self) -> Index {
        self.staged
    }

    /// Writes a request. The backend sees it after [`push`](Self::push).
    ///
    /// # Errors
    /// [`RingFull`] if as many requests are outstanding as the ring has slots.
    pub fn put(&mut self, words: &Words, request: &[u8; SLOT]) -> Result<(), RingFull> {
        if self.free() == 0 {
            return Err(RingFull);
        }
        Slots::copy_in(words, self.staged, request);
        self.staged = self.staged.plus(1);
        Ok(())
    }

    /// Shows the requests written to the backend.
    pub fn push(&mut self, words: &Words) -> Notify {
        let old = self.req_prod;
        if old == self.staged {
            return Notify::No;
        }
        self.req_prod = self.staged;
        // Release: the requests are visible before the index that covers them.
        REQ_PROD.publish(words, self.req_prod.raw());
        // Full fence: the index is visible before we look at the backend's threshold. Without it the
        // backend could arm the threshold, miss the index and sleep, while we read the threshold of before.
        fence_published();
        Notify::when(passes(old, self.req_prod, Index::new(REQ_EVENT.load(words))))
    }

    /// Responses that can be taken now.
    ///
    /// # Errors
    /// [`PeerFault::ProducerOutOfRange`] if there are more responses than requests,
    /// [`PeerFault::ProducerMovedBack`] if responses were withdrawn.
    pub fn responses(&mut self, words: &Words) -> Result<u32, PeerFault> {
        // Acquire: the responses that the index covers are visible after it.
        let prod = Index::new(RSP_PROD.observe(words));
        let pending = prod.since(self.rsp_cons);
        let room = self.req_prod.since(self.rsp_cons);
        if pending > room {
            return Err(PeerFault::ProducerOutOfRange { pending, room });
        }
        let seen = self.rsp_seen.since(self.rsp_cons);
        if pending < seen {
            return Err(PeerFault::ProducerMovedBack { pending, seen });
        }
        self.rsp_seen = prod;
        Ok(pending)
    }

    /// Copies the next response out of the page and returns the index of its slot: for protocols in which a
    /// response answers the request that stood in its slot. `Ok(None)` means that there is none.
    ///
    /// # Errors
    /// As [`responses`](Self::responses).
    pub fn take(&mut self, words: &Words, response: &mut [u8; SLOT]) -> Result<Option<Index>, PeerFault> {
        if self.responses(words)? == 0 {
            return Ok(None);
        }
        let at = self.rsp_cons;
        Slots::copy_out(words, at, response);
        self.rsp_cons = at.plus(1);
        Ok(Some(at))
    }

    /// Asks to be told of the next response, and looks once more: `Ok(true)` means that there is one
    /// already and that there is no reason to sleep.
    ///
    /// # Errors
    /// As [`responses`](Self::responses).
    pub fn await_response(&mut self, words: &Words) -> Result<bool, PeerFault> {
        RSP_EVENT.store(words, self.rsp_cons.plus(1).raw());
        // Full fence: the threshold is visible before the last look. Without it the backend could publish,
        // miss the threshold and send nothing, while we see the index of before.
        fence_armed();
        Ok(self.responses(words)? > 0)
    }
}
