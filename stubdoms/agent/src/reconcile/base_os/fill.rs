//! A payload on its way into the other slot: bytes as they come from the content server, through the decoder, to
//! storage.
//!
//! Little is held: what has come and is not decoded, one piece of what was decoded, and what storage has yet to answer
//! for. Whoever brings the bytes waits until there is room ([`Fill::take`] takes none meanwhile), so storage sets the
//! pace. All bytes are hashed, also after the decoder gave up on them: whether a broken payload is what was published
//! or was broken on its way, the hash alone tells.

use alloc::vec::Vec;

use proto_svc::storage::{MAX_PIECE, Request};
use proto_update::payload::{Claim, Decoder, PayloadError};
use sha2::{Digest, Sha256};

/// Bytes that came and are not decoded yet.
const MAX_INPUT: usize = 64 * 1024;
/// Pieces for which storage has yet to answer.
const MAX_WRITES: usize = 16;

/// How a payload that came whole is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Its hash is right; the rest of it is being written.
    Right,
    /// Its hash is another one.
    WrongHash([u8; 32]),
    /// It is what was published, and no payload.
    Unusable(PayloadError),
}

#[derive(Debug)]
pub(crate) struct Fill {
    decoder: Decoder,
    hasher: Sha256,
    /// Bytes that came.
    taken: u64,
    /// Those of them that are not decoded, from `used` on.
    input: Vec<u8>,
    used: usize,
    /// What was decoded and not written, from `written` on, and where it belongs.
    output: Vec<u8>,
    written: usize,
    offset: u64,
    /// Pieces on their way.
    writes: usize,
    /// Storage has emptied the slot.
    open: bool,
    /// All bytes have come, and are the right ones.
    whole: bool,
    error: Option<PayloadError>,
}

impl Fill {
    /// One for a slot with so many bytes.
    pub(crate) fn new(room: u64) -> Self {
        Self {
            decoder: Decoder::new(room),
            hasher: Sha256::new(),
            taken: 0,
            input: Vec::new(),
            used: 0,
            output: Vec::new(),
            written: 0,
            offset: 0,
            writes: 0,
            open: false,
            whole: false,
            error: None,
        }
    }

    /// Bytes that were taken: where it goes on.
    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }

    /// What the payload says of itself, once its head has come.
    pub(crate) fn claim(&self) -> Option<Claim> {
        self.decoder.claim()
    }

    /// The slot is empty: write.
    pub(crate) fn open(&mut self) {
        self.open = true;
    }

    /// Whether the slot is empty.
    pub(crate) fn is_open(&self) -> bool {
        self.open
    }

    /// Takes from the front of `bytes` as much as there is room for.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> usize {
        let room = MAX_INPUT.saturating_sub(self.input.len() - self.used);
        let (now, _) = bytes.split_at(bytes.len().min(room));
        self.hasher.update(now);
        self.taken += now.len() as u64;
        if self.error.is_none() {
            self.input.drain(..self.used);
            self.used = 0;
            self.input.extend_from_slice(now);
            self.decode();
        }
        now.len()
    }

    /// The last byte has come; they should have this hash.
    pub(crate) fn end(&mut self, expected: [u8; 32]) -> Ended {
        let found: [u8; 32] = core::mem::take(&mut self.hasher).finalize().into();
        if found != expected {
            return Ended::WrongHash(found);
        }
        if let Some(error) = self.error {
            return Ended::Unusable(error);
        }
        self.whole = true;
        Ended::Right
    }

    /// The next piece to write: how many bytes, and the request.
    pub(crate) fn next(&mut self) -> Option<(usize, Request)> {
        if !self.open || self.writes >= MAX_WRITES {
            return None;
        }
        self.decode();
        let rest = self.output.get(self.written..).filter(|rest| !rest.is_empty())?;
        let piece = rest.get(..rest.len().min(MAX_PIECE))?;
        let bytes = heapless::Vec::from_slice(piece).ok()?;
        let request = Request::Write { offset: self.offset, bytes };
        let count = piece.len();
        self.written += count;
        self.offset += count as u64;
        self.writes += 1;
        Some((count, request))
    }

    /// Storage has answered for a piece.
    pub(crate) fn wrote(&mut self) {
        self.writes = self.writes.saturating_sub(1);
    }

    /// Once all has come: whether all is written, and in order. `None` while something is under way.
    pub(crate) fn outcome(&mut self) -> Option<Result<(), PayloadError>> {
        if !self.whole {
            return None;
        }
        if self.open {
            self.decode();
        }
        if let Some(error) = self.error {
            return Some(Err(error));
        }
        let drained = self.written == self.output.len() && self.used == self.input.len();
        // What ends within its head never opens a slot.
        if self.claim().is_none() {
            return Some(self.decoder.finish().map(|_| ()));
        }
        (self.open && drained && self.writes == 0).then(|| self.decoder.finish().map(|_| ()))
    }

    /// Decodes until there is something to write, or nothing left to decode.
    fn decode(&mut self) {
        while self.written == self.output.len() && self.error.is_none() {
            let mut input = self.input.get(self.used..).unwrap_or_default();
            let before = input.len();
            match self.decoder.step(&mut input) {
                Ok(piece) => {
                    self.used += before - input.len();
                    self.output.clear();
                    self.written = 0;
                    self.offset = piece.offset;
                    self.output.extend_from_slice(piece.bytes);
                    if piece.bytes.is_empty() && input.len() == before {
                        return;
                    }
                    // The contents wait until the slot is empty.
                    if !self.open && self.decoder.claim().is_some() {
                        return;
                    }
                }
                Err(error) => {
                    self.error = Some(error);
                    self.input = Vec::new();
                    self.used = 0;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
