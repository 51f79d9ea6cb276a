//! Grants, of version 1.

use board_support_hyp::{Access, CopyError, CopyOut, DeviceGrants, GrantError, Grants, Shared};
use core::sync::atomic::Ordering;
use proto_xen::{
    Dfn, DomId, Gfn, Gref,
    grant_table::{ENTRIES_PER_FRAME, GrantStatus, RESERVED, flags},
};
use std::{fmt, rc::Rc};

use crate::{
    fault::Call,
    foreign::Left,
    page::{Frame, View, Words},
    world::{Dom, Domain, State, World},
};

/// A handle of no mapping.
pub const BAD_HANDLE: GrantStatus = GrantStatus(-4);
/// No room to note another mapping.
pub const NO_DEVICE_SPACE: GrantStatus = GrantStatus(-7);
/// The granted frame holds no memory.
pub const BAD_PAGE: GrantStatus = GrantStatus(-9);

/// An entry of a domain's table.
#[derive(Debug)]
pub(crate) struct Entry {
    /// To whom, which frame and how; nobody while it is only reserved.
    offer: Option<(DomId, Gfn, Access)>,
    mapped: u32,
}

impl Entry {
    pub(crate) fn offers(&self, gfn: Gfn) -> bool {
        self.offer.is_some_and(|(_, of, _)| of == gfn)
    }

    pub(crate) fn is_to(&self, domain: DomId) -> bool {
        self.offer.is_some_and(|(to, _, _)| to == domain)
    }
}

/// What a domain has mapped of another.
#[derive(Debug)]
pub(crate) struct MapTrack {
    granter: DomId,
    reference: u32,
    frame: Rc<Frame>,
}

/// A granted page that a domain has mapped; unmapped when dropped.
///
/// # Panics
/// Using it panics after [`Domain::unmap_behind`].
pub struct MappedGrant {
    view: View,
    handle: u32,
}

impl fmt::Debug for MappedGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "handle {} of {:?}", self.handle, self.view)
    }
}

impl MappedGrant {
    /// The number by which Xen knows the mapping.
    #[must_use]
    pub fn handle(&self) -> u32 {
        self.handle
    }

    fn is_mapped(&self) -> bool {
        let domain = self.view.viewer();
        domain.state().domains.get(&domain.id()).is_some_and(|dom| dom.maptrack.contains_key(&self.handle))
    }
}

impl Shared for MappedGrant {
    fn words(&self) -> &Words {
        let domain = self.view.viewer();
        assert!(
            !domain.runs() || self.is_mapped(),
            "{} uses handle {} after unmapping it",
            domain.id(),
            self.handle
        );
        self.view.words()
    }
}

impl Drop for MappedGrant {
    fn drop(&mut self) {
        let domain = self.view.viewer();
        if domain.runs() && !std::thread::panicking() {
            match domain.unmap_by_call(self.handle) {
                Ok(()) => {}
                Err(GrantError::Call(_)) => domain.park(Left::Grant(self.handle)),
                Err(_) => panic!("{} unmaps handle {} twice", domain.id(), self.handle),
            }
        }
    }
}

impl Domain {
    /// Unmaps a grant by its handle, behind the back of who holds the [`MappedGrant`].
    ///
    /// # Errors
    /// `GNTST_bad_handle` if nothing of that number is mapped.
    pub fn unmap_behind(&self, handle: u32) -> Result<(), GrantStatus> {
        self.state().unmap_grant(self.id(), handle)
    }

    /// Unmaps a grant by a call.
    pub(crate) fn unmap_by_call(&self, handle: u32) -> Result<(), GrantError> {
        let text = || format!("unmap_grant {handle}");
        let mut state = self.call(Call::UnmapGrant, text).map_err(GrantError::Call)?;
        state.unmap_grant(self.id(), handle).map_err(GrantError::Status)
    }

    /// Copies bytes of ours to a page that we are granted.
    pub(crate) fn copy_one(&self, state: &State, granter: DomId, copy: &CopyOut<'_>) -> GrantStatus {
        match self.granted(state, granter, copy.reference, Access::ReadWrite) {
            Ok(frame) => {
                write_bytes(frame.words(), copy.offset.into(), copy.bytes);
                GrantStatus::OKAY
            }
            Err(status) => status,
        }
    }

