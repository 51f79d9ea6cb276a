//! The deferred queue: what must reach the controller sooner or later, the latest state of each
//! object only.
//!
//! Items are keyed; a new one with the same key replaces the old. One is sent at a time, by priority
//! and then by age. An item that the controller refuses for now backs off on its own, 1 min doubling
//! to 15 min, and moves to the tail; one that it will never take is dropped. No answer at all stops
//! the whole queue, with the same waits. An item that is sent for its period alone, and says what was said
//! before, is dropped on any failure: the next period has another.

use alloc::{string::String, vec::Vec};
use core::time::Duration;

use proto_errors::agent;
use proto_eve::endpoint::StatusClass;

use crate::{
    clock::{Instant, Random, Ticker, earliest},
    http::Outcome,
};

const FIRST: Duration = Duration::from_secs(60);
const LAST: Duration = Duration::from_secs(15 * 60);
const NOISE: Duration = Duration::from_secs(60);
/// Items at most: one for each object that a configuration may hold, and some.
pub(crate) const MAX_ITEMS: usize = 640;
/// Bytes of all items at most.
pub(crate) const MAX_BYTES: usize = 1024 * 1024;

/// Names the object that an item is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    App(String),
    Hardware,
    Device,
    /// The time servers.
    Time,
    Network(String),
    Volume(String),
    Content(String),
    /// By its SHA-256 in hexadecimal digits.
    Blob(String),
}

/// What becomes of an item that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnFailure {
    /// It is kept until it arrives.
    Keep,
    /// It is dropped. One that replaces an item to be kept is kept.
    Discard,
}

impl Key {
    fn priority(&self) -> u8 {
        match self {
            Self::App(_) => 0,
            Self::Hardware => 1,
            Self::Device
            | Self::Time
            | Self::Network(_)
            | Self::Volume(_)
            | Self::Content(_)
            | Self::Blob(_) => 2,
        }
    }
}

#[derive(Debug)]
struct Item {
    key: Key,
    body: Vec<u8>,
    /// Counts up with each replacement, so that the answer to an old body does not remove a new one.
    generation: u64,
    not_before: Instant,
    ticker: Ticker,
    on_failure: OnFailure,
}

#[derive(Debug)]
pub(crate) struct Deferred {
    items: Vec<Item>,
    bytes: usize,
    generation: u64,
    /// Nothing is sent before this moment.
    stopped_until: Instant,
    ticker: Ticker,
    /// Items that found no room.
    pub(crate) dropped: u64,
    refusals: u64,
}

/// What is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    key: Key,
    generation: u64,
}

