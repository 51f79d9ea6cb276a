//! One direction of a byte stream on a shared page: a window of bytes, a producer and a consumer index.
//!
//! ```text
//!            writer                          page                          reader
//!   stage bytes, publish prod  --->  prod | bytes | cons  <---  take bytes, release cons
//!   arm room_event, look again       room_event  data_event     arm data_event, look again
//! ```
//!
//! Each word has one writer: `prod` and `room_event` belong to the writing end, `cons` and `data_event` to
//! the reading end. A threshold is the index value at which its owner wants to be told; it needs no clearing,
//! because an index passes it once. Streams without thresholds (Xen's console) tell the peer every time.

use crate::fault::PeerFault;
use crate::index::{Index, passes};
use crate::page::{Window, Word, Words};
use crate::sync::{fence_armed, fence_published};

/// Where one direction of a stream lies in the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Direction {
    /// The bytes.
    pub window: Window,
    /// Producer index, written by the writing end.
    pub prod: Word,
    /// Consumer index, written by the reading end.
    pub cons: Word,
    /// The two thresholds, if the protocol has them.
    pub events: Option<Events>,
}

/// Where the thresholds of one direction lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Events {
    /// Producer index at which the reader wants to be told. Written by the reading end.
    pub data: Word,
    /// Consumer index at which the writer wants to be told. Written by the writing end.
    pub room: Word,
}

/// Whether the peer is to be told by an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Notify {
    /// Send the event.
    Yes,
    /// The peer did not ask for one, or nothing changed.
    No,
}

impl Notify {
    /// The two notifications in one.
    pub fn or(self, other: Self) -> Self {
        if self == Self::Yes { self } else { other }
    }

    /// Whether to send the event.
    pub fn wanted(self) -> bool {
        self == Self::Yes
    }

    pub(crate) fn when(wanted: bool) -> Self {
        if wanted { Self::Yes } else { Self::No }
    }
}

/// The writing end of a stream.
#[derive(Debug)]
pub struct Writer {
    at: Direction,
    /// Written but not yet published, from `prod` on.
    staged: Index,
    prod: Index,
    /// The last consumer index that the peer showed and that was found good.
    cons: Index,
}

impl Writer {
    /// A writer on a page whose indices are zero.
    pub fn new(at: Direction) -> Self {
        Self::starting_at(at, Index::new(0))
    }

    /// A writer that goes on at `index`, where both ends stand.
    pub fn starting_at(at: Direction, index: Index) -> Self {
        Self { at, staged: index, prod: index, cons: index }
    }

    /// A writer on a page that somebody used before, as with a console whose frontend was replaced.
    ///
    /// # Errors
    /// [`PeerFault::ConsumerOutOfRange`] if the indices found contradict each other.
    pub fn attach(at: Direction, words: &Words) -> Result<Self, PeerFault> {
        let prod = Index::new(at.prod.load(words));
        let cons = Index::new(at.cons.observe(words));
        let outstanding = prod.since(cons);
        if outstanding > at.window.size() {
            return Err(PeerFault::ConsumerOutOfRange { taken: outstanding, outstanding: at.window.size() });
        }
        Ok(Self { at, staged: prod, prod, cons })
    }

    /// Bytes that fit now, staged ones subtracted.
    ///
    /// # Errors
    /// [`PeerFault::ConsumerOutOfRange`] if the peer took more than there was, or gave some back.
    pub fn room(&mut self, words: &Words) -> Result<u32, PeerFault> {
        let cons = Index::new(self.at.cons.observe(words));
        let taken = cons.since(self.cons);
        let outstanding = self.prod.since(self.cons);
        if taken > outstanding {
            // Ahead of what was published, or behind what was confirmed before: both land here.
            return Err(PeerFault::ConsumerOutOfRange { taken, outstanding });
        }
        self.cons = cons;
        Ok(self.at.window.size() - self.staged.since(cons))
    }

    /// Stages as many of the bytes as fit and returns how many those were. The peer sees them after
    /// [`publish`](Self::publish).
    ///
    /// # Errors
    /// As [`room`](Self::room).
    pub fn stage(&mut self, words: &Words, bytes: &[u8]) -> Result<usize, PeerFault> {
        let room = self.room(words)? as usize;
        let count = room.min(bytes.len());
        self.at.window.copy_in(words, self.staged, &bytes[..count]);
        // `count` is at most the window's size.
        self.staged = self.staged.plus(count as u32);
        Ok(count)
    }

    /// Shows the staged bytes to the peer.
    pub fn publish(&mut self, words: &Words) -> Notify {
        let old = self.prod;
        if old == self.staged {
            return Notify::No;
        }
        self.prod = self.staged;
        // Release: the bytes are visible before the index that covers them.
        self.at.prod.publish(words, self.prod.raw());
        let Some(events) = self.at.events else { return Notify::Yes };
        // Full fence: the index is visible before we look at the reader's threshold. Without it the reader
        // could arm the threshold, miss the index, and sleep, while we read the threshold of before.
        fence_published();
        Notify::when(passes(old, self.prod, Index::new(events.data.load(words))))
    }

