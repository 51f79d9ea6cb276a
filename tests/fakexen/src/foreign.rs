//! Memory of other domains in dom0.

use std::rc::Rc;

use board_support_hyp::{Foreign, ForeignPages, Shared, foreign::MAX_PAGES};
use proto_xen::{DomId, Errno, Gfn};

use crate::{
    fault::Call,
    grant::{read_bytes, write_bytes},
    page::{Frame, Words},
    world::Domain,
};

/// Pages of another domain, mapped; unmapped when dropped. The domain is not gone before.
#[derive(Debug)]
pub struct MappedForeign {
    of: DomId,
    pages: Vec<Rc<Frame>>,
    mapper: Domain,
}

impl Foreign for Domain {
    type Mapped = MappedForeign;

    fn map(&self, domain: DomId, first: Gfn, count: usize) -> Result<MappedForeign, Errno> {
        if count == 0 || count > MAX_PAGES {
            return Err(Errno::EINVAL);
        }
        let text = || format!("map {domain} {:#x}+{count:#x}", first.0);
        let mut state = self.privileged(Call::MapForeign, text)?;
        let dom = state.domain_mut(domain)?;
        let frame = |gfn: u64| dom.frames.get(&gfn).cloned().ok_or(Errno::EINVAL);
        let pages: Vec<_> = (first.0..first.0 + count as u64).map(frame).collect::<Result<_, _>>()?;
        pages.iter().for_each(|frame| frame.mapped.set(frame.mapped.get() + 1));
        state.mapped_foreign += count;
        Ok(MappedForeign { of: domain, pages, mapper: self.clone() })
    }
}

impl Drop for MappedForeign {
    fn drop(&mut self) {
        let mut state = self.mapper.state();
        state.mapped_foreign -= self.pages.len();
        for frame in self.pages.drain(..) {
            frame.mapped.set(frame.mapped.get() - 1);
        }
        state.reap(self.of);
    }
}

impl Shared for MappedForeign {
    fn words(&self) -> &Words {
        self.page(0)
    }
}

impl ForeignPages for MappedForeign {
    fn pages(&self) -> usize {
        self.pages.len()
    }

    fn page(&self, index: usize) -> &Words {
        self.pages[index].words()
    }

    fn write(&self, offset: usize, bytes: &[u8]) {
        let mut rest = bytes;
        let mut at = offset;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(4096 - at % 4096));
            write_bytes(self.page(at / 4096), at % 4096, now);
            at += now.len();
            rest = later;
        }
    }

    fn zero(&self) {
        self.pages.iter().for_each(|frame| frame.fill(0));
    }

    fn read(&self, offset: usize, into: &mut [u8]) {
        let mut at = offset;
        let mut rest = into;
        while !rest.is_empty() {
            let (now, later) = rest.split_at_mut(rest.len().min(4096 - at % 4096));
            read_bytes(self.page(at / 4096), at % 4096, now);
            at += now.len();
            rest = later;
        }
    }
}
