//! The selector: when storage is asked to replace it, and what is made of the answers.
//!
//! The second one is asked for ahead of arming a version, the first one once in each life in which a proven version runs:
//! what is there already storage does not write again. Neither is a reason for a version to fail: the machine starts by
//! the selector that it has. A disk that refuses is asked for the first one again, ever more rarely. A storage that has
//! ended over the second one is not asked for that again: a version could never be armed.

use core::time::Duration;

use proto_errors::agent as code;
use proto_svc::storage::{Answer, Refusal, Request, Selector};

use crate::{
    clock::Instant,
    keep,
    storage::{Asker, Desk},
};

/// How soon the first one is asked for again, at first and at the longest.
const AGAIN: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(3600);

/// How one stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// To be asked for, not before this.
    Due(Instant),
    /// Storage was asked.
    Asked,
    /// Not in this life any more.
    Over,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Selectors {
    first: State,
    pause: Duration,
    /// The same of the second one, which is due whenever a version is to be armed.
    second: State,
}

impl Selectors {
    pub(super) const fn new() -> Self {
        let due = State::Due(Instant(0));
        Self { first: due, pause: AGAIN, second: due }
    }

    /// When the first one is to be asked for, once a proven version runs and nothing is under way.
    pub(super) const fn due(&self) -> Option<Instant> {
        match self.first {
            State::Due(at) => Some(at),
            State::Asked | State::Over => None,
        }
    }

    /// Asks for the first one if it is due.
    pub(super) fn step(&mut self, now: Instant, desk: &mut Desk) {
        if self.due().is_some_and(|at| at <= now) {
            ask(desk, Selector::First);
            self.first = State::Asked;
        }
    }

    /// A version is about to be armed. Storage answers in order: what is asked here is done ahead of that.
    pub(super) fn arming(&mut self, desk: &mut Desk) {
        if self.second != State::Over {
            ask(desk, Selector::Second);
            self.second = State::Asked;
        }
    }

    /// Storage has ended, perhaps of this.
    pub(super) fn lost(&mut self, now: Instant) {
        if self.first == State::Asked {
            self.again(now);
        }
        if self.second == State::Asked {
            log::warn!(
                "base OS: the second selector is not replaced: storage ended meanwhile [{}]",
                code::SELECTOR
            );
            self.second = State::Over;
        }
    }

    /// An answer about a selector.
    pub(super) fn answered(&mut self, now: Instant, which: Selector, answer: &Answer) {
        tell(which, answer);
        let may_pass = matches!(
            answer,
            Answer::Refused { refusal: Refusal::Disk | Refusal::NoDisk | Refusal::Locked, .. }
        );
        match which {
            Selector::First if may_pass => self.again(now),
            Selector::First => self.first = State::Over,
            Selector::Second => self.second = State::Due(now),
        }
    }

    fn again(&mut self, now: Instant) {
        self.first = State::Due(now.after(self.pause));
        self.pause = LONGEST.min(self.pause * 2);
    }
}

fn ask(desk: &mut Desk, which: Selector) {
    desk.ask(Asker::Selector(which), Request::ReplaceSelector(which));
}

fn tell(which: Selector, answer: &Answer) {
    let which = match which {
        Selector::First => "first",
        Selector::Second => "second",
    };
    match answer {
        Answer::Selector { replaced: true } => log::info!("base OS: the {which} selector is replaced"),
        Answer::Selector { replaced: false } => {}
        // Nothing is wrong with a disk that has one selector, or a version that brings none.
        Answer::Refused { refusal: Refusal::NoSelector, reason } => {
            log::info!("base OS: the {which} selector stays as it is: {reason}");
        }
        other => {
            let why = keep::reason(other);
            log::warn!("base OS: the {which} selector is not replaced: {why} [{}]", code::SELECTOR);
        }
    }
}
