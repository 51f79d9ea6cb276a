//! Whether the controller is reached through the port, and what is told about it.
//!
//! ```text
//!            any answer                  a failure, of a path that answered last time
//!   Unknown ------------> Reached ------------------------------------------> Lost
//!      ^                   |  ^                                                |
//!      +--- port down -----+  +----------------- any answer -------------------+
//! ```
//!
//! Exchanges fail one by one, but the controller is there or not as a whole. A path that alone is broken, as
//! when something on the way cuts large answers, loses the controller once; from then on its failures change
//! nothing until it has answered again. Each way of failing is told once a burst.

use alloc::{collections::BTreeMap, string::String};
use core::time::Duration;

use proto_eve::text;

use crate::{
    clock::{Instant, Now, WallTime},
    http::{FailureKind, HttpFailure, Unusable},
};

const MAX_ERROR: usize = 512;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Unknown,
    Reached,
    Lost { since: Instant, by: &'static str, kind: FailureKind },
}

/// A path whose last exchange failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Failing {
    kind: FailureKind,
    /// Others were answered meanwhile.
    alone: bool,
}

/// What an exchange changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Nothing that is worth a word.
    Same,
    /// The controller is reached, for the first time or since the port is up again.
    Reached,
    /// It is reached again.
    Back { after: Duration },
    /// It is not reached any more, or not for another reason than before.
    Lost,
    /// It is reached, but this path fails in another way than before.
    Broken,
    /// A path that alone had failed is answered again.
    Mended,
}

/// Whether the controller is reached, and since when.
#[derive(Debug)]
pub(crate) struct Reach {
    state: State,
    failing: BTreeMap<&'static str, Failing>,
    unusable: BTreeMap<&'static str, Unusable>,
    succeeded: Option<WallTime>,
    failed: Option<WallTime>,
    error: String,
}

impl Reach {
    pub(crate) fn new() -> Self {
        Self {
            state: State::Unknown,
            failing: BTreeMap::new(),
            unusable: BTreeMap::new(),
            succeeded: None,
            failed: None,
            error: String::new(),
        }
    }

    /// When the controller was found to be reached, after it was not. It does not move with each answer, so that
    /// the report that carries it is sent for changes only.
    pub(crate) fn last_succeeded(&self) -> Option<WallTime> {
        self.succeeded
    }

    /// When the port went down or the controller was lost.
    pub(crate) fn last_failed(&self) -> Option<WallTime> {
        self.failed
    }

    /// Why it is not reached; empty if it is.
    pub(crate) fn error(&self) -> &str {
        &self.error
    }

    /// The port has no link or no address any more.
    pub(crate) fn port_down(&mut self, now: Now, error: &str) {
        self.state = State::Unknown;
        self.failing.clear();
        self.failed = now.wall;
        self.error = text::bounded(error, MAX_ERROR);
    }

    /// There was an answer, whatever it says.
    pub(crate) fn on_answer(&mut self, now: Now, path: &'static str) -> Change {
        let mended = self.failing.remove(path).is_some_and(|failing| failing.alone);
        let change = match self.state {
            State::Reached if mended => return Change::Mended,
            State::Reached => return Change::Same,
            State::Unknown => Change::Reached,
            State::Lost { since, by, .. } => {
                // The others failed since the controller was away, if it was; this one may be broken alone.
                self.failing.retain(|path, failing| *path == by || failing.alone);
                Change::Back { after: now.at().since(since) }
            }
        };
        self.state = State::Reached;
        self.succeeded = now.wall;
        self.error.clear();
        change
    }

    /// There was no answer.
    pub(crate) fn on_failure(&mut self, now: Now, path: &'static str, failure: &HttpFailure) -> Change {
        let kind = failure.kind;
        let known = self.failing.get(path).copied();
        let since = match self.state {
            State::Lost { since, .. } => since,
            State::Unknown | State::Reached => now.at(),
        };
        let change = match (self.state, known) {
            (State::Lost { kind: known, .. }, _) if known == kind => Change::Same,
            (State::Reached, Some(known)) if known.kind == kind => Change::Same,
            (State::Reached, Some(_)) => Change::Broken,
            (State::Unknown | State::Reached | State::Lost { .. }, _) => Change::Lost,
        };
        let alone =
            known.is_some_and(|known| known.alone) || (known.is_some() && self.state == State::Reached);
        self.failing.insert(path, Failing { kind, alone });
        if change == Change::Lost {
            self.state = State::Lost { since, by: path, kind };
            self.failed = now.wall;
            self.error = text::bounded(&failure.text, MAX_ERROR);
        }
        change
    }

