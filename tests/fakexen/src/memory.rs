//! The machine's memory, and giving it to domains.

use std::rc::Rc;

use board_support_hyp::Populate;
use proto_xen::{DomId, Errno, Gfn};

use crate::{
    fault::Call,
    page::Frame,
    world::{Domain, Machine},
};

/// The order of large extents.
const LARGE: u32 = 9;
const LARGE_PAGES: u64 = 1 << LARGE;
/// The largest order that Xen takes from dom0.
const MAX_ORDER: u32 = 18;

/// Free memory.
#[derive(Debug)]
pub(crate) struct FreeMemory {
    large: u64,
    singles: u64,
    /// Single pages that belong to no large extent.
    base_singles: u64,
    /// Pages of large extents that came back one by one.
    loose: u64,
    next_mfn: u64,
}

impl FreeMemory {
    pub(crate) fn new(machine: &Machine) -> Self {
        let singles = machine.single_pages;
        Self { large: machine.large_extents, singles, base_singles: singles, loose: 0, next_mfn: 0x1000 }
    }

    pub(crate) fn pages(&self) -> u64 {
        self.large * LARGE_PAGES + self.singles + self.loose
    }

    fn take_large(&mut self) -> bool {
        let some = self.large > 0;
        self.large -= u64::from(some);
        some
    }

    /// Takes single pages, out of a large extent if need be.
    pub(crate) fn take(&mut self, pages: u64) -> bool {
        while self.singles < pages {
            if !self.take_large() {
                return false;
            }
            self.singles += LARGE_PAGES;
        }
        self.singles -= pages;
        true
    }

    /// A frame of what was taken.
    pub(crate) fn frame(&mut self, large: bool) -> Rc<Frame> {
        self.next_mfn += 1;
        Frame::new(self.next_mfn, large)
    }

    pub(crate) fn give(&mut self, pages: u64) {
        self.singles += pages;
        while self.singles >= self.base_singles + LARGE_PAGES {
            self.singles -= LARGE_PAGES;
            self.large += 1;
        }
    }

    pub(crate) fn give_part_of_large(&mut self) {
        self.loose += 1;
        if self.loose == LARGE_PAGES {
            self.loose = 0;
            self.large += 1;
        }
    }
}

impl Populate for Domain {
    fn populate(&self, domain: DomId, first_frames: &[Gfn], order: u32) -> Result<usize, Errno> {
        let text = || format!("populate {domain} {} of order {order}", first_frames.len());
        let mut state = self.privileged(Call::Populate, text)?;
        if order > MAX_ORDER {
            return Err(Errno::EPERM);
        }
        let state = &mut *state;
        let pages = 1 << order;
        for (filled, first) in first_frames.iter().enumerate() {
            let dom = state.domains.get_mut(&domain).filter(|dom| !dom.dying).ok_or(Errno::ESRCH)?;
            assert_eq!(first.0 % pages, 0, "an extent of order {order} at frame {:#x}", first.0);
            if dom.frames.len() as u64 + pages > dom.max_pages {
                return Ok(filled);
            }
            let taken = if order == LARGE { state.free.take_large() } else { state.free.take(pages) };
            if !taken {
                return Ok(filled);
            }
            for gfn in first.0..first.0 + pages {
                let before = dom.frames.insert(gfn, state.free.frame(order == LARGE));
                assert!(before.is_none(), "frame {gfn:#x} of {domain} is populated twice");
            }
        }
        Ok(first_frames.len())
    }
}