impl Deferred {
    pub(crate) fn new() -> Self {
        Self {
            items: Vec::new(),
            bytes: 0,
            generation: 0,
            stopped_until: Instant(0),
            ticker: Ticker::new(FIRST, LAST),
            dropped: 0,
            refusals: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    /// Enqueues the latest state of an object, and has the queue looked at now.
    pub(crate) fn put(&mut self, now: Instant, key: Key, body: Vec<u8>, on_failure: OnFailure) {
        self.generation += 1;
        let old = self.items.iter().position(|item| item.key == key);
        let waits = old.and_then(|at| self.items.get(at)).map(|item| item.on_failure);
        let on_failure = if waits == Some(OnFailure::Keep) { OnFailure::Keep } else { on_failure };
        let freed = old.and_then(|at| self.items.get(at)).map_or(0, |item| item.body.len());
        if self.bytes - freed + body.len() > MAX_BYTES || (old.is_none() && self.items.len() >= MAX_ITEMS) {
            self.dropped += 1;
            log::warn!(
                "reports: no room for one more, {} lost so far [{}]",
                self.dropped,
                agent::REPORTS_LOST
            );
            return;
        }
        self.bytes = self.bytes - freed + body.len();
        self.stopped_until = self.stopped_until.min(now);
        let generation = self.generation;
        let item =
            Item { key, body, generation, not_before: now, ticker: Ticker::new(FIRST, LAST), on_failure };
        match old.and_then(|at| self.items.get_mut(at)) {
            Some(slot) => *slot = item,
            None => self.items.push(item),
        }
        if old.is_none() && self.items.len() == 51 {
            log::warn!("reports: more than 50 wait for the controller [{}]", agent::REPORTS_WAIT);
        }
    }

    /// The controller answers again: look at the queue at a random point within a minute.
    pub(crate) fn kick(&mut self, now: Instant, random: &mut Random) {
        self.ticker.reset();
        self.stopped_until = self.stopped_until.min(now.after(random.share(NOISE, 0, 1000)));
    }

    pub(crate) fn clear(&mut self) {
        self.items.clear();
        self.bytes = 0;
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        let first = self.items.iter().fold(None, |first, item| earliest(first, Some(item.not_before)));
        first.map(|at| at.max(self.stopped_until))
    }

    /// The next item to send.
    pub(crate) fn due(&self, now: Instant) -> Option<(Sent, &[u8])> {
        if self.stopped_until > now {
            return None;
        }
        let item =
            self.items.iter().filter(|item| item.not_before <= now).min_by_key(|item| item.key.priority())?;
        Some((Sent { key: item.key.clone(), generation: item.generation }, &item.body))
    }

    pub(crate) fn on_answer(&mut self, now: Instant, sent: &Sent, outcome: &Outcome, random: &mut Random) {
        if let Outcome::NoAnswer(_) = outcome {
            let wait = self.ticker.wait() + random.share(NOISE, 0, 1000);
            self.stopped_until = now.after(wait);
        } else {
            self.ticker.reset();
        }
        let Some(at) =
            self.items.iter().position(|item| item.key == sent.key && item.generation == sent.generation)
        else {
            return;
        };
        let mut item = self.items.remove(at);
        self.bytes -= item.body.len();
        let keep = match outcome {
            Outcome::Success { .. } | Outcome::Unusable(_) => false,
            Outcome::NoAnswer(_) => {
                if item.on_failure == OnFailure::Keep {
                    self.bytes += item.body.len();
                    self.items.insert(at, item);
                }
                return;
            }
            Outcome::Status { class, .. } => {
                matches!(class, StatusClass::Retry | StatusClass::Forbidden | StatusClass::Unavailable)
            }
        };
        if item.on_failure == OnFailure::Discard {
            return;
        }
        if keep {
            self.refusals += 1;
            if self.refusals.is_multiple_of(20) {
                log::warn!(
                    "reports: {} refusals, the last: {outcome} [{}]",
                    self.refusals,
                    agent::REPORTS_WAIT
                );
            }
            item.not_before = now.after(item.ticker.wait());
            self.bytes += item.body.len();
            self.items.push(item);
        } else if !matches!(outcome, Outcome::Success { .. }) {
            log::warn!("reports: one was dropped: {outcome} [{}]", agent::REPORTS_LOST);
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::http::FailureKind;

    fn at(seconds: u64) -> Instant {
        Instant(0).after(Duration::from_secs(seconds))
    }

    fn status(status: u16) -> Outcome {
        Outcome::Status { status, class: StatusClass::of(status) }
    }

    fn body(queue: &Deferred, now: u64) -> Option<Vec<u8>> {
        queue.due(at(now)).map(|(_, body)| body.to_vec())
    }

    #[test]
    fn the_latest_state_of_each_object_is_sent_apps_first() {
        let mut queue = Deferred::new();
        queue.put(at(0), Key::Device, vec![1], OnFailure::Keep);
        queue.put(at(0), Key::App("a".into()), vec![2], OnFailure::Keep);
        queue.put(at(0), Key::Hardware, vec![3], OnFailure::Keep);
        queue.put(at(0), Key::App("a".into()), vec![4], OnFailure::Keep);
        let mut random = Random::new(1);
        for expected in [4, 3, 1] {
            assert_eq!(body(&queue, 0), Some(vec![expected]));
            let sent = queue.due(at(0)).unwrap().0;
            queue.on_answer(at(0), &sent, &Outcome::Success { status: 201, payload: vec![] }, &mut random);
        }
        assert_eq!((body(&queue, 0), queue.len(), queue.bytes), (None, 0, 0));
    }

    #[test]
    fn a_refused_item_backs_off_alone_and_a_hopeless_one_is_dropped() {
        let mut queue = Deferred::new();
        let mut random = Random::new(1);
        queue.put(at(0), Key::App("a".into()), vec![1], OnFailure::Keep);
        queue.put(at(0), Key::Device, vec![2], OnFailure::Keep);
        let sent = queue.due(at(0)).unwrap().0;
        queue.on_answer(at(0), &sent, &status(500), &mut random);
        assert_eq!(body(&queue, 0), Some(vec![2]));
        let sent = queue.due(at(0)).unwrap().0;
        queue.on_answer(at(0), &sent, &status(413), &mut random);
        assert_eq!((body(&queue, 59), body(&queue, 60)), (None, Some(vec![1])));
        let mut now = 60;
        for wait in [120, 240, 480, 900, 900] {
            let sent = queue.due(at(now)).unwrap().0;
            queue.on_answer(at(now), &sent, &status(403), &mut random);
            assert_eq!(queue.deadline(), Some(at(now + wait)));
            now += wait;
        }
    }

    #[test]
    fn no_answer_stops_the_queue_until_it_is_kicked() {
        let mut queue = Deferred::new();
        let mut random = Random::new(1);
        queue.put(at(0), Key::Device, vec![1], OnFailure::Keep);
        queue.put(at(0), Key::Hardware, vec![2], OnFailure::Discard);
        let sent = queue.due(at(0)).unwrap().0;
        queue.on_answer(at(0), &sent, &Outcome::NoAnswer(FailureKind::Timeout), &mut random);
        // The item that is discarded on failure is gone, the other waits with the queue.
        assert_eq!((queue.len(), body(&queue, 59)), (1, None));
        assert_eq!(body(&queue, 120), Some(vec![1]));
        queue.kick(at(1), &mut random);
        assert_eq!(body(&queue, 61), Some(vec![1]));
    }

    #[test]
    fn what_is_sent_for_its_period_is_dropped_on_any_failure_but_takes_nothing_with_it() {
        let mut random = Random::new(1);
        let mut gone = |first: Option<OnFailure>, outcome: &Outcome| {
            let mut queue = Deferred::new();
            if let Some(first) = first {
                queue.put(at(0), Key::Device, vec![1], first);
            }
            queue.put(at(0), Key::Device, vec![2], OnFailure::Discard);
            let sent = queue.due(at(0)).unwrap().0;
            queue.on_answer(at(0), &sent, outcome, &mut random);
            assert_eq!(queue.bytes, queue.len());
            queue.len() == 0
        };
        for outcome in [status(500), status(403), status(413), Outcome::NoAnswer(FailureKind::Timeout)] {
            assert!(gone(None, &outcome), "{outcome}");
            assert!(gone(Some(OnFailure::Discard), &outcome), "{outcome}");
            // A change that was not delivered yet has to arrive, unless it never will.
            assert_eq!(gone(Some(OnFailure::Keep), &outcome), outcome == status(413), "{outcome}");
        }
    }

    #[test]
    fn the_answer_to_an_old_body_does_not_remove_the_new_one() {
        let mut queue = Deferred::new();
        let mut random = Random::new(1);
        queue.put(at(0), Key::Device, vec![1], OnFailure::Keep);
        let sent = queue.due(at(0)).unwrap().0;
        queue.put(at(0), Key::Device, vec![2], OnFailure::Keep);
        queue.on_answer(at(0), &sent, &Outcome::Success { status: 201, payload: vec![] }, &mut random);
        assert_eq!(body(&queue, 0), Some(vec![2]));
    }

    #[test]
    fn room_is_bounded() {
        let mut queue = Deferred::new();
        for index in 0..MAX_ITEMS + 3 {
            queue.put(at(0), Key::App(alloc::format!("{index}")), vec![0; 10], OnFailure::Keep);
        }
        assert_eq!((queue.len(), queue.dropped), (MAX_ITEMS, 3));
        queue.put(at(0), Key::App("0".into()), vec![0; MAX_BYTES], OnFailure::Keep);
        assert_eq!(queue.dropped, 4);
    }
}