    /// An answer cannot be used, or can. Tells whether that is news of this path.
    pub(crate) fn on_use(&mut self, path: &'static str, unusable: Option<Unusable>) -> bool {
        match unusable {
            Some(why) => self.unusable.insert(path, why) != Some(why),
            None => self.unusable.remove(path).is_some(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Now {
        let monotonic_ns = seconds * 1_000_000_000;
        Now { monotonic_ns, wall: Some(WallTime { seconds: 1_800_000_000 + seconds, nanos: 0 }) }
    }

    fn wall(seconds: u64) -> Option<WallTime> {
        at(seconds).wall
    }

    fn failure(kind: FailureKind) -> HttpFailure {
        HttpFailure { kind, text: alloc::format!("it is so: {kind}") }
    }

    #[test]
    fn a_controller_that_is_away_is_told_once_and_so_is_its_return() {
        let mut reach = Reach::new();
        assert_eq!(reach.on_answer(at(1), "certs"), Change::Reached);
        assert_eq!(reach.on_answer(at(2), "config"), Change::Same);
        assert_eq!((reach.last_succeeded(), reach.last_failed(), reach.error()), (wall(1), None, ""));
        let refused = failure(FailureKind::Refused);
        assert_eq!(reach.on_failure(at(10), "config", &refused), Change::Lost);
        assert_eq!(reach.on_failure(at(11), "info", &refused), Change::Same);
        assert_eq!(reach.on_failure(at(12), "config", &refused), Change::Same);
        assert_eq!((reach.last_succeeded(), reach.last_failed()), (wall(1), wall(10)));
        assert_eq!(reach.error(), "it is so: connection refused");
        // Another reason is news, and the same absence.
        assert_eq!(reach.on_failure(at(13), "config", &failure(FailureKind::Timeout)), Change::Lost);
        assert_eq!(reach.on_answer(at(20), "info"), Change::Back { after: Duration::from_secs(10) });
        assert_eq!((reach.last_succeeded(), reach.last_failed(), reach.error()), (wall(20), wall(13), ""));
        assert_eq!(reach.on_answer(at(21), "config"), Change::Same);
        // The next absence is news again, whichever path finds it.
        assert_eq!(reach.on_failure(at(30), "info", &refused), Change::Lost);
    }

    #[test]
    fn a_path_that_alone_is_broken_loses_the_controller_once() {
        let mut reach = Reach::new();
        reach.on_answer(at(1), "certs");
        let cut = failure(FailureKind::Malformed);
        assert_eq!(reach.on_failure(at(2), "config", &cut), Change::Lost);
        assert_eq!(reach.on_answer(at(3), "info"), Change::Back { after: Duration::from_secs(1) });
        for second in 4..100 {
            assert_eq!(reach.on_failure(at(second), "config", &cut), Change::Same);
            assert_eq!(reach.on_answer(at(second), "info"), Change::Same);
        }
        assert_eq!((reach.last_failed(), reach.error()), (wall(2), ""));
        assert_eq!(reach.on_failure(at(100), "config", &failure(FailureKind::TooLarge)), Change::Broken);
        // Beside it, the controller goes away and comes back.
        let refused = failure(FailureKind::Refused);
        assert_eq!(reach.on_failure(at(101), "info", &refused), Change::Lost);
        assert_eq!(reach.on_failure(at(102), "config", &refused), Change::Same);
        assert_eq!(reach.on_answer(at(103), "info"), Change::Back { after: Duration::from_secs(2) });
        assert_eq!(reach.on_answer(at(104), "config"), Change::Mended);
        assert_eq!(reach.on_failure(at(105), "config", &cut), Change::Lost);
    }

    #[test]
    fn a_port_that_goes_down_has_failed_until_an_answer_comes() {
        let mut reach = Reach::new();
        reach.on_answer(at(1), "config");
        reach.port_down(at(5), "no link");
        assert_eq!(
            (reach.last_succeeded(), reach.last_failed(), reach.error()),
            (wall(1), wall(5), "no link")
        );
        assert_eq!(reach.on_answer(at(9), "config"), Change::Reached);
        assert_eq!((reach.last_succeeded(), reach.last_failed(), reach.error()), (wall(9), wall(5), ""));
        reach.on_answer(at(30), "config");
        assert_eq!(reach.last_succeeded(), wall(9));
    }

    #[test]
    fn an_answer_that_is_of_no_use_is_told_once_a_burst() {
        let mut reach = Reach::new();
        let (kind, large) = (Some(Unusable::ContentType), Some(Unusable::TooLarge));
        let told: alloc::vec::Vec<bool> =
            [kind, kind, large, large, None, None, kind].map(|why| reach.on_use("config", why)).into();
        assert_eq!(told, [true, false, true, false, true, false, true]);
        assert!(reach.on_use("attest", kind), "each path has its own");
    }
}
