//! How often control may have memory written that wears out.
//!
//! A TPM's memory is good for some 100,000 writes, flash for less in a place. Whoever has taken control over could ask
//! for a write with every message; so there is a bucket of writes that fills with time. A device writes its note once in
//! its life, and a life of the vault begins with enough for some failures of that.

use core::time::Duration;

/// Writes that may follow each other.
pub(crate) const MOST: u32 = 4;
/// In this time one more may be made: 24 a day, which wears a TPM out in more than ten years.
pub(crate) const EVERY: Duration = Duration::from_secs(3600);

/// A bucket of writes.
#[derive(Debug)]
pub(crate) struct Writes {
    left: u32,
    /// From when on the next one is counted; none while it is full.
    since: Option<Duration>,
    refused: u32,
}

impl Default for Writes {
    fn default() -> Self {
        Self { left: MOST, since: None, refused: 0 }
    }
}

impl Writes {
    /// Takes a write out.
    ///
    /// # Errors
    /// How long until there is one.
    pub(crate) fn take(&mut self, now: Duration) -> Result<(), Duration> {
        let since = *self.since.get_or_insert(now);
        let more =
            u32::try_from(now.saturating_sub(since).as_secs() / EVERY.as_secs()).unwrap_or(MOST).min(MOST);
        self.left = (self.left + more).min(MOST);
        let since = if self.left == MOST { now } else { since + EVERY * more };
        self.since = Some(since);
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                self.refused = self.refused.saturating_add(1);
                Err((since + EVERY).saturating_sub(now))
            }
        }
    }

    /// How many were refused in this life.
    pub(crate) fn refused(&self) -> u32 {
        self.refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_held_to_the_rate_and_counted() {
        let mut writes = Writes::default();
        let mut made = 0;
        // Ten days, an attempt a second.
        for second in 0..10 * 24 * 3600_u64 {
            made += u32::from(writes.take(Duration::from_secs(second)).is_ok());
        }
        assert_eq!(made, MOST + 10 * 24 - 1);
        assert_eq!(writes.refused(), 10 * 24 * 3600 - made);
    }

    #[test]
    fn it_fills_up_and_not_over_and_says_how_long() {
        let mut writes = Writes::default();
        let late = Duration::from_secs(1_000_000);
        for _ in 0..MOST {
            assert_eq!(writes.take(late), Ok(()));
        }
        assert_eq!(writes.take(late + Duration::from_secs(600)), Err(Duration::from_secs(3000)));
        // A clock that goes back gives nothing.
        assert!(writes.take(Duration::ZERO).is_err());
        assert_eq!(writes.take(late + EVERY), Ok(()));
        assert!(writes.take(late + EVERY).is_err());
        let later = late + 100 * EVERY;
        let made = (0..100).filter(|_| writes.take(later).is_ok()).count();
        assert_eq!(made, MOST as usize);
    }
}
