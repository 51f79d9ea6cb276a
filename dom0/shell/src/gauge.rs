//! What services answered to who measures.

use core::cell::Cell;

use crate::ground::Bell;

/// What services answered last.
#[derive(Default)]
pub struct Gauge {
    /// The number of the ping that was answered last.
    pub pong: Cell<u32>,
    /// How often a service said that it woke.
    pub rounds: Cell<Option<u64>>,
    /// Bytes of fillers that came.
    pub filler: Cell<usize>,
    /// One of these has changed.
    pub heard: Bell,
}

impl Gauge {
    /// A ping was answered.
    pub(crate) fn pong(&self, number: u32) {
        self.pong.set(number);
        self.heard.signal(());
    }

    /// A service said how often it woke.
    pub(crate) fn rounds(&self, count: u64) {
        self.rounds.set(Some(count));
        self.heard.signal(());
    }

    /// So many bytes came.
    pub(crate) fn filler(&self, bytes: usize) {
        self.filler.set(self.filler.get().saturating_add(bytes));
        self.heard.signal(());
    }
}