    fn granted(
        &self,
        state: &State,
        granter: DomId,
        reference: Gref,
        access: Access,
    ) -> Result<Rc<Frame>, GrantStatus> {
        let granter_id = self.resolve(granter);
        let dom = state.domains.get(&granter_id).filter(|dom| !dom.dying).ok_or(GrantStatus::BAD_DOMAIN)?;
        if reference.0 >= dom.grant_frames * ENTRIES_PER_FRAME {
            return Err(GrantStatus::BAD_GREF);
        }
        // Xen tells no difference between a reference that is unused, another's, or only for reading.
        let offered = match dom.grants.get(&reference.0) {
            Some(entry) => entry.offer,
            None => dom.written_grant(reference),
        };
        let (to, gfn, allowed) = offered.ok_or(GrantStatus::GENERAL_ERROR)?;
        if to != self.id() || (access == Access::ReadWrite && allowed == Access::ReadOnly) {
            return Err(GrantStatus::GENERAL_ERROR);
        }
        dom.frames.get(&gfn.0).cloned().ok_or(BAD_PAGE)
    }

    /// The frame for a copy of `length` bytes at `offset`.
    fn to_copy(
        &self,
        granter: DomId,
        reference: Gref,
        (offset, length): (u16, usize),
        access: Access,
    ) -> Result<Rc<Frame>, CopyError> {
        if usize::from(offset) + length > 4096 {
            return Err(CopyError::OutOfPage);
        }
        let text = || format!("copy {length} bytes, {granter} reference {}", reference.0);
        let state = self.call(Call::CopyGrant, text).map_err(CopyError::Call)?;
        self.granted(&state, granter, reference, access).map_err(CopyError::Status)
    }

    fn table_index(state: &State, id: DomId, reference: Gref) -> Result<u32, GrantError> {
        let entries = state.domains.get(&id).map_or(0, |dom| dom.grant_frames * ENTRIES_PER_FRAME);
        if (RESERVED..entries).contains(&reference.0) { Ok(reference.0) } else { Err(GrantError::OutOfRange) }
    }
}

impl Dom {
    /// What dom0 wrote into the first page of the table before the domain ran.
    fn written_grant(&self, reference: Gref) -> Option<(DomId, Gfn, Access)> {
        let words = self.grant_table.as_ref()?.words();
        let word = |index: usize| words.get(index).map(|word| word.load(Ordering::Acquire));
        let at = reference.0 as usize * 2;
        let (first, frame) = (word(at)?, word(at + 1)?);
        let (marks, to) = (first as u16, DomId((first >> 16) as u16));
        assert!(marks == 0 || reference.0 >= RESERVED, "reference {} is one that Xen keeps", reference.0);
        // The two low bits say what an entry is.
        let access = if marks & flags::READONLY == 0 { Access::ReadWrite } else { Access::ReadOnly };
        (marks & 3 == flags::PERMIT_ACCESS).then_some((to, Gfn(frame.into()), access))
    }

    /// Whether a page that dom0 wrote as the table grants nothing.
    pub(crate) fn grants_nothing(&self) -> bool {
        (0..ENTRIES_PER_FRAME).all(|reference| self.written_grant(Gref(reference)).is_none())
    }
}

impl State {
    pub(crate) fn unmap_grant(&mut self, holder: DomId, handle: u32) -> Result<(), GrantStatus> {
        let dom = self.domains.get_mut(&holder).ok_or(BAD_HANDLE)?;
        let MapTrack { granter, reference, frame } = dom.maptrack.remove(&handle).ok_or(BAD_HANDLE)?;
        frame.mapped.set(frame.mapped.get() - 1);
        if let Some(entry) = self.domains.get_mut(&granter).and_then(|dom| dom.grants.get_mut(&reference)) {
            entry.mapped -= 1;
        }
        drop(frame);
        self.reap(granter);
        Ok(())
    }
}

impl Grants for Domain {
    type Mapped = MappedGrant;

    fn allocate(&self) -> Result<Gref, GrantError> {
        if !self.runs() {
            return Err(GrantError::NoReference);
        }
        let mut state = self.state();
        let dom = state.domain_mut(self.id()).map_err(GrantError::Call)?;
        let mut all = RESERVED..dom.grant_frames * ENTRIES_PER_FRAME;
        let free =
            all.find(|reference| !dom.grants.contains_key(reference)).ok_or(GrantError::NoReference)?;
        dom.grants.insert(free, Entry { offer: None, mapped: 0 });
        Ok(Gref(free))
    }

    fn offer(&self, reference: Gref, to: DomId, frame: Gfn, access: Access) -> Result<(), GrantError> {
        if !self.runs() {
            return Ok(());
        }
        let mut state = self.state();
        let index = Self::table_index(&state, self.id(), reference)?;
        let dom = state.domain_mut(self.id()).map_err(GrantError::Call)?;
        assert!(
            dom.frames.contains_key(&frame.0),
            "{} grants frame {:#x}, where it has nothing",
            self.id(),
            frame.0
        );
        let entry = Entry { offer: Some((to, frame, access)), mapped: 0 };
        let before = dom.grants.insert(index, entry);
        assert!(
            before.is_none_or(|entry| entry.offer.is_none()),
            "{} grants by reference {index}, which is in use",
            self.id()
        );
        Ok(())
    }

