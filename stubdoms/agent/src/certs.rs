//! When the controller's certificates are fetched.
//!
//! Before onboarding, on the exponential ticker; once more when the UUID is known; then at random
//! within each `timer.cert.interval`; and at once when an answer's signature does not verify or the
//! configuration names another set.

use core::time::Duration;

use crate::clock::{Instant, Random, Ticker};

const RETRY: Duration = Duration::from_secs(120);
/// A server that keeps answering with wrong signatures must not make us fetch without pause.
const CLOSEST: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct CertsKeeper {
    next: Instant,
    last: Option<Instant>,
    ticker: Ticker,
}

impl CertsKeeper {
    pub(crate) fn new(now: Instant) -> Self {
        let ticker = Ticker::new(Duration::from_secs(1), Duration::from_secs(600));
        Self { next: now, last: None, ticker }
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.next
    }

    pub(crate) fn sent(&mut self, now: Instant) {
        self.last = Some(now);
    }

    /// Something asks for a fresh set.
    pub(crate) fn refetch(&mut self, now: Instant) {
        let earliest = self.last.map_or(now, |last| last.after(CLOSEST));
        self.next = self.next.min(now.max(earliest));
    }

    pub(crate) fn accepted(&mut self, now: Instant, interval: Duration, random: &mut Random) {
        self.ticker.reset();
        self.next = now.after(random.share(interval, 300, 1000));
    }

    pub(crate) fn failed(&mut self, now: Instant, onboarded: bool) {
        self.next = now.after(if onboarded { RETRY } else { self.ticker.wait() });
    }

    /// The uplink is back: do not wait for the rest of a long tick.
    pub(crate) fn hurry(&mut self, now: Instant) {
        self.ticker.reset();
        self.next = self.next.min(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant(0).after(Duration::from_secs(seconds))
    }

    #[test]
    fn refetches_at_once_but_not_in_a_loop() {
        let mut random = Random::new(3);
        let mut keeper = CertsKeeper::new(at(0));
        keeper.failed(at(0), false);
        assert_eq!(keeper.deadline(), at(1));
        keeper.sent(at(1));
        keeper.accepted(at(1), Duration::from_secs(86_400), &mut random);
        assert!(keeper.deadline() >= at(1 + 25_920) && keeper.deadline() <= at(1 + 86_400));
        keeper.refetch(at(100));
        assert_eq!(keeper.deadline(), at(100));
        keeper.sent(at(100));
        keeper.accepted(at(100), Duration::from_secs(86_400), &mut random);
        keeper.refetch(at(101));
        assert_eq!(keeper.deadline(), at(105));
        keeper.failed(at(105), true);
        assert_eq!(keeper.deadline(), at(225));
    }
}
