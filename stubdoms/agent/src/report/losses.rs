//! What was lost of the log on the way, and how often that is told.
//!
//! Each telling is a line of the log itself, so one for every loss would make the next loss. The first loss is
//! told at once; those of the minute after it are told together, with the first one that comes later.

use core::time::Duration;

use crate::clock::{Instant, Now};

/// How long after one telling the next may come.
const PAUSE: Duration = Duration::from_secs(60);

/// What was lost and not told yet.
#[derive(Debug, Default)]
pub struct Losses {
    lines: u64,
    console_bytes: u64,
    next: Option<Instant>,
}

impl Losses {
    /// Adds a loss. `Some` if it is to be told now: all lines and console bytes since the last telling.
    pub fn add(&mut self, now: Now, lines: u32, console_bytes: u32) -> Option<(u64, u64)> {
        self.lines = self.lines.saturating_add(lines.into());
        self.console_bytes = self.console_bytes.saturating_add(console_bytes.into());
        if self.next.is_some_and(|next| now.at() < next) {
            return None;
        }
        self.next = Some(now.at().after(PAUSE));
        Some((core::mem::take(&mut self.lines), core::mem::take(&mut self.console_bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Now {
        Now { monotonic_ns: seconds * 1_000_000_000, wall: None }
    }

    #[test]
    fn losses_without_end_are_told_once_a_minute_and_none_is_forgotten() {
        let mut losses = Losses::default();
        let (mut told, mut lines, mut bytes) = (0, 0, 0);
        for second in 0..=600 {
            if let Some(sum) = losses.add(at(second), 3, 500) {
                (told, lines, bytes) = (told + 1, lines + sum.0, bytes + sum.1);
            }
        }
        assert_eq!((told, lines, bytes), (11, 601 * 3, 601 * 500));
    }

    #[test]
    fn a_single_loss_is_told_at_once() {
        let mut losses = Losses::default();
        assert_eq!(losses.add(at(5), 0, 7), Some((0, 7)));
        assert_eq!(losses.add(at(6), 2, 0), None);
        assert_eq!(losses.add(at(90), 1, 1), Some((3, 1)));
    }
}