    fn end(&self, reference: Gref) -> Result<(), GrantError> {
        if !self.runs() {
            return Ok(());
        }
        let mut state = self.state();
        let index = Self::table_index(&state, self.id(), reference)?;
        let dom = state.domain_mut(self.id()).map_err(GrantError::Call)?;
        let entry = dom.grants.get(&index);
        let entry = entry.unwrap_or_else(|| panic!("{} ends grant {index}, which there is not", self.id()));
        if entry.mapped > 0 {
            return Err(GrantError::StillMapped);
        }
        dom.grants.remove(&index);
        Ok(())
    }

    fn map(&self, granter: DomId, reference: Gref, access: Access) -> Result<MappedGrant, GrantError> {
        self.retry_unmapping();
        let text = || format!("map_grant {granter} reference {}", reference.0);
        let mut state = self.call(Call::MapGrant, text).map_err(GrantError::Call)?;
        let frame = self.granted(&state, granter, reference, access).map_err(GrantError::Status)?;
        let granter = self.resolve(granter);
        let dom = state.domain_mut(self.id()).map_err(GrantError::Call)?;
        if dom.maptrack.len() >= dom.max_maptrack {
            return Err(GrantError::Status(NO_DEVICE_SPACE));
        }
        let handle = dom.next_handle;
        // Never used again, so that a stale one is seen.
        dom.next_handle += 1;
        frame.mapped.set(frame.mapped.get() + 1);
        dom.maptrack.insert(handle, MapTrack { granter, reference: reference.0, frame: frame.clone() });
        let entry = state.domains.get_mut(&granter).and_then(|dom| dom.grants.get_mut(&reference.0));
        entry.expect("only dom0 writes tables of others, and it maps nothing by them").mapped += 1;
        drop(state);
        Ok(MappedGrant { view: View::new(frame, self.clone()), handle })
    }

    fn copy_from(
        &self,
        granter: DomId,
        reference: Gref,
        offset: u16,
        into: &mut [u8],
    ) -> Result<(), CopyError> {
        let frame = self.to_copy(granter, reference, (offset, into.len()), Access::ReadOnly)?;
        read_bytes(frame.words(), offset.into(), into);
        Ok(())
    }

    fn copy_to(&self, granter: DomId, reference: Gref, offset: u16, from: &[u8]) -> Result<(), CopyError> {
        let frame = self.to_copy(granter, reference, (offset, from.len()), Access::ReadWrite)?;
        write_bytes(frame.words(), offset.into(), from);
        Ok(())
    }
}

impl DeviceGrants for Domain {
    fn map_for_device(&self, granter: DomId, reference: Gref) -> Result<(MappedGrant, Dfn), GrantError> {
        let mapped = Grants::map(self, granter, reference, Access::ReadWrite)?;
        let frame = Dfn(mapped.view.frame().mfn);
        Ok((mapped, frame))
    }
}

/// Copies bytes out of a page.
pub(crate) fn read_bytes(words: &Words, offset: usize, into: &mut [u8]) {
    for (at, byte) in (offset..).zip(into) {
        *byte = words[at / 4].load(Ordering::Relaxed).to_le_bytes()[at % 4];
    }
}

/// Copies bytes into a page.
pub(crate) fn write_bytes(words: &Words, offset: usize, from: &[u8]) {
    for (at, &byte) in (offset..).zip(from) {
        let mut value = words[at / 4].load(Ordering::Relaxed).to_le_bytes();
        value[at % 4] = byte;
        words[at / 4].store(u32::from_le_bytes(value), Ordering::Relaxed);
    }
}

/// A granted page as a hostile peer reaches it: without a mapping.
#[derive(Debug, Clone)]
pub struct PageOf(Rc<Frame>);

impl Shared for PageOf {
    fn words(&self) -> &Words {
        self.0.words()
    }
}

impl core::ops::Deref for PageOf {
    type Target = Words;

    fn deref(&self) -> &Words {
        self.0.words()
    }
}

impl World {
    /// The page behind a grant.
    ///
    /// # Panics
    /// If there is no such grant.
    #[must_use]
    pub fn page_of(&self, granter: DomId, reference: Gref) -> PageOf {
        let state = self.state();
        let dom = &state.domains[&granter];
        let (_, gfn, _) = dom.grants[&reference.0].offer.expect("the reference grants something");
        PageOf(dom.frames[&gfn.0].clone())
    }
}
