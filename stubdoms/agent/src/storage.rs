//! What is asked of the storage domain, and what it answers.
//!
//! Requests go out by number, a bounded count of them ahead of their answers, which come in order. Storage may end at
//! any time: what was asked is then asked again by who wants it, never by this.
//!
//! ```text
//!   base OS: Slots, Begin, Verify, Change --+
//!   the selector: ReplaceSelector ----------+
//!   values: Get, Put, Delete ---------------+--> at most WINDOW under way --> storage
//!   the slot's bytes: Write ----------------+
//! ```

use alloc::collections::VecDeque;

use proto_errors::agent as code;
use proto_svc::storage::{Answer, Refusal, Request, Selector, Status};

use crate::{clock::Instant, keep::Keep};

/// Requests that are under way at a time: enough that the way there and back costs little, and no more than a
/// channel's page holds a few of.
const WINDOW: usize = 16;

/// Who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asker {
    Status,
    Slots,
    Begin,
    Verify,
    Change,
    Selector(Selector),
    /// So many bytes of the slot.
    Fill(usize),
    Keep,
}

#[derive(Debug, Default)]
pub(crate) struct Desk {
    up: bool,
    /// What it said of itself last.
    status: Option<Status>,
    waiting: VecDeque<(Asker, Request)>,
    asked: VecDeque<(u32, Asker)>,
    next_number: u32,
}

impl Desk {
    /// Whether storage is there.
    pub(crate) fn is_up(&self) -> bool {
        self.up
    }

    /// What it said of itself last; none if it is not there.
    pub(crate) fn status(&self) -> Option<&Status> {
        self.status.as_ref()
    }

    /// Storage is there, the first time or again. Nothing of what was asked before will be answered.
    pub(crate) fn come(&mut self) {
        self.up = true;
        self.status = None;
        self.waiting.clear();
        self.asked.clear();
        self.look();
    }

    /// Storage has ended.
    pub(crate) fn go(&mut self) {
        self.up = false;
        self.status = None;
        self.waiting.clear();
        self.asked.clear();
    }

    /// It says that something has changed.
    pub(crate) fn look(&mut self) {
        if self.up {
            self.ask(Asker::Status, Request::Status);
            self.ask(Asker::Slots, Request::Slots);
        }
    }

    /// What it counts is wanted as it is now.
    pub(crate) fn count(&mut self) {
        self.ask(Asker::Status, Request::Status);
    }

    /// Asks for something. What is asked of one that is away is dropped: it will be looked at anew. What it says of itself
    /// is asked for once, however long it answers nothing.
    pub(crate) fn ask(&mut self, asker: Asker, request: Request) {
        let is_look = matches!(asker, Asker::Status | Asker::Slots);
        let waits = is_look && self.waiting.iter().any(|(other, _)| *other == asker);
        if self.up && !waits {
            self.waiting.push_back((asker, request));
        }
    }

    /// Whether it is there and has a store that is open, or that its key would open. One that has not said yet counts
    /// as well.
    pub(crate) fn may_open(&self) -> bool {
        let closed = self.status.as_ref().and_then(|status| status.closed);
        self.up && closed.is_none_or(|why| why == Refusal::Locked)
    }

    /// The next request to send. `fill` gives the next piece of the slot.
    pub(crate) fn next(
        &mut self,
        now: Instant,
        keep: &mut Keep,
        fill: impl FnOnce() -> Option<(usize, Request)>,
    ) -> Option<(u32, Request)> {
        if !self.up || self.asked.len() >= WINDOW {
            return None;
        }
        let (asker, request) = self
            .waiting
            .pop_front()
            .or_else(|| keep.next(now).map(|request| (Asker::Keep, request)))
            .or_else(|| fill().map(|(bytes, request)| (Asker::Fill(bytes), request)))?;
        let number = self.next_number;
        self.next_number = number.wrapping_add(1);
        self.asked.push_back((number, asker));
        Some((number, request))
    }

    /// Who asked for this answer. An answer to nothing is told and ignored.
    pub(crate) fn answered(&mut self, number: u32, answer: &Answer) -> Option<Asker> {
        let expected = self.asked.front().is_some_and(|(asked, _)| *asked == number);
        if !self.up || !expected {
            log::warn!(
                "storage: an answer to nothing that was asked, number {number} [{}]",
                code::STORAGE_ODD
            );
            return None;
        }
        let (_, asker) = self.asked.pop_front()?;
        if let (Asker::Status, Answer::Status(status)) = (asker, answer) {
            self.status = Some(status.clone());
        }
        Some(asker)
    }
}
