//! Memory of other domains in dom0.

use std::rc::Rc;

use board_support_hyp::{
    CopyOut, Foreign, ForeignPages, Shared, foreign::MAX_PAGES, load::MAX_COPIES, window::Park,
};
use proto_xen::{DomId, Errno, Gfn};

use crate::{
    fault::Call,
    grant::{read_bytes, write_bytes},
    page::{Frame, Words},
    world::{Domain, State, World},
};

/// Pages of another domain, mapped; unmapped when dropped. The domain is not gone before.
#[derive(Debug)]
pub struct MappedForeign {
    of: DomId,
    pages: Vec<Rc<Frame>>,
    mapper: Domain,
}

/// Something that is still mapped because Xen refused to unmap it.
#[derive(Debug)]
pub(crate) enum Left {
    /// Pages of this domain.
    Foreign(DomId, Vec<Rc<Frame>>),
    /// A granted page, by its handle.
    Grant(u32),
}

/// What a domain could not unmap, kept and tried again as the real windows are.
pub(crate) type LeftMapped = Park<Left>;

impl Foreign for Domain {
    type Mapped = MappedForeign;

    fn map(&self, domain: DomId, first: Gfn, count: usize) -> Result<MappedForeign, Errno> {
        if count == 0 || count > MAX_PAGES {
            return Err(Errno::EINVAL);
        }
        self.retry_unmapping();
        let text = || format!("map {domain} {:#x}+{count:#x}", first.0);
        let mut state = self.privileged(Call::MapForeign, text)?;
        let dom = state.domain_mut(domain)?;
        let frame = |gfn: u64| dom.frames.get(&gfn).cloned().ok_or(Errno::EINVAL);
        let pages: Vec<_> = (first.0..first.0 + count as u64).map(frame).collect::<Result<_, _>>()?;
        Ok(state.map_foreign(self, domain, pages))
    }

    fn map_grant_table(&self, domain: DomId) -> Result<MappedForeign, Errno> {
        self.retry_unmapping();
        let mut state =
            self.privileged(Call::AcquireResource, || format!("acquire the grants of {domain}"))?;
        let State { free, domains, .. } = &mut *state;
        let dom = domains.get_mut(&domain).filter(|dom| !dom.dying).ok_or(Errno::ESRCH)?;
        assert!(!dom.life.get(), "the grant table of {domain} is mapped while it runs");
        let new = || {
            let frame = free.frame(false);
            frame.fill(0);
            frame
        };
        let page = dom.grant_table.get_or_insert_with(new).clone();
        Ok(state.map_foreign(self, domain, vec![page]))
    }

    fn copy_out(&self, domain: DomId, copies: &mut [CopyOut<'_>]) -> Result<(), Errno> {
        assert!(copies.len() <= MAX_COPIES, "{} copies at once", copies.len());
        assert!(copies.iter().all(CopyOut::is_within_pages), "a copy to {domain} crosses the end of a page");
        let state = self.privileged(Call::CopyGrant, || format!("copy to {domain}"))?;
        for copy in copies {
            copy.status = self.copy_one(&state, domain, copy);
        }
        Ok(())
    }
}

impl State {
    fn map_foreign(&mut self, mapper: &Domain, of: DomId, pages: Vec<Rc<Frame>>) -> MappedForeign {
        pages.iter().for_each(|frame| frame.mapped.set(frame.mapped.get() + 1));
        self.mapped_foreign += pages.len();
        MappedForeign { of, pages, mapper: mapper.clone() }
    }

    fn unmap_foreign(&mut self, of: DomId, frame: &Frame) {
        self.mapped_foreign -= 1;
        frame.mapped.set(frame.mapped.get() - 1);
        self.reap(of);
    }
}

impl Domain {
    /// Takes pages out, each by a call. Returns those that Xen refused.
    fn unmap_foreign(&self, of: DomId, pages: Vec<Rc<Frame>>) -> Vec<Rc<Frame>> {
        let unmap = |frame: &Rc<Frame>| match self.call(Call::UnmapForeign, || format!("unmap of {of}")) {
            Ok(mut state) => {
                state.unmap_foreign(of, frame);
                true
            }
            Err(_) => false,
        };
        pages.into_iter().filter(|frame| !unmap(frame)).collect()
    }

    /// Tries again to unmap something that was refused. That is done before every mapping.
    pub(crate) fn retry_unmapping(&self) {
        let Ok(mut park) =
            self.state().domain_mut(self.id()).map(|dom| core::mem::take(&mut dom.left_mapped))
        else {
            return;
        };
        park.retry(|left| match left {
            Left::Foreign(of, pages) => {
                *pages = self.unmap_foreign(*of, core::mem::take(pages));
                pages.is_empty()
            }
            Left::Grant(handle) => self.unmap_by_call(*handle) == Ok(()),
        });
        if let Ok(dom) = self.state().domain_mut(self.id()) {
            dom.left_mapped = park;
        }
    }

    /// Keeps what Xen refused to unmap.
    pub(crate) fn park(&self, left: Left) {
        if let Ok(dom) = self.state().domain_mut(self.id()) {
            dom.left_mapped.add(left);
        }
    }
}

impl World {
    /// Has every domain try again what it could not unmap, until nothing is left, as its next mappings would.
    ///
    /// # Panics
    /// If something is refused again and again.
    pub fn retry_unmapping(&self) {
        let ids: Vec<DomId> = self.state().domains.keys().copied().collect();
        for domain in ids.into_iter().filter(|&id| self.runs(id)).map(|id| self.domain(id)) {
            for _ in 0..1000 {
                if self.left_mapped(domain.id()) == 0 {
                    break;
                }
                domain.retry_unmapping();
            }
            assert_eq!(self.left_mapped(domain.id()), 0, "{} cannot unmap something", domain.id());
        }
    }

    /// How many mappings a domain could not undo so far.
    #[must_use]
    pub fn left_mapped(&self, id: DomId) -> usize {
        self.state().domains.get(&id).map_or(0, |dom| dom.left_mapped.count())
    }
}

impl Drop for MappedForeign {
    fn drop(&mut self) {
        let pages = core::mem::take(&mut self.pages);
        let left = self.mapper.unmap_foreign(self.of, pages);
        if !left.is_empty() {
            self.mapper.park(Left::Foreign(self.of, left));
        }
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
