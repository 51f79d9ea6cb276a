//! Frames of memory, and a domain's own pages.

use core::sync::atomic::{AtomicU32, Ordering};
use std::{
    cell::{Cell, OnceCell},
    fmt,
    rc::Rc,
};

use board_support_hyp::{Pages, Shared};
use proto_xen::Gfn;

use crate::world::{Domain, State};

/// A page as words.
pub type Words = [AtomicU32; 1024];

/// What a page holds that Xen has just handed out.
const DIRTY: u32 = 0xdddd_dddd;
/// What a page holds that went back.
const POISON: u32 = 0xdede_dede;

/// A frame of a domain.
pub(crate) struct Frame {
    words: OnceCell<Box<Words>>,
    /// What every word of it is as long as nobody has looked.
    unseen: Cell<u32>,
    /// Its number in the machine, as a device has it that no IOMMU translates for.
    pub(crate) mfn: u64,
    /// How often others map it.
    pub(crate) mapped: Cell<u32>,
    /// It is a part of an extent of order 9.
    pub(crate) large: bool,
}

fn filled(value: u32) -> Box<Words> {
    let words: Box<Words> = Box::new([const { AtomicU32::new(0) }; 1024]);
    fill(&words, value);
    words
}

fn fill(words: &Words, value: u32) {
    words.iter().for_each(|word| word.store(value, Ordering::Relaxed));
}

impl Frame {
    pub(crate) fn new(mfn: u64, large: bool) -> Rc<Self> {
        Rc::new(Self { mfn, words: OnceCell::new(), unseen: Cell::new(DIRTY), mapped: Cell::new(0), large })
    }

    /// What is in it. Memory is only taken for frames that somebody looks at.
    pub(crate) fn words(&self) -> &Words {
        self.words.get_or_init(|| filled(self.unseen.get()))
    }

    /// Overwrites it, as Xen does with memory that comes back.
    pub(crate) fn poison(&self) {
        self.fill(POISON);
    }

    pub(crate) fn fill(&self, value: u32) {
        match self.words.get() {
            Some(words) => fill(words, value),
            None => self.unseen.set(value),
        }
    }

    /// Whether nobody has written it since it was poisoned.
    pub(crate) fn is_untouched(&self) -> bool {
        match self.words.get() {
            Some(words) => words.iter().all(|word| word.load(Ordering::Relaxed) == POISON),
            None => self.unseen.get() == POISON,
        }
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "frame, mapped {} times", self.mapped.get())
    }
}

/// A view of a frame that goes blind when its domain stops running: reads see a page of zeros, writes reach
/// nobody.
pub(crate) struct View {
    frame: Rc<Frame>,
    viewer: Domain,
    blind: OnceCell<Box<Words>>,
}

impl View {
    pub(crate) fn new(frame: Rc<Frame>, viewer: Domain) -> Self {
        Self { frame, viewer, blind: OnceCell::new() }
    }

    pub(crate) fn words(&self) -> &Words {
        if self.viewer.runs() { self.frame.words() } else { self.blind.get_or_init(|| filled(0)) }
    }

    pub(crate) fn frame(&self) -> &Frame {
        &self.frame
    }

    pub(crate) fn viewer(&self) -> &Domain {
        &self.viewer
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} as {} sees it", self.frame, self.viewer.id())
    }
}

/// A page of a domain's pool. It must not be granted any more when it is dropped, and is poisoned then.
#[derive(Debug)]
pub struct PoolPage {
    view: View,
    gfn: Gfn,
}

impl Shared for PoolPage {
    fn words(&self) -> &Words {
        self.view.words()
    }
}

impl Drop for PoolPage {
    fn drop(&mut self) {
        let domain = self.view.viewer();
        if !domain.runs() || std::thread::panicking() {
            return;
        }
        let id = domain.id();
        let mut state = domain.state();
        let dom = state.domain_mut(id).expect("a domain that runs exists");
        let granted = dom.grants.values().any(|grant| grant.offers(self.gfn));
        assert!(!granted, "{id} gives page {:#x} back while it is granted", self.gfn.0);
        self.view.frame().poison();
        dom.pool.push(self.gfn.0);
        dom.pool_used -= 1;
    }
}

/// A page of a domain's memory at a frame that its wiring names.
#[derive(Debug)]
pub struct SpecialPage {
    view: View,
    gfn: Gfn,
}

impl SpecialPage {
    /// Its frame.
    #[must_use]
    pub fn gfn(&self) -> Gfn {
        self.gfn
    }
}

impl Shared for SpecialPage {
    fn words(&self) -> &Words {
        self.view.words()
    }
}

impl Pages for Domain {
    type Page = PoolPage;

    fn allocate(&self) -> Option<PoolPage> {
        if !self.runs() {
            return None;
        }
        let mut state = self.state();
        let dom = state.domain_mut(self.id()).ok()?;
        let gfn = dom.pool.pop()?;
        let frame = dom.frames.get(&gfn).expect("pages of the pool are populated").clone();
        assert!(frame.is_untouched(), "{}: page {gfn:#x} was written after it went back", self.id());
        frame.fill(0);
        dom.pool_used += 1;
        Some(PoolPage { view: View::new(frame, self.clone()), gfn: Gfn(gfn) })
    }

    fn gfn(&self, page: &PoolPage) -> Gfn {
        page.gfn
    }
}

impl Domain {
    /// Sets `count` populated frames from `first` on aside as the pool of [`Pages`].
    ///
    /// # Panics
    /// If one of them is not populated.
    pub fn set_pool(&self, first: Gfn, count: u64) {
        let mut state = self.state();
        let dom = state.domain_mut(self.id()).expect("the domain exists");
        // The lowest is handed out first.
        for gfn in (first.0..first.0 + count).rev() {
            dom.frames.get(&gfn).expect("the pool is populated memory").poison();
            dom.pool.push(gfn);
        }
    }

    /// Pages of the pool that are free.
    #[must_use]
    pub fn pool_left(&self) -> usize {
        self.state().domains.get(&self.id()).map_or(0, |dom| dom.pool.len())
    }

    /// The page at `gfn` of this domain's own memory, if there is memory.
    #[must_use]
    pub fn page_at(&self, gfn: Gfn) -> Option<SpecialPage> {
        let frame = self.state().domains.get(&self.id())?.frames.get(&gfn.0)?.clone();
        Some(SpecialPage { view: View::new(frame, self.clone()), gfn })
    }
}

impl State {
    /// Xen takes a frame back. Whoever still holds it is watched.
    pub(crate) fn take_frame(&mut self, frame: Rc<Frame>) {
        if frame.large {
            self.free.give_part_of_large();
        } else {
            self.free.give(1);
        }
        if Rc::strong_count(&frame) > 1 {
            frame.poison();
            self.graves.push(frame);
        }
    }
}
