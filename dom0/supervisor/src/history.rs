//! The deaths of one service: how long to wait before the next start, and when to give up.
//!
//! The first death costs nothing: what dies rarely is back at once. Each further one within
//! [`WINDOW`] doubles the wait. Ends that were ordered do not count.

use core::time::Duration;

use heapless::Deque;

use crate::Instant;

/// Deaths older than this are forgotten.
pub const WINDOW: Duration = Duration::from_secs(15 * 60);
/// This many deaths within [`WINDOW`] are too many.
pub const LIMIT: usize = 12;
/// The wait after the second death.
pub const FIRST_DELAY: Duration = Duration::from_millis(125);
/// The longest wait.
pub const LONGEST_DELAY: Duration = Duration::from_secs(32);

/// What follows a death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Another start, after this time.
    Restart(Duration),
    /// Nothing any more: [`LIMIT`] deaths within [`WINDOW`].
    GiveUp,
}

/// The deaths that count.
#[derive(Clone, Debug, Default)]
pub struct History {
    deaths: Deque<Instant, LIMIT>,
}

impl History {
    /// No deaths.
    #[must_use]
    pub const fn new() -> Self {
        Self { deaths: Deque::new() }
    }

    /// Notes a death.
    pub fn died(&mut self, now: Instant) -> Next {
        while self.deaths.front().is_some_and(|&death| now.saturating_sub(death) >= WINDOW) {
            self.deaths.pop_front();
        }
        // Full: given up before, and started again by order.
        if self.deaths.is_full() {
            self.deaths.pop_front();
        }
        // There is room for it.
        let _ = self.deaths.push_back(now);
        match self.deaths.len() {
            LIMIT.. => Next::GiveUp,
            count => Next::Restart(delay(count)),
        }
    }

    /// How many deaths count now.
    #[must_use]
    pub fn count(&self) -> usize {
        self.deaths.len()
    }
}

/// The wait after the death with this number, from 1 on.
fn delay(death: usize) -> Duration {
    // At most `LIMIT`.
    let doublings = death.saturating_sub(2) as u32;
    match death {
        0 | 1 => Duration::ZERO,
        _ => FIRST_DELAY.saturating_mul(1 << doublings).min(LONGEST_DELAY),
    }
}
