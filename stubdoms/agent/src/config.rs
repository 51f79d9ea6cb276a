//! The configuration: when it is asked for, and what an answer means.

pub(crate) mod diff;
pub(crate) mod store;

use core::time::Duration;

use crate::clock::{Instant, Random};

/// How long the first request waits for attestation, without which controllers refuse it.
const ATTESTATION: Duration = Duration::from_secs(10);

/// When the configuration is asked for.
#[derive(Debug)]
pub(crate) struct Poll {
    next: Option<Instant>,
    /// When the controller last said what the configuration is, or this began.
    confirmed: Instant,
}

impl Poll {
    pub(crate) fn new(now: Instant) -> Self {
        Self { next: None, confirmed: now }
    }

    /// The controller gave a configuration that was accepted, or said that it is the same.
    pub(crate) fn confirm(&mut self, now: Instant) {
        self.confirmed = now;
    }

    pub(crate) fn confirmed(&self) -> Instant {
        self.confirmed
    }

    /// The UUID is known.
    pub(crate) fn begin(&mut self, now: Instant) {
        self.next = Some(now.after(ATTESTATION));
    }

    /// Something happened that makes an answer likely.
    pub(crate) fn hurry(&mut self, now: Instant) {
        self.next = self.next.map(|next| next.min(now));
    }

    /// An exchange has ended, well or not: there is no back-off beyond the interval itself.
    pub(crate) fn again(&mut self, now: Instant, interval: Duration, random: &mut Random) {
        self.next = Some(now.after(random.share(interval, 300, 1000)));
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.next
    }

    pub(crate) fn due(&self, now: Instant) -> bool {
        self.next.is_some_and(|next| next <= now)
    }
}
