//! Xen raises a port while the domain takes events, or unmasks the port.

use board_support_arch::events::{Words, take};
use loom::sync::Arc;
use loom::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, SeqCst},
    fence,
};
use loom::thread;
use proto_xen::Port;

/// The port that the models are about: in word 0.
const PORT: Port = Port(1);
const BIT: u64 = 1 << PORT.0;
/// Another one in the same word.
const OTHER: u64 = 1;

/// The words of one vCPU, and what the event is about.
struct Page {
    upcall_pending: AtomicU8,
    selector: AtomicU64,
    pending: AtomicU64,
    mask: AtomicU64,
    /// What the peer wrote before it sent the event.
    news: AtomicBool,
}

impl Page {
    fn new(mask: u64) -> Arc<Self> {
        Arc::new(Self {
            upcall_pending: AtomicU8::new(0),
            selector: AtomicU64::new(0),
            pending: AtomicU64::new(0),
            mask: AtomicU64::new(mask),
            news: AtomicBool::new(false),
        })
    }

    /// What a peer's event makes Xen do. Source: `evtchn_2l_set_pending`; its bit operations are full
    /// barriers, for which loom knows fences alone.
    fn raise(&self) {
        self.news.store(true, Relaxed);
        if self.pending.fetch_or(BIT, SeqCst) & BIT == 0 {
            fence(SeqCst);
            self.tell();
        }
    }

    /// `EVTCHNOP_unmask`. Source: `evtchn_2l_unmask`.
    fn unmask_in_xen(&self) {
        if self.mask.fetch_and(!BIT, SeqCst) & BIT != 0 {
            fence(SeqCst);
            if self.pending.load(SeqCst) & BIT != 0 {
                self.tell();
            }
        }
    }

    fn tell(&self) {
        if self.mask.load(SeqCst) & BIT == 0 && self.selector.fetch_or(1, SeqCst) & 1 == 0 {
            fence(SeqCst);
            self.upcall_pending.fetch_or(1, SeqCst);
        }
    }

    /// Whether Xen makes, or has made, an upcall that is not served.
    fn upcall(&self) -> bool {
        self.upcall_pending.load(SeqCst) != 0
    }
}

impl Words for Page {
    fn upcall_pending(&self) -> &AtomicU8 {
        &self.upcall_pending
    }

    fn selector(&self) -> &AtomicU64 {
        &self.selector
    }

    fn pending(&self, _word: u32) -> &AtomicU64 {
        &self.pending
    }

    fn mask(&self, _word: u32) -> &AtomicU64 {
        &self.mask
    }
}

/// Takes events and says whether the news was seen.
type Take = fn(&Page) -> bool;

fn real(page: &Page) -> bool {
    let mut seen = false;
    take(page, |port| {
        seen |= port == PORT && page.news.load(Relaxed);
    });
    seen
}

/// The port is raised while an upcall takes an event of `first`. That upcall, or the next one, sees the news.
fn raised(first: u64, taking: Take) {
    let page = Page::new(0);
    page.pending.store(first, Relaxed);
    page.selector.store(1, Relaxed);
    page.upcall_pending.store(1, Relaxed);
    let other = page.clone();
    let raising = thread::spawn(move || other.raise());
    let mut seen = taking(&page);
    raising.join().unwrap();
    if page.upcall() {
        seen |= taking(&page);
    }
    assert!(seen, "the event was lost");
}

#[test]
fn no_event_is_lost_during_an_upcall() {
    loom::model(|| raised(OTHER, real));
}

#[test]
fn no_second_event_is_lost_while_the_first_is_taken() {
    loom::model(|| raised(BIT, real));
}

/// A flag that is cleared at the end clears that of an upcall that is not served.
#[test]
#[should_panic(expected = "the event was lost")]
fn fails_when_the_upcall_flag_is_cleared_last() {
    loom::model(|| {
        raised(OTHER, |page| {
            let seen = take_words(page, || page.selector.swap(0, AcqRel), false);
            page.upcall_pending.store(0, Relaxed);
            seen
        });
    });
}

/// A selector that is read and then cleared is not ordered before the look at the pending bits.
#[test]
#[should_panic(expected = "the event was lost")]
fn fails_when_the_selector_is_not_swapped() {
    loom::model(|| {
        raised(OTHER, |page| {
            page.upcall_pending.store(0, Relaxed);
            let read_and_clear = || {
                let found = page.selector.load(Acquire);
                page.selector.store(0, SeqCst);
                found
            };
            take_words(page, read_and_clear, false)
        });
    });
}

/// Without acquire, the swap finds the selector set again and the pending bits of before.
#[test]
#[should_panic(expected = "the event was lost")]
fn fails_without_acquire_at_the_selector() {
    loom::model(|| {
        raised(OTHER, |page| {
            page.upcall_pending.store(0, Relaxed);
            take_words(page, || page.selector.swap(0, Relaxed), false)
        });
    });
}

/// A port that is looked at before its bit is cleared: what comes in between is not raised anew.
#[test]
#[should_panic(expected = "the event was lost")]
fn fails_when_the_bit_is_cleared_after_the_look() {
    loom::model(|| {
        raised(BIT, |page| {
            page.upcall_pending.store(0, Relaxed);
            take_words(page, || page.selector.swap(0, AcqRel), true)
        });
    });
}

/// One pass of the twins: as `take`, but for the selector, and for when the bit is cleared.
fn take_words(page: &Page, selector: impl Fn() -> u64, look_first: bool) -> bool {
    if selector() == 0 {
        return false;
    }
    let raised = page.pending.load(Acquire) & !page.mask.load(Acquire);
    let before = look_first && page.news.load(Relaxed);
    page.pending.fetch_and(!raised, AcqRel);
    if look_first { before } else { raised & BIT != 0 && page.news.load(Relaxed) }
}

/// A port is raised while it is unmasked. Afterwards there is an upcall that sees it.
fn unmasked(unmask: fn(&Page)) {
    let page = Page::new(BIT);
    let other = page.clone();
    let raising = thread::spawn(move || other.raise());
    unmask(&page);
    raising.join().unwrap();
    assert!(page.upcall() && real(&page), "the event was lost");
}

#[test]
fn no_event_is_lost_while_its_port_is_unmasked() {
    loom::model(|| unmasked(Page::unmask_in_xen));
}

/// Why unmasking is a hypercall: a domain that clears the bit by itself misses what came while it was set.
#[test]
#[should_panic(expected = "the event was lost")]
fn fails_when_the_domain_clears_the_mask_itself() {
    loom::model(|| {
        unmasked(|page| {
            page.mask.fetch_and(!BIT, SeqCst);
        });
    });
}
