//! The selector: when storage is asked to replace it, and what is made of the answers.
//!
//! The second one is asked for ahead of arming a version. Both are asked for as those of the version that runs once in
//! each life in which a proven one does, and ahead of emptying the other slot: of two partitions each is the reason to
//! believe the other, by what the slots hold, and a slot that is emptied vouches for nothing. What is there already
//! storage does not write again. None of it is a reason for a version to fail: the machine starts by the selector that
//! it has. A disk that refuses is asked for both again, ever more rarely. A storage that has ended over them is not
//! asked for that ahead of anything: a version could never be fetched, or armed.

use core::time::Duration;

use proto_errors::agent as code;
use proto_svc::storage::{Answer, Refusal, Request, Selector};

use crate::{
    clock::Instant,
    keep,
    storage::{Asker, Desk},
};

/// How soon both are asked for again, at first and at the longest.
const AGAIN: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(3600);

/// The requests by which both become those of the version that runs, in this order: each is believed by the other one.
const BOTH: [Selector; 2] = [Selector::First, Selector::SecondBack];

/// How the second one stands, which is due whenever a version is to be armed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Second {
    Due,
    /// Storage was asked.
    Asked,
    /// Not in this life any more.
    Over,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Selectors {
    /// When both are to be asked for, if nothing else is under way; `None` while they are, and when they are done.
    due: Option<Instant>,
    pause: Duration,
    /// Answers about both that are to come.
    awaited: usize,
    /// Storage has ended over them, and has not answered since.
    ended: bool,
    second: Second,
}

impl Selectors {
    pub(super) const fn new() -> Self {
        Self { due: Some(Instant(0)), pause: AGAIN, awaited: 0, ended: false, second: Second::Due }
    }

    /// When both are to be asked for, once a proven version runs and nothing is under way.
    pub(super) const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Asks for both if they are due.
    pub(super) fn step(&mut self, now: Instant, desk: &mut Desk) {
        if self.due.take_if(|at| *at <= now).is_some() {
            if desk.is_up() {
                self.ask_both(desk);
            } else {
                self.again(now);
            }
        }
    }

    /// The other slot is about to be emptied. Storage answers in order: what is asked here is done ahead of that.
    pub(super) fn emptying(&mut self, desk: &mut Desk) {
        if !self.ended && desk.is_up() {
            self.ask_both(desk);
        }
    }

    /// A version is about to be armed: the same.
    pub(super) fn arming(&mut self, desk: &mut Desk) {
        if self.second != Second::Over && desk.is_up() {
            ask(desk, Selector::Second);
            self.second = Second::Asked;
        }
    }

    /// Storage has ended, perhaps of this.
    pub(super) fn lost(&mut self, now: Instant) {
        if self.awaited > 0 {
            not_replaced("selectors are");
            self.awaited = 0;
            self.ended = true;
            self.again(now);
        }
        if self.second == Second::Asked {
            not_replaced("second selector is");
            self.second = Second::Over;
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
            Selector::First | Selector::SecondBack => {
                self.awaited = self.awaited.saturating_sub(1);
                self.ended &= self.awaited > 0;
                if may_pass {
                    self.again(now);
                }
            }
            Selector::Second => self.second = Second::Due,
        }
    }

    fn ask_both(&mut self, desk: &mut Desk) {
        BOTH.into_iter().for_each(|which| ask(desk, which));
        self.awaited += BOTH.len();
        self.due = None;
    }

    /// Has both asked for again later, unless that is so already.
    fn again(&mut self, now: Instant) {
        if self.due.is_none() {
            self.due = Some(now.after(self.pause));
            self.pause = LONGEST.min(self.pause * 2);
        }
    }
}

fn not_replaced(which: &str) {
    log::warn!("base OS: the {which} not replaced: storage ended meanwhile [{}]", code::SELECTOR);
}

fn ask(desk: &mut Desk, which: Selector) {
    desk.ask(Asker::Selector(which), Request::ReplaceSelector(which));
}

fn tell(which: Selector, answer: &Answer) {
    let which = which.place();
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
