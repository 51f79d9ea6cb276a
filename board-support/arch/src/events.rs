//! Taking events out of the words by which Xen tells of them. Xen sets bits at any instant.
//!
//! ```text
//!   Xen raises a port:  pending bit -> selector bit, unless masked -> upcall_pending -> upcall
//!   we take events:     upcall_pending = 0 -> swap the selector -> pending words
//! ```
//!
//! Pure, so that `tests/ring` models it against Xen's side. Source: `xen.h`, `struct vcpu_info`, and Xen's
//! `common/event_2l.c`.

use proto_xen::Port;

use self::atomic::{
    AtomicU8, AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed},
};

/// The atomics, or under `--cfg loom` a model checker's.
pub mod atomic {
    #[cfg(not(loom))]
    pub use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};
    #[cfg(loom)]
    pub use loom::sync::atomic::{AtomicU8, AtomicU64, Ordering};
}

/// The words. An accessor leads to the same word every time; `word` is below the number of words.
pub trait Words {
    /// Nonzero: there is something to take.
    fn upcall_pending(&self) -> &AtomicU8;
    /// A bit for each word below with a raised port.
    fn selector(&self) -> &AtomicU64;
    /// A bit for each port that was raised.
    fn pending(&self, word: u32) -> &AtomicU64;
    /// A bit for each port that is not to be heard.
    fn mask(&self, word: u32) -> &AtomicU64;
}

/// Calls `each` for every port that was raised and is not masked, and clears it before. To be called with
/// upcalls masked at the processor.
pub fn take(words: &impl Words, mut each: impl FnMut(Port)) {
    loop {
        // Cleared before the search: what is raised during it makes another upcall. The swap's release half
        // keeps it before, for Xen's next change of the selector acquires it.
        words.upcall_pending().store(0, Relaxed);
        let mut selected = words.selector().swap(0, AcqRel);
        if selected == 0 {
            return;
        }
        while selected != 0 {
            let word = selected.trailing_zeros();
            selected &= selected - 1;
            let pending = words.pending(word);
            let mut raised = pending.load(Acquire) & !words.mask(word).load(Acquire);
            // Cleared before anybody looks: a port that is raised again during the look is raised anew.
            pending.fetch_and(!raised, AcqRel);
            while raised != 0 {
                let bit = raised.trailing_zeros();
                raised &= raised - 1;
                each(Port(word * u64::BITS + bit));
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::vec::Vec;

    use super::*;

    #[derive(Default)]
    struct Page {
        upcall_pending: AtomicU8,
        selector: AtomicU64,
        pending: [AtomicU64; 4],
        mask: [AtomicU64; 4],
    }

    impl Words for Page {
        fn upcall_pending(&self) -> &AtomicU8 {
            &self.upcall_pending
        }

        fn selector(&self) -> &AtomicU64 {
            &self.selector
        }

        fn pending(&self, word: u32) -> &AtomicU64 {
            &self.pending[word as usize]
        }

        fn mask(&self, word: u32) -> &AtomicU64 {
            &self.mask[word as usize]
        }
    }

    #[test]
    fn raised_ports_are_taken_once_and_masked_ones_stay() {
        let page = Page::default();
        page.pending[0].store(1 << 63 | 1 << 3 | 1, Relaxed);
        page.mask[0].store(1 << 3, Relaxed);
        page.pending[2].store(1 << 5, Relaxed);
        page.selector.store(0b101, Relaxed);
        page.upcall_pending.store(1, Relaxed);
        let mut ports = Vec::new();
        take(&page, |port| ports.push(port.0));
        assert_eq!(ports, [0, 63, 133]);
        assert_eq!(page.pending[0].load(Relaxed), 1 << 3);
        assert_eq!(page.upcall_pending.load(Relaxed), 0);
        take(&page, |port| panic!("{port:?} came twice"));
    }

    #[test]
    fn what_is_raised_during_the_search_is_taken_too() {
        let page = Page::default();
        page.pending[1].store(1, Relaxed);
        page.selector.store(1 << 1, Relaxed);
        let mut ports = Vec::new();
        take(&page, |port| {
            if ports.is_empty() {
                page.pending[0].store(1 << 9, Relaxed);
                page.selector.store(1, Relaxed);
            }
            ports.push(port.0);
        });
        assert_eq!(ports, [64, 9]);
    }
}
