//! What waits to be told to control: answers, log records and console bytes, in the order in which they
//! came. A pure machine.
//!
//! Answers are never dropped while control is there; there is one for each request, and dom0 takes no
//! request while there is no [`Outbox::has_room`]. A control that is there anew is greeted first, gets no
//! answer to what an earlier one asked, and is given everything of the [`Journal`] that was not taken.

use alloc::collections::VecDeque;

use proto_svc::{
    device::{AppId, ToControl},
    supervision::LogRecord,
};

use crate::{journal::Journal, request::Note};

/// Answers from which on no request is taken.
const MAX_ANSWERS: usize = 64;

/// The queue.
#[derive(Debug, Default)]
pub struct Outbox {
    greeting: VecDeque<ToControl>,
    answers: VecDeque<(u64, ToControl)>,
    journal: Journal,
    turn: u64,
    /// The vital service that does not do its work, and whether control was told.
    missing: Option<heapless::String<16>>,
    missing_told: bool,
}

impl Outbox {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether another request may be taken.
    pub fn has_room(&self) -> bool {
        self.answers.len() < MAX_ANSWERS
    }

    /// Adds an answer.
    pub fn push(&mut self, message: ToControl) {
        let turn = self.turn();
        self.answers.push_back((turn, message));
    }

    /// Adds a log record.
    pub fn push_log(&mut self, domain: &str, record: &LogRecord) {
        let turn = self.turn();
        self.journal.log(turn, domain, record);
    }

    /// Takes the vital service that does not do its work, if there is one. Tells whether that is another than before.
    pub fn miss(&mut self, missing: Option<heapless::String<16>>) -> bool {
        let same = self.missing == missing;
        self.missing_told &= same;
        self.missing = missing;
        !same
    }

    /// Counts lines that were lost before they came here.
    pub fn lose_lines(&mut self, count: u32) {
        self.journal.lose_lines(count);
    }

    /// Adds console bytes.
    pub fn push_console(&mut self, app: AppId, bytes: &[u8]) {
        let turn = self.turn();
        self.journal.console(turn, app, bytes);
    }

    /// Control needs nothing of the console of `app`, or of the log, before `before` any more, and leaves `note`
    /// for when it goes on from there.
    pub fn taken(&mut self, app: Option<AppId>, before: u64, note: Note) {
        self.journal.taken(app, before, note);
    }

    /// What was left where a console or the log goes on.
    pub fn goes_on(&self) -> impl Iterator<Item = ToControl> {
        self.journal.notes().map(|(app, note)| ToControl::GoesOn { app, note: note.clone() })
    }

    /// Forgets how far consoles of applications have come that are not known any more. To be called ahead of each new
    /// one, and when something was taken.
    pub fn forget(&mut self, known: impl Fn(AppId) -> bool) {
        self.journal.forget(known);
    }

    /// Takes the oldest message. What is lost is told ahead of all that came later.
    pub fn pop(&mut self) -> Option<ToControl> {
        if let Some(message) = self.greeting.pop_front() {
            return Some(message);
        }
        if !core::mem::replace(&mut self.missing_told, true) {
            return Some(ToControl::Vital { missing: self.missing.clone() });
        }
        if let Some(lost) = self.journal.tell_lost() {
            return Some(lost);
        }
        let answer = self.answers.front().map(|(turn, _)| *turn);
        match (answer, self.journal.turn()) {
            (Some(answer), kept) if kept.is_none_or(|kept| answer < kept) => {
                self.answers.pop_front().map(|(_, message)| message)
            }
            _ => self.journal.give(),
        }
    }

    /// Begins anew, for a control that is there anew: with this greeting, without answers to what an earlier
    /// one asked, and with all that was not taken.
    pub fn greet(&mut self, greeting: impl IntoIterator<Item = ToControl>) {
        self.greeting = greeting.into_iter().collect();
        self.missing_told = false;
        self.answers.clear();
        self.journal.rewind();
    }

    fn turn(&mut self) -> u64 {
        self.turn += 1;
        self.turn
    }
}

#[cfg(test)]
mod tests {
    use proto_svc::{
        device::{AppState, StopReason},
        supervision::Level,
    };
    use std::vec::Vec;

    use super::*;

    const APP: AppId = AppId([1; 16]);

    fn record(text: &str) -> LogRecord {
        LogRecord { level: Level::Info, at_ns: 1, text: text.try_into().unwrap() }
    }

