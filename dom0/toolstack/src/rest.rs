//! Whether a service is at rest, by what Xen and the shared ring tell, without waking it. A pure machine.
//!
//! A service is at rest if it waits for an event, has read all that dom0 told it, and has used no CPU time
//! since it was looked at last, unless it said something in between:
//!
//! - One that runs in a circle does not wait.
//! - One that does not look at its channel has something unread, from the first thing that it is told on.
//! - One that runs in a circle and waits in it (which no service of ours can, for only its executor waits) uses
//!   time and says nothing.
//! - One that waits for a peer for ever waits for an event; that is no hang.
//! - One that waits with its events masked has ended: Xen says so at once where a halt is for ever, and
//!   otherwise it has something unread.
//!
//! What it says costs it time, so whoever said something is given the time since the look before. A service
//! that is neither heard nor at rest is asked; if it answers and goes to sleep it is at rest a second later.

/// What a look shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// CPU time that it has used so far, in nanoseconds.
    pub cpu_ns: u64,
    /// Whether it waits for an event.
    pub blocked: bool,
    /// Whether it was told something that it has not taken.
    pub unread: bool,
}

/// What is remembered of one instance.
#[derive(Debug, Default)]
pub struct Rest {
    cpu_ns: u64,
    heard: bool,
}

impl Rest {
    /// It said something.
    pub fn heard(&mut self) {
        self.heard = true;
    }

    /// Whether it is at rest.
    pub fn look(&mut self, look: Look) -> bool {
        let heard = core::mem::take(&mut self.heard);
        let used = core::mem::replace(&mut self.cpu_ns, look.cpu_ns) != look.cpu_ns;
        look.blocked && !look.unread && (heard || !used)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asleep(cpu_ns: u64) -> Look {
        Look { cpu_ns, blocked: true, unread: false }
    }

    /// One that has said something and slept since.
    fn resting() -> Rest {
        let mut rest = Rest::default();
        rest.heard();
        assert!(rest.look(asleep(5)));
        rest
    }

    #[test]
    fn one_that_sleeps_is_at_rest_for_ever() {
        let mut rest = resting();
        assert!((0..100).all(|_| rest.look(asleep(5))));
    }

    #[test]
    fn one_that_spins_is_not_whether_it_was_heard_or_not() {
        let mut rest = resting();
        assert!(!rest.look(Look { blocked: false, ..asleep(6) }));
        rest.heard();
        assert!(!rest.look(Look { blocked: false, ..asleep(7) }));
        // It has not run yet since an event came.
        assert!(!rest.look(Look { blocked: false, ..asleep(7) }));
    }

    #[test]
    fn one_that_does_not_read_is_not() {
        let mut rest = resting();
        assert!(!rest.look(Look { unread: true, ..asleep(5) }));
        rest.heard();
        assert!(!rest.look(Look { unread: true, ..asleep(5) }));
    }

    #[test]
    fn one_that_sleeps_in_a_circle_is_asked_and_after_its_answer_believed_once() {
        let mut rest = resting();
        assert!(!rest.look(asleep(6)));
        rest.heard();
        assert!(rest.look(asleep(7)), "the answer");
        assert!(!rest.look(asleep(8)));
        assert!(rest.look(asleep(8)), "it has ended the circle");
    }
}
