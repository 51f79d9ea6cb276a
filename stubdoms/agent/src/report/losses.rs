//! What dom0 had to drop of the log and of consoles before it was taken, and how often that is told.
//!
//! dom0 keeps lines until control says that they are with the controller or with storage. When both are silent for long
//! its journal is full, the oldest lines make room, and where they are missing it tells so. Each telling is a line of the
//! log itself, so one for every loss would make the next loss. The first loss is told at once; those of the minute after it
//! are told together when that is over. dom0 counts all of them since the start of the machine, for metrics.

use core::time::Duration;

use proto_errors::ctl;

use crate::clock::{Instant, Now};

/// How long after one telling the next may come.
const PAUSE: Duration = Duration::from_secs(60);

/// What was lost.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    pub(crate) lines: u64,
    pub(crate) console_bytes: u64,
    /// What was told of that.
    told: (u64, u64),
    next: Instant,
}

impl Losses {
    /// Takes how much is lost since the start of the machine, as dom0 tells it to each life of the agent. What that life's
    /// note says is the same until then, so that the sum is never told to fall.
    pub(crate) fn are(&mut self, lines: u64, console_bytes: u64) {
        self.lines = self.lines.max(lines);
        self.console_bytes = self.console_bytes.max(console_bytes);
    }

    /// What a later life of the agent has to know.
    pub(crate) fn counters(&self) -> impl Iterator<Item = u64> + use<> {
        [self.lines, self.console_bytes, self.told.0, self.told.1].into_iter()
    }

    /// Takes what an earlier life left.
    pub(crate) fn recall(&mut self, counters: &mut impl Iterator<Item = u64>) {
        let mut next = || counters.next().unwrap_or(0);
        (self.lines, self.console_bytes, self.told) = (next(), next(), (next(), next()));
    }

    /// When there is something to tell.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        (self.told != (self.lines, self.console_bytes)).then_some(self.next)
    }

    /// Tells what is to be told now. True if there was something, which a later life of the agent has to know.
    #[must_use]
    pub(crate) fn step(&mut self, now: Now) -> bool {
        let Some((lines, console_bytes)) = self.due(now) else { return false };
        log::warn!(
            "log: dom0 dropped {lines} lines and {console_bytes} bytes of consoles, {} and {} since the start of the \
             machine [{}]",
            self.lines,
            self.console_bytes,
            ctl::LOG_LOST
        );
        true
    }

    /// Lines and console bytes since the last telling, if they are to be told now.
    fn due(&mut self, now: Now) -> Option<(u64, u64)> {
        self.deadline().filter(|at| *at <= now.at())?;
        let (lines, bytes) = core::mem::replace(&mut self.told, (self.lines, self.console_bytes));
        self.next = now.at().after(PAUSE);
        Some((self.lines.saturating_sub(lines), self.console_bytes.saturating_sub(bytes)))
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
        for second in 0..=660 {
            if second <= 600 {
                losses.are(3 * (second + 1), 500 * (second + 1));
            }
            if let Some(sum) = losses.due(at(second)) {
                (told, lines, bytes) = (told + 1, lines + sum.0, bytes + sum.1);
            }
        }
        assert_eq!((told, lines, bytes), (11, 601 * 3, 601 * 500));
    }

    /// As when dom0 tells of one gap after the other, and then of nothing any more.
    #[test]
    fn a_loss_soon_after_another_is_told_though_no_further_one_comes() {
        let mut losses = Losses::default();
        losses.are(0, 7);
        assert_eq!((losses.due(at(5)), losses.deadline()), (Some((0, 7)), None));
        losses.are(2, 7);
        losses.are(5, 8);
        assert_eq!((losses.due(at(6)), losses.deadline()), (None, Some(at(65).at())));
        // Also by a later life.
        let mut later = Losses::default();
        later.recall(&mut losses.counters());
        later.are(5, 8);
        assert_eq!((later.lines, later.console_bytes, later.due(at(7))), (5, 8, Some((5, 1))));
        assert_eq!((losses.due(at(65)), losses.deadline()), (Some((5, 1)), None));
    }
}
