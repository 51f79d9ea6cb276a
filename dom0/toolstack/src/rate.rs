//! How many lines a domain may have dom0 print. A pure machine.
//!
//! Printing is synchronous and the serial line is slow, so a domain that provokes lines without end
//! would have dom0 do nothing else. Each domain has a bucket of [`BURST`] lines that fills with
//! [`PER_SECOND`] a second. When it is empty, lines are counted instead, until it is half full again:
//! so that a flood shows as runs of lines with one gap between them, not as a gap between any two.

/// Lines that are shown at once.
pub const BURST: u64 = 64;

/// Lines a second that are shown after that.
pub const PER_SECOND: u64 = 32;

/// What a line costs, in nanoseconds of filling.
const LINE_NS: u64 = 1_000_000_000 / PER_SECOND;
const FULL_NS: u64 = BURST * LINE_NS;
const AGAIN_NS: u64 = FULL_NS / 2;

/// The bucket of one domain. Times are nanoseconds since boot.
#[derive(Debug)]
pub struct LineLimit {
    credit_ns: u64,
    last_ns: u64,
    hidden: u32,
}

impl LineLimit {
    /// A full one.
    pub const fn new() -> Self {
        Self { credit_ns: FULL_NS, last_ns: 0, hidden: 0 }
    }

    /// Whether a line may be shown now. If not, it is counted.
    pub fn show(&mut self, now_ns: u64) -> bool {
        self.fill(now_ns);
        match self.credit_ns.checked_sub(LINE_NS) {
            Some(rest) if self.hidden == 0 => {
                self.credit_ns = rest;
                true
            }
            _ => {
                self.hidden = self.hidden.saturating_add(1);
                false
            }
        }
    }

    /// How many lines were not shown, once there is room again; to be called ahead of [`Self::show`]
    /// and at [`Self::due_ns`].
    pub fn recovered(&mut self, now_ns: u64) -> Option<u32> {
        self.fill(now_ns);
        if self.hidden == 0 || self.credit_ns < AGAIN_NS {
            return None;
        }
        // The line that tells of it.
        self.credit_ns -= LINE_NS;
        Some(core::mem::take(&mut self.hidden))
    }

    /// When [`Self::recovered`] will tell of lines, if there are any.
    pub fn due_ns(&self) -> Option<u64> {
        (self.hidden > 0).then(|| self.last_ns.saturating_add(AGAIN_NS.saturating_sub(self.credit_ns)))
    }

    fn fill(&mut self, now_ns: u64) {
        let passed = now_ns.saturating_sub(self.last_ns);
        self.last_ns = self.last_ns.max(now_ns);
        self.credit_ns = self.credit_ns.saturating_add(passed).min(FULL_NS);
    }
}

impl Default for LineLimit {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_burst_is_shown_and_the_rest_counted() {
        let mut limit = LineLimit::new();
        let now = 100 * SECOND;
        let shown = (0..100).filter(|_| limit.show(now)).count();
        assert_eq!(shown, 64);
        assert_eq!(limit.recovered(now + SECOND - 1), None);
        assert!(!limit.show(now + SECOND - 1), "not one by one");
        assert_eq!(limit.due_ns(), Some(now + SECOND));
        assert_eq!(limit.recovered(now + SECOND), Some(37));
        assert_eq!((limit.recovered(now + SECOND), limit.due_ns()), (None, None));
        assert!(limit.show(now + SECOND));
    }

    #[test]
    fn a_flood_is_shown_at_the_rate() {
        let mut limit = LineLimit::new();
        let mut lines = 0;
        for now in (0..60 * SECOND).step_by(1_000_000) {
            lines += u64::from(limit.recovered(now).is_some()) + u64::from(limit.show(now));
        }
        assert!((60 * PER_SECOND..=61 * PER_SECOND + BURST).contains(&lines), "{lines}");
    }

    #[test]
    fn who_keeps_to_the_rate_is_always_shown() {
        let mut limit = LineLimit::new();
        assert!((0..10_000).all(|line| limit.show(line * LINE_NS)));
        assert_eq!(limit.due_ns(), None);
        // A clock that stands still or goes back changes nothing.
        assert!(limit.show(0));
    }
}
