//! A submission queue and its completion queue, a page each.
//!
//! ```text
//!   free ── give ──► given ── take ──► free
//! ```
//!
//! A command has a number of 16 bits: its slot in the lower ones, and above it a count that goes up with each
//! command. So a completion that comes twice is noticed even when the slot was given again meanwhile. What was
//! given is kept here and not in the pages: nothing that we wrote is read back.
//!
//! What the controller cannot do without a [`Fault`]: complete what it was not given, complete for another queue,
//! or claim to have fetched what is not there.
//!
//! Source: specification, sections 4.1, 4.2 and 4.6.

use alloc::boxed::Box;
use core::sync::atomic::Ordering::Relaxed;

use board_support_hyp::Shared;

use crate::{
    block::Fault,
    dma::{BusAddress, Words},
    order,
};

/// The most entries of each queue: a page of commands.
pub const MAX_ENTRIES: u16 = 64;
const SLOTS: usize = MAX_ENTRIES as usize;

/// The fewest entries of a queue.
pub const MIN_ENTRIES: u16 = 2;

const COMMAND_WORDS: usize = 16;
const COMPLETION_WORDS: usize = 4;

const _: () = assert!(SLOTS * COMMAND_WORDS * 4 == 4096);

/// A command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command {
    /// Opcode.
    pub opcode: u8,
    /// Namespace; 0 where there is none.
    pub namespace: u32,
    /// PRP entries 1 and 2.
    pub data: [BusAddress; 2],
    /// Command words 10 to 15.
    pub words: [u32; 6],
}

/// A command that was completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    /// Status field, without the phase; see [`super::status::refusal`].
    pub status: u16,
    /// Command-specific result.
    pub result: u32,
}

/// The queues, in two pages `S`.
pub struct Pair<S> {
    submissions: S,
    completions: S,
    number: u16,
    entries: u16,
    /// The next command's entry.
    tail: u16,
    /// How far the controller has fetched, as it last said.
    fetched: u16,
    /// The next completion's entry.
    head: u16,
    /// The phase of completions that are new.
    phase: bool,
    /// Numbers of the commands that were given, by slot.
    given: Box<[Option<u16>; SLOTS]>,
    /// Commands that were ever given.
    count: u16,
}

impl<S: Shared> Pair<S> {
    /// Queues that nobody uses yet, in pages that no controller uses (any more). `number` is that of both.
    pub fn new(number: u16, submissions: S, completions: S) -> Self {
        Self {
            submissions,
            completions,
            number,
            entries: MIN_ENTRIES,
            tail: 0,
            fetched: 0,
            head: 0,
            phase: true,
            given: Box::new([None; SLOTS]),
            count: 0,
        }
    }

    /// Empties both, for a controller that was reset and takes queues of up to `most` entries, at least
    /// [`MIN_ENTRIES`]. Returns how many they have.
    pub fn reset(&mut self, most: u32) -> u16 {
        let most = u16::try_from(most).unwrap_or(u16::MAX);
        self.entries = most.clamp(MIN_ENTRIES, MAX_ENTRIES);
        (self.tail, self.fetched, self.head, self.phase) = (0, 0, 0, true);
        // The count goes on: what was given before the reset is not taken for something given after it.
        *self.given = [None; SLOTS];
        for page in [&self.submissions, &self.completions] {
            page.words().iter().for_each(|word| word.store(0, Relaxed));
        }
        self.entries
    }

    /// Entries of each.
    #[must_use]
    pub fn entries(&self) -> u16 {
        self.entries
    }

    /// Commands that were given and not completed.
    #[must_use]
    pub fn outstanding(&self) -> u16 {
        self.given.iter().flatten().count() as u16
    }

    /// Where the controller is to be told that commands end: the value of the submissions' doorbell.
    #[must_use]
    pub fn tail(&self) -> u16 {
        self.tail
    }

    /// Up to where completions were taken: the value of the completions' doorbell.
    #[must_use]
    pub fn head(&self) -> u16 {
        self.head
    }

    /// Writes a command into its entry. The controller learns of it by the doorbell. Returns its number, or
    /// `None` if there is no room: one entry stays empty, and each command needs one for its completion.
    pub fn give(&mut self, command: &Command) -> Option<u16> {
        let full = distance(self.fetched, self.tail, self.entries) == self.entries - 1;
        if full || self.outstanding() == self.entries - 1 {
            return None;
        }
        let slot = self.given.iter().position(Option::is_none)?;
        // Ones in all bits are what a broken controller says, and no number of a command.
        self.count = (self.count + 1) % (u16::MAX / MAX_ENTRIES);
        let number = self.count * MAX_ENTRIES + slot as u16;
        *self.given.get_mut(slot)? = Some(number);
        let Command { opcode, namespace, data: [first, second], words } = *command;
        let [low, high] = [first, second].map(|at| [at.0 as u32, (at.0 >> 32) as u32]);
        let head = [u32::from(opcode) | u32::from(number) << 16, namespace, 0, 0, 0, 0];
        let all = head.into_iter().chain(low).chain(high).chain(words);
        let place = usize::from(self.tail) * COMMAND_WORDS;
        for (word, value) in self.submissions.words().iter().skip(place).zip(all) {
            word.store(value, Relaxed);
        }
        self.tail = (self.tail + 1) % self.entries;
        Some(number)
    }

    /// The next completion, if there is one. The controller learns by the doorbell that its entry is free.
    ///
    /// # Errors
    /// [`Fault`]; the queues must not be used before [`Pair::reset`].
    pub fn take(&mut self) -> Result<Option<Completion>, Fault> {
        let place = usize::from(self.head) * COMPLETION_WORDS;
        let words: &Words = self.completions.words();
        let Some([result, _, queue, last]) = words.get(place..).and_then(|rest| rest.first_chunk()) else {
            return Ok(None);
        };
        let last = order::observe(last);
        if (last >> 16 & 1 != 0) != self.phase {
            return Ok(None);
        }
        let (result, queue) = (result.load(Relaxed), queue.load(Relaxed));
        let (fetched, says) = (queue as u16, (queue >> 16) as u16);
        if says != self.number {
            return Err(Fault::Queue { says });
        }
        let waiting = distance(self.fetched, self.tail, self.entries);
        if fetched >= self.entries || distance(self.fetched, fetched, self.entries) > waiting {
            return Err(Fault::Fetched { says: fetched });
        }
        let number = last as u16;
        let slot = self.given.get_mut(usize::from(number % MAX_ENTRIES));
        let slot = slot.filter(|slot| **slot == Some(number)).ok_or(Fault::NotGiven { number })?;
        *slot = None;
        self.fetched = fetched;
        self.head += 1;
        if self.head == self.entries {
            self.head = 0;
            self.phase = !self.phase;
        }
        Ok(Some(Completion { status: (last >> 17) as u16, result }))
    }
}

/// Steps from `from` to `to`, which are both below it, in a ring of `entries`.
fn distance(from: u16, to: u16, entries: u16) -> u16 {
    (to + entries - from) % entries
}

#[cfg(test)]
mod tests;