    /// Asks to be told when `bytes` fit, and looks once more: `Ok(true)` means that they fit already and
    /// that there is no reason to sleep. More than the window has counts as the whole window.
    ///
    /// # Errors
    /// As [`room`](Self::room).
    pub fn await_room(&mut self, words: &Words, bytes: u32) -> Result<bool, PeerFault> {
        let bytes = bytes.min(self.at.window.size());
        if let Some(events) = self.at.events {
            // `size - (staged - cons) >= bytes` holds from this consumer index on.
            let enough = self.staged.plus(bytes).minus(self.at.window.size());
            events.room.store(words, enough.raw());
        }
        // Full fence: the threshold is visible before the last look. Without it the reader could release
        // bytes, miss the threshold, and send nothing, while we see the index of before.
        fence_armed();
        Ok(self.room(words)? >= bytes)
    }

    /// The index behind what was published.
    pub fn end(&self) -> Index {
        self.prod
    }

    /// Bytes that the peer has not taken, as far as it has told.
    pub fn outstanding(&self) -> u32 {
        self.prod.since(self.cons)
    }
}

/// The reading end of a stream.
#[derive(Debug)]
pub struct Reader {
    at: Direction,
    /// Taken but not yet released, up to here.
    taken: Index,
    cons: Index,
    /// The last producer index that the peer showed and that was found good.
    prod: Index,
}

impl Reader {
    /// A reader on a page whose indices are zero.
    pub fn new(at: Direction) -> Self {
        Self::starting_at(at, Index::new(0))
    }

    /// A reader that goes on at `index`, where both ends stand.
    pub fn starting_at(at: Direction, index: Index) -> Self {
        Self { at, taken: index, cons: index, prod: index }
    }

    /// A reader on a page that somebody used before; it goes on where that one stopped.
    ///
    /// # Errors
    /// [`PeerFault::ProducerOutOfRange`] if the indices found contradict each other.
    pub fn attach(at: Direction, words: &Words) -> Result<Self, PeerFault> {
        let mut reader = Self::starting_at(at, Index::new(at.cons.load(words)));
        reader.available(words)?;
        Ok(reader)
    }

    /// Bytes that can be taken now.
    ///
    /// # Errors
    /// [`PeerFault::ProducerOutOfRange`] if the peer announces more than the window holds,
    /// [`PeerFault::ProducerMovedBack`] if it withdraws bytes that it announced.
    pub fn available(&mut self, words: &Words) -> Result<u32, PeerFault> {
        // Acquire: the bytes that the index covers are visible after it.
        let prod = Index::new(self.at.prod.observe(words));
        let pending = prod.since(self.cons);
        let room = self.at.window.size();
        if pending > room {
            return Err(PeerFault::ProducerOutOfRange { pending, room });
        }
        let seen = self.prod.since(self.cons);
        if pending < seen {
            return Err(PeerFault::ProducerMovedBack { pending, seen });
        }
        self.prod = prod;
        Ok(prod.since(self.taken))
    }

    /// Copies as many bytes as there are and fit out of the page and returns how many those were. The
    /// writer gets their room back with [`release`](Self::release).
    ///
    /// # Errors
    /// As [`available`](Self::available).
    pub fn take(&mut self, words: &Words, into: &mut [u8]) -> Result<usize, PeerFault> {
        let available = self.available(words)? as usize;
        let count = available.min(into.len());
        self.at.window.copy_out(words, self.taken, &mut into[..count]);
        // `count` is at most the window's size.
        self.taken = self.taken.plus(count as u32);
        Ok(count)
    }

    /// Gives the room of the bytes taken back to the writer.
    pub fn release(&mut self, words: &Words) -> Notify {
        let old = self.cons;
        if old == self.taken {
            return Notify::No;
        }
        self.cons = self.taken;
        // Release: our loads of the bytes come before the index that lets the writer overwrite them.
        self.at.cons.publish(words, self.cons.raw());
        let Some(events) = self.at.events else { return Notify::Yes };
        // Full fence: the index is visible before we look at the writer's threshold, as in `publish`.
        fence_published();
        Notify::when(passes(old, self.cons, Index::new(events.room.load(words))))
    }

    /// Asks to be told when `bytes` are there, and looks once more: `Ok(true)` means that they are there
    /// already and that there is no reason to sleep. More than the window has counts as the whole window.
    ///
    /// # Errors
    /// As [`available`](Self::available).
    pub fn await_data(&mut self, words: &Words, bytes: u32) -> Result<bool, PeerFault> {
        let bytes = bytes.min(self.at.window.size());
        if let Some(events) = self.at.events {
            events.data.store(words, self.taken.plus(bytes).raw());
        }
        // Full fence: the threshold is visible before the last look, as in `await_room`.
        fence_armed();
        Ok(self.available(words)? >= bytes)
    }
}

#[cfg(test)]
mod tests;
