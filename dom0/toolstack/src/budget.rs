//! How much a domain may have dom0 take from it. A pure machine.
//!
//! Whatever a domain sends, dom0 looks at, so a domain that sends without end would have dom0 do nothing else.
//! Each has a bucket of messages (or bytes) that fills with time. When it is empty, dom0 does not read until
//! a part of it has filled again, and the ring pushes back. The parts are small: one whose bucket is empty is
//! still heard some times in each of the supervisor's waits, so it does not count as hung; and when it hangs,
//! what is left in its ring is taken within seconds and nothing is heard any more.
//!
//! What dom0 has asked for ([`Budget::expect`]) costs nothing: the answer to a question, or a measurement.

/// How fast a bucket fills, and what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// What fills in a second.
    pub per_second: u64,
    /// What it holds.
    pub burst: u64,
}

/// Messages of a service: several times what one logs that has a lot to tell.
pub const MESSAGES: Rate = Rate { per_second: 256, burst: 512 };

/// Bytes of an application's console: some times faster than the journal could keep them for long.
pub const CONSOLE_BYTES: Rate = Rate { per_second: 256 << 10, burst: 256 << 10 };

/// Events that a domain sends without anything behind them.
pub const EVENTS: Rate = Rate { per_second: 128, burst: 512 };

const SECOND_NS: u64 = 1_000_000_000;

/// When the bucket is empty, this part of a second's filling is waited for.
const PART: u64 = 16;

/// The bucket of one domain. Times are nanoseconds since boot.
#[derive(Debug)]
pub struct Budget {
    rate: Rate,
    /// What is in it, in nanoseconds of filling.
    credit_ns: u64,
    last_ns: u64,
    /// What is free.
    expected: u32,
}

impl Budget {
    /// A full one.
    pub const fn new(rate: Rate) -> Self {
        Self { rate, credit_ns: Self::full_ns(rate), last_ns: 0, expected: 0 }
    }

    /// So many messages were asked for.
    pub fn expect(&mut self, count: u32) {
        self.expected = self.expected.saturating_add(count);
    }

    /// Takes `count` out of the bucket. More than there is empties it.
    pub fn spend(&mut self, now_ns: u64, count: u64) {
        self.fill(now_ns);
        let free = count.min(self.expected.into());
        // At most what it was.
        self.expected -= free as u32;
        self.credit_ns = self.credit_ns.saturating_sub(self.ns_of(count - free));
    }

    /// Puts `count` back.
    pub fn refund(&mut self, count: u64) {
        self.credit_ns = self.credit_ns.saturating_add(self.ns_of(count)).min(Self::full_ns(self.rate));
    }

    /// Until when to wait before more is taken, if it is empty.
    pub fn wait_until_ns(&mut self, now_ns: u64) -> Option<u64> {
        self.fill(now_ns);
        let is_empty = self.expected == 0 && self.credit_ns < self.ns_of(1);
        is_empty.then(|| now_ns.saturating_add(SECOND_NS / PART))
    }

    fn fill(&mut self, now_ns: u64) {
        let passed = now_ns.saturating_sub(self.last_ns);
        self.last_ns = self.last_ns.max(now_ns);
        self.credit_ns = self.credit_ns.saturating_add(passed).min(Self::full_ns(self.rate));
    }

    const fn full_ns(rate: Rate) -> u64 {
        rate.burst * (SECOND_NS / rate.per_second)
    }

    fn ns_of(&self, count: u64) -> u64 {
        count.saturating_mul(SECOND_NS / self.rate.per_second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One that sends as fast as it is read: when each message was taken, within so many seconds.
    fn flood(budget: &mut Budget, seconds: u64, cost_ns: u64) -> std::vec::Vec<u64> {
        let (mut now, mut taken) = (0, std::vec::Vec::new());
        while now < seconds * SECOND_NS {
            if let Some(until) = budget.wait_until_ns(now) {
                now = until;
            }
            budget.spend(now, 1);
            taken.push(now);
            now += cost_ns;
        }
        taken
    }

    #[test]
    fn a_flood_is_taken_at_the_rate() {
        let mut budget = Budget::new(MESSAGES);
        let taken = flood(&mut budget, 60, 1000).len() as u64;
        let allowed = MESSAGES.burst + 60 * MESSAGES.per_second;
        assert!((allowed - 100..=allowed + 100).contains(&taken), "{taken} of {allowed}");
    }

    #[test]
    fn who_floods_is_heard_all_the_time() {
        let taken = flood(&mut Budget::new(MESSAGES), 60, 1000);
        let longest = taken.windows(2).map(|pair| pair[1] - pair[0]).max();
        // Several times within each of the supervisor's waits.
        assert!(longest.is_some_and(|ns| ns <= 100_000_000), "{longest:?} ns");
    }

    #[test]
    fn a_ring_full_of_the_smallest_messages_is_empty_soon() {
        let mut budget = Budget::new(MESSAGES);
        budget.spend(0, MESSAGES.burst);
        let (mut now, smallest) = (0, 3);
        for _ in 0..2048 / smallest {
            now = budget.wait_until_ns(now).unwrap_or(now);
            budget.spend(now, 1);
        }
        assert!(now < 3 * SECOND_NS, "a hang is hidden for {now} ns");
    }

    #[test]
    fn what_was_asked_for_is_free() {
        let mut budget = Budget::new(MESSAGES);
        budget.spend(0, 1000);
        assert!(budget.wait_until_ns(0).is_some());
        budget.expect(5);
        for _ in 0..5 {
            assert_eq!(budget.wait_until_ns(0), None);
            budget.spend(0, 1);
        }
        assert!(budget.wait_until_ns(0).is_some());
    }

    #[test]
    fn who_keeps_to_the_rate_never_waits() {
        let mut budget = Budget::new(MESSAGES);
        for message in 0..100_000 {
            let now = message * SECOND_NS / MESSAGES.per_second;
            assert_eq!(budget.wait_until_ns(now), None);
            budget.spend(now, 1);
        }
        // A clock that goes back changes nothing.
        assert_eq!(budget.wait_until_ns(0), None);
    }

    #[test]
    fn what_is_put_back_was_not_spent() {
        let mut budget = Budget::new(EVENTS);
        for _ in 0..10_000 {
            assert_eq!(budget.wait_until_ns(0), None);
            budget.spend(0, 1);
            budget.refund(1);
        }
        budget.refund(u64::MAX);
        budget.spend(0, EVENTS.burst);
        assert!(budget.wait_until_ns(0).is_some(), "never fuller than full");
    }
}
