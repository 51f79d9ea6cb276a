//! Which ports were raised, who waits for them, and which are heard: what the upcall and those who wait know.
//!
//! ```text
//!            look              raised: marked, who waits is woken
//!   masked ───────► open ───────────────────────────────────────► open, marked
//!     ▲                                                            │  │ look: ready, no mark
//!     └──────────────────── raised again: nobody has looked ───────┘  ▼
//!                                                                    open
//! ```
//!
//! A port is masked until somebody looks for it, so that an event that came before is not lost: Xen keeps it. It is
//! masked again from its second event on that nobody has looked for: a peer that raises it all the time costs no
//! more than the looks.

use core::task::Waker;

/// What is known of one port.
#[derive(Debug)]
pub(crate) struct Slot {
    /// Raised since somebody last looked.
    marked: bool,
    /// Somebody waited for it, so it was unmasked.
    open: bool,
    waker: Option<Waker>,
}

/// What a look has found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// It was raised since the last one.
    Raised,
    /// It was not, and the waker is kept.
    Quiet,
    /// As `Quiet`; the port is masked and is to be unmasked now, which raises it for what came before.
    QuietAndMasked,
}

impl Slot {
    /// Nothing happened yet, and the port is masked.
    pub(crate) const NEW: Self = Self { marked: false, open: false, waker: None };

    /// Looks whether the port was raised since the last look. The last waker counts.
    pub(crate) fn look(&mut self, waker: &Waker) -> Look {
        if core::mem::take(&mut self.marked) {
            return Look::Raised;
        }
        match &mut self.waker {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
        if core::mem::replace(&mut self.open, true) { Look::Quiet } else { Look::QuietAndMasked }
    }

    /// Takes an event: says whether the port is to be masked now, and who is to be woken.
    pub(crate) fn raise(&mut self) -> (bool, Option<Waker>) {
        // Raised again before anybody looked: the next one can wait until somebody does.
        let again = core::mem::replace(&mut self.marked, true);
        self.open &= !again;
        (again, self.waker.take())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    };
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicU32);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    /// A port as Xen has it, with the domain's slot for it.
    struct Port {
        slot: Slot,
        pending: bool,
        masked: bool,
        upcalls: u32,
        woken: Arc<Woken>,
    }

    impl Port {
        fn new() -> Self {
            Self { slot: Slot::NEW, pending: false, masked: true, upcalls: 0, woken: Arc::default() }
        }

        /// The peer sends an event.
        fn send(&mut self) {
            self.pending = true;
            self.upcall();
        }

        fn upcall(&mut self) {
            if self.masked || !core::mem::take(&mut self.pending) {
                return;
            }
            self.upcalls += 1;
            let (mask, waker) = self.slot.raise();
            self.masked |= mask;
            waker.into_iter().for_each(Waker::wake);
        }

        /// Whether it was raised, as who waits sees it.
        fn look(&mut self) -> bool {
            let found = self.slot.look(&self.woken.clone().into());
            if found == Look::QuietAndMasked {
                self.masked = false;
                self.upcall();
            }
            found == Look::Raised
        }

        fn woken(&self) -> u32 {
            self.woken.0.swap(0, Relaxed)
        }
    }

    #[test]
    fn what_came_before_anybody_looked_is_not_lost() {
        let mut port = Port::new();
        port.send();
        assert_eq!((port.upcalls, port.woken()), (0, 0), "nobody waits, so nobody is disturbed");
        assert!(!port.look());
        assert_eq!(port.woken(), 1);
        assert!(port.look());
        assert!(!port.look());
    }

    #[test]
    fn a_flood_costs_three_upcalls_however_long_it_is() {
        let mut port = Port::new();
        assert!(!port.look());
        for flood in 1..=10 {
            for _ in 0..1000 {
                port.send();
            }
            assert_eq!((port.upcalls, port.woken()), (3 * flood - 1, 1));
            // What was masked meanwhile comes when it is looked for.
            assert!(port.look());
            assert!(!port.look());
            assert_eq!(port.woken(), 1, "of the rest it is told once more");
            assert!(port.look());
            assert!(!port.look());
        }
    }

    #[test]
    fn an_event_between_two_looks_is_always_seen() {
        // All orders of eight sends and looks.
        for order in 0..256_u32 {
            let mut port = Port::new();
            let mut unseen = false;
            for step in 0..8 {
                if order & 1 << step == 0 {
                    port.send();
                    unseen = true;
                } else if port.look() {
                    unseen = false;
                }
            }
            // Who is told to look does so until nothing is left: once for what is marked, once for what is masked.
            let seen = (0..6).filter(|_| port.look()).count();
            assert!(seen > 0 || !unseen, "order {order:#b}");
            assert!(seen <= 2 && !port.look(), "order {order:#b}: {seen} times");
        }
    }

    #[test]
    fn the_last_waker_is_woken_and_once() {
        let (first, last) = (Arc::new(Woken::default()), Arc::new(Woken::default()));
        let mut slot = Slot::NEW;
        assert_eq!(slot.look(&first.clone().into()), Look::QuietAndMasked);
        assert_eq!(slot.look(&last.clone().into()), Look::Quiet);
        let (masks, waker) = slot.raise();
        assert!(!masks);
        waker.into_iter().for_each(Waker::wake);
        let (masks, waker) = slot.raise();
        assert!(masks && waker.is_none());
        assert_eq!((first.0.load(Relaxed), last.0.load(Relaxed)), (0, 1));
    }
}
