//! Time and chance, as they are handed in: the agent reads no clock and has no source of randomness.

use core::time::Duration;

use proto_eve::{Timestamp, UnixTime, time};

/// A clock that tells an earlier time was never set: seconds since 1970 of 2025-01-01.
pub(crate) const EARLIEST: u64 = 1_735_689_600;
/// The same for one that tells a later time or this one: 2100-01-01.
pub(crate) const LATEST: u64 = 4_102_444_800;

/// The time at a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Nanoseconds since boot; never goes back.
    pub monotonic_ns: u64,
    /// The wall clock, if it is known. It may jump.
    pub wall: Option<WallTime>,
}

/// A reading of the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WallTime {
    /// Seconds since 1970.
    pub seconds: u64,
    /// Nanoseconds below 10⁹.
    pub nanos: u32,
}

impl WallTime {
    /// A time since 1970-01-01 00:00 UTC.
    #[must_use]
    pub fn since(since_1970: Duration) -> Self {
        Self { seconds: since_1970.as_secs(), nanos: since_1970.subsec_nanos() }
    }

    /// Whether a clock that tells this may be right.
    pub(crate) fn is_possible(&self) -> bool {
        (EARLIEST..LATEST).contains(&self.seconds)
    }

    pub(crate) fn since_1970(self) -> Duration {
        Duration::from_secs(self.seconds) + Duration::from_nanos(self.nanos.into())
    }

    /// The time so long ago; not before 1970.
    pub(crate) fn before(self, ago: Duration) -> Self {
        Self::since(self.since_1970().saturating_sub(ago))
    }

    pub(crate) fn timestamp(self) -> Timestamp {
        time::timestamp(i64::try_from(self.seconds).unwrap_or(i64::MAX), self.nanos)
    }

    pub(crate) fn unix(self) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(self.seconds))
    }
}

impl Now {
    pub(crate) fn at(self) -> Instant {
        Instant(self.monotonic_ns)
    }

    /// The wall clock, unless it cannot be right.
    pub(crate) fn known_wall(self) -> Option<WallTime> {
        self.wall.filter(WallTime::is_possible)
    }

    pub(crate) fn timestamp(self) -> Option<Timestamp> {
        self.wall.map(WallTime::timestamp)
    }
}

/// A moment since boot, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Instant(pub(crate) u64);

impl Instant {
    pub(crate) fn after(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX)))
    }

    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// The earlier of two moments that may not exist.
pub(crate) fn earliest(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// Jitter and request names: splitmix64 from a seed. Nothing secret comes from here.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in `low..=high` thousandths of `whole`.
    pub(crate) fn share(&mut self, whole: Duration, low: u32, high: u32) -> Duration {
        let span = u64::from(high.saturating_sub(low)) + 1;
        let thousandths = low + u32::try_from(self.next() % span).unwrap_or(0);
        whole.saturating_mul(thousandths) / 1000
    }

    pub(crate) fn bytes16(&mut self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.next().to_le_bytes());
        bytes[8..].copy_from_slice(&self.next().to_le_bytes());
        bytes
    }
}

/// Waits that double from a first to a last one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticker {
    first: Duration,
    last: Duration,
    next: Duration,
}

impl Ticker {
    pub(crate) const fn new(first: Duration, last: Duration) -> Self {
        Self { first, last, next: first }
    }

    /// The wait until the next attempt; the one after it is twice as long.
    pub(crate) fn wait(&mut self) -> Duration {
        let wait = self.next;
        self.next = wait.saturating_mul(2).min(self.last);
        wait
    }

    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_last() {
        let mut ticker = Ticker::new(Duration::from_secs(1), Duration::from_secs(600));
        let waits: alloc::vec::Vec<u64> = (0..12).map(|_| ticker.wait().as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600]);
        ticker.reset();
        assert_eq!(ticker.wait().as_secs(), 1);
    }

    #[test]
    fn shares_stay_within_their_bounds() {
        let mut random = Random::new(1);
        for _ in 0..1000 {
            let share = random.share(Duration::from_secs(60), 300, 1000);
            assert!((Duration::from_secs(18)..=Duration::from_secs(60)).contains(&share));
        }
    }
}
