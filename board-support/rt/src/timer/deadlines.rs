//! Who is to be woken when.

use alloc::collections::BTreeMap;
use core::task::Waker;

/// Names one entry. Unique for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket {
    deadline_ns: u64,
    number: u64,
}

/// Wakers by deadline.
#[derive(Debug, Default)]
pub struct Deadlines {
    entries: BTreeMap<Ticket, Waker>,
    next: u64,
}

impl Deadlines {
    /// Without entries.
    #[must_use]
    pub const fn new() -> Self {
        Self { entries: BTreeMap::new(), next: 0 }
    }

    /// Has `waker` woken at `deadline_ns`.
    pub fn add(&mut self, deadline_ns: u64, waker: Waker) -> Ticket {
        let ticket = Ticket { deadline_ns, number: self.next };
        self.next += 1;
        self.entries.insert(ticket, waker);
        ticket
    }

    /// Has `waker` woken at `deadline_ns`, unless it will be already.
    pub fn keep(&mut self, deadline_ns: u64, waker: &Waker) {
        let range = Ticket { deadline_ns, number: 0 }..=Ticket { deadline_ns, number: u64::MAX };
        if !self.entries.range(range).any(|(_, known)| known.will_wake(waker)) {
            self.add(deadline_ns, waker.clone());
        }
    }

    /// Replaces the waker of an entry. An entry that was woken already is entered again.
    pub fn refresh(&mut self, ticket: Ticket, waker: &Waker) {
        match self.entries.get_mut(&ticket) {
            Some(known) => known.clone_from(waker),
            None => drop(self.entries.insert(ticket, waker.clone())),
        }
    }

    /// Forgets an entry; one that was woken already is no longer there.
    pub fn remove(&mut self, ticket: Ticket) {
        self.entries.remove(&ticket);
    }

    /// The waker of one entry whose deadline is not after `now_ns`, earliest first.
    pub fn expired(&mut self, now_ns: u64) -> Option<Waker> {
        let first = self.entries.first_entry()?;
        (first.key().deadline_ns <= now_ns).then(|| first.remove())
    }

    /// The earliest deadline.
    #[must_use]
    pub fn earliest(&self) -> Option<u64> {
        self.entries.first_key_value().map(|(ticket, _)| ticket.deadline_ns)
    }
}

#[cfg(test)]
mod tests {
    use core::sync::atomic::{AtomicU32, Ordering};
    use std::{sync::Arc, task::Wake};

    use super::*;

    #[derive(Default)]
    struct Count(AtomicU32);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn run(deadlines: &mut Deadlines, now: u64) {
        while let Some(waker) = deadlines.expired(now) {
            waker.wake();
        }
    }

    #[test]
    fn each_is_woken_once_and_not_before_its_time() {
        let (late, early) = (Arc::new(Count::default()), Arc::new(Count::default()));
        let mut deadlines = Deadlines::new();
        deadlines.add(20, late.clone().into());
        deadlines.add(10, early.clone().into());
        assert_eq!(deadlines.earliest(), Some(10));
        run(&mut deadlines, 9);
        assert_eq!(early.0.load(Ordering::Relaxed), 0);
        run(&mut deadlines, 10);
        assert_eq!((early.0.load(Ordering::Relaxed), late.0.load(Ordering::Relaxed)), (1, 0));
        assert_eq!(deadlines.earliest(), Some(20));
        run(&mut deadlines, u64::MAX);
        run(&mut deadlines, u64::MAX);
        assert_eq!((early.0.load(Ordering::Relaxed), late.0.load(Ordering::Relaxed)), (1, 1));
        assert_eq!(deadlines.earliest(), None);
    }

    #[test]
    fn equal_deadlines_are_different_entries() {
        let (first, second) = (Arc::new(Count::default()), Arc::new(Count::default()));
        let mut deadlines = Deadlines::new();
        let ticket = deadlines.add(5, first.clone().into());
        deadlines.add(5, second.clone().into());
        deadlines.remove(ticket);
        deadlines.remove(ticket);
        run(&mut deadlines, 5);
        assert_eq!((first.0.load(Ordering::Relaxed), second.0.load(Ordering::Relaxed)), (0, 1));
    }

    #[test]
    fn the_same_wish_is_kept_once() {
        let (first, second) = (Arc::new(Count::default()), Arc::new(Count::default()));
        let (one, two) = (Waker::from(first.clone()), Waker::from(second.clone()));
        let mut deadlines = Deadlines::new();
        for _ in 0..3 {
            deadlines.keep(5, &one);
            deadlines.keep(5, &two);
        }
        assert_eq!(deadlines.entries.len(), 2);
        run(&mut deadlines, 5);
        assert_eq!((first.0.load(Ordering::Relaxed), second.0.load(Ordering::Relaxed)), (1, 1));
    }

    #[test]
    fn the_last_waker_counts() {
        let (first, second) = (Arc::new(Count::default()), Arc::new(Count::default()));
        let mut deadlines = Deadlines::new();
        let ticket = deadlines.add(5, first.clone().into());
        deadlines.refresh(ticket, &second.clone().into());
        run(&mut deadlines, 5);
        assert_eq!((first.0.load(Ordering::Relaxed), second.0.load(Ordering::Relaxed)), (0, 1));
    }
}