    fn log(sequence: u64, text: &str) -> ToControl {
        ToControl::Log { sequence, domain: "net".try_into().unwrap(), record: record(text) }
    }

    fn stopped() -> ToControl {
        ToControl::State { app: APP, state: AppState::Stopped(StopReason::Crash) }
    }

    fn all(outbox: &mut Outbox) -> Vec<ToControl> {
        let all: Vec<ToControl> = core::iter::from_fn(|| outbox.pop()).collect();
        all.into_iter().filter(|told| !matches!(told, ToControl::Vital { .. })).collect()
    }

    #[test]
    fn what_is_missing_is_told_to_each_control_and_when_it_changes() {
        let vital = |missing: Option<&str>| {
            Some(ToControl::Vital { missing: missing.map(|name| name.try_into().unwrap()) })
        };
        let mut outbox = Outbox::new();
        assert!(outbox.miss(Some("net".try_into().unwrap())));
        assert!(!outbox.miss(Some("net".try_into().unwrap())));
        outbox.greet([stopped()]);
        assert_eq!((outbox.pop(), outbox.pop(), outbox.pop()), (Some(stopped()), vital(Some("net")), None));
        // Only how it is in the end, however often it changes.
        assert!(outbox.miss(None) && outbox.miss(Some("control".try_into().unwrap())) && outbox.miss(None));
        assert_eq!((outbox.pop(), outbox.pop()), (vital(None), None));
        outbox.greet([]);
        assert_eq!((outbox.pop(), outbox.pop()), (vital(None), None));
    }

    #[test]
    fn everything_comes_in_its_turn() {
        let mut outbox = Outbox::new();
        outbox.push_log("net", &record("one"));
        outbox.push_console(APP, b"last words\n");
        outbox.push(stopped());
        outbox.push_log("net", &record("two"));
        let bytes = heapless::Vec::from_slice(b"last words\n").unwrap();
        let console = ToControl::ConsoleOutput { app: APP, offset: 0, bytes };
        assert_eq!(all(&mut outbox), [log(1, "one"), console, stopped(), log(2, "two")]);
    }

    #[test]
    fn each_control_is_told_how_much_is_lost_since_the_start() {
        let lost = |lines| Some(ToControl::Lost { lines, console_bytes: 0 });
        let mut outbox = Outbox::new();
        outbox.miss(None);
        outbox.greet([]);
        outbox.pop();
        outbox.lose_lines(3);
        assert_eq!((outbox.pop(), outbox.pop()), (lost(3), None));
        outbox.lose_lines(1);
        assert_eq!((outbox.pop(), outbox.pop()), (lost(4), None));
        // One that is there anew, whether the one before has told anybody or not.
        for _ in 0..2 {
            outbox.greet([stopped()]);
            assert_eq!((outbox.pop(), outbox.pop().is_some()), (Some(stopped()), true));
            assert_eq!((outbox.pop(), outbox.pop()), (lost(4), None));
        }
    }

    #[test]
    fn a_control_that_is_there_anew_is_greeted_and_given_what_was_not_taken() {
        let mut outbox = Outbox::new();
        for text in ["one", "two", "three"] {
            outbox.push_log("net", &record(text));
        }
        outbox.push(stopped());
        assert_eq!(all(&mut outbox).len(), 4);
        outbox.push(stopped());
        let note = Note::from_slice(b"one").unwrap();
        outbox.taken(None, 2, note.clone());
        let hello = ToControl::Hello { version: 3 };
        let greeting: Vec<ToControl> = outbox.goes_on().chain([hello.clone()]).collect();
        outbox.greet(greeting);
        let goes_on = ToControl::GoesOn { app: None, note };
        assert_eq!(all(&mut outbox), [goes_on, hello, log(2, "two"), log(3, "three")]);
    }

    #[test]
    fn lines_that_were_lost_on_the_way_are_told() {
        let mut outbox = Outbox::new();
        outbox.push_log("net", &record("one"));
        outbox.lose_lines(7);
        assert_eq!(all(&mut outbox), [ToControl::Lost { lines: 7, console_bytes: 0 }, log(1, "one")]);
    }

    #[test]
    fn requests_wait_when_answers_are_not_taken() {
        let mut outbox = Outbox::new();
        while outbox.has_room() {
            outbox.push(stopped());
        }
        outbox.push_log("net", &record("one"));
        assert!(!outbox.has_room());
        outbox.greet([]);
        assert!(outbox.has_room());
        assert_eq!(all(&mut outbox), [log(1, "one")]);
    }
}
