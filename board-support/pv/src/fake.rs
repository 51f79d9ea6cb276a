//! A fake Xen for the tests of this crate: pages, grants and ports of several domains in one process.
//!
//! It is stricter than the real one: references, ports and access are checked to the letter, a page that is
//! dropped while granted is a panic, and every page that goes back to its pool is poisoned.

use core::sync::atomic::{AtomicU32, Ordering};
use core::task::{Context, Poll, Waker};
use std::boxed::Box;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::Wake;
use std::vec::Vec;

use board_support_hyp::{Access, CopyError, EventChannels, GrantError, Grants, Pages, Shared, Wait};
use proto_ring::Words;
use proto_ring::index::Index;
use proto_ring::page::Window;
use proto_xen::grant_table::GrantStatus;
use proto_xen::{DomId, Errno, Gfn, Gref, Port, VcpuId, Virq};

const WHOLE_PAGE: Window = Window::at(0, 4096);
const POISON: u32 = 0xdede_dede;

#[derive(Default)]
struct State {
    ports: BTreeMap<(DomId, Port), PortState>,
    grants: BTreeMap<(DomId, Gref), Grant>,
    pages: BTreeMap<(DomId, Gfn), Rc<Words>>,
    page_limits: BTreeMap<DomId, usize>,
    next: u32,
    sent: usize,
}

struct PortState {
    /// Who may bind it, or who has.
    remote: DomId,
    peer: Option<Port>,
    raised: bool,
    waker: Option<Waker>,
}

struct Grant {
    to: Option<DomId>,
    gfn: Gfn,
    access: Access,
    mappings: usize,
}

/// Everything that the domains share.
#[derive(Clone, Default)]
pub(crate) struct World(Rc<RefCell<State>>);

impl World {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn domain(&self, id: DomId) -> Domain {
        Domain { world: self.clone(), id }
    }

    pub(crate) fn pages_in_use(&self, id: DomId) -> usize {
        self.0.borrow().pages.keys().filter(|(owner, _)| *owner == id).count()
    }

    pub(crate) fn grants_in_use(&self, id: DomId) -> usize {
        self.0.borrow().grants.keys().filter(|(owner, _)| *owner == id).count()
    }

    pub(crate) fn ports_in_use(&self) -> usize {
        self.0.borrow().ports.len()
    }

    pub(crate) fn limit_pages(&self, id: DomId, limit: usize) {
        self.0.borrow_mut().page_limits.insert(id, limit);
    }

    /// Events sent since the start.
    pub(crate) fn sent(&self) -> usize {
        self.0.borrow().sent
    }

    /// A pair of bound ports, as dom0 sets them up.
    pub(crate) fn connect(&self, one: DomId, other: DomId) -> (Port, Port) {
        let near = self.domain(one).alloc_unbound(DomId::SELF, other).unwrap();
        let far = self.domain(other).bind_interdomain(one, near).unwrap();
        (near, far)
    }

    /// Raises a port although nobody sent an event.
    pub(crate) fn raise(&self, id: DomId, port: Port) {
        let waker = {
            let mut state = self.0.borrow_mut();
            let Some(port) = state.ports.get_mut(&(id, port)) else { return };
            port.raised = true;
            port.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The page behind a grant, as a hostile peer would reach it.
    pub(crate) fn page_of(&self, id: DomId, gref: Gref) -> Rc<Words> {
        let state = self.0.borrow();
        let gfn = state.grants[&(id, gref)].gfn;
        state.pages[&(id, gfn)].clone()
    }
}

/// One domain's view of the fake.
#[derive(Clone)]
pub(crate) struct Domain {
    world: World,
    pub(crate) id: DomId,
}

impl core::fmt::Debug for Domain {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}", self.id)
    }
}

impl Domain {
    fn number(&self) -> u32 {
        let mut state = self.world.0.borrow_mut();
        state.next += 1;
        state.next + 8
    }

    fn granted(&self, granter: DomId, gref: Gref, access: Access) -> Result<Rc<Words>, GrantStatus> {
        let state = self.world.0.borrow();
        let grant = state.grants.get(&(granter, gref)).ok_or(GrantStatus(-3))?;
        if grant.to != Some(self.id) {
            return Err(GrantStatus(-3));
        }
        if access == Access::ReadWrite && grant.access == Access::ReadOnly {
            return Err(GrantStatus(-8));
        }
        Ok(state.pages.get(&(granter, grant.gfn)).expect("a granted page exists").clone())
    }
}

impl EventChannels for Domain {
    fn alloc_unbound(&self, owner: DomId, remote: DomId) -> Result<Port, Errno> {
        assert!(owner == DomId::SELF || self.id == DomId::DOM0);
        let owner = if owner == DomId::SELF { self.id } else { owner };
        let port = Port(self.number());
        let state = PortState { remote, peer: None, raised: false, waker: None };
        self.world.0.borrow_mut().ports.insert((owner, port), state);
        Ok(port)
    }

    fn bind_interdomain(&self, remote: DomId, remote_port: Port) -> Result<Port, Errno> {
        let port = Port(self.number());
        let mut state = self.world.0.borrow_mut();
        let theirs = state.ports.get_mut(&(remote, remote_port)).ok_or(Errno::EINVAL)?;
        if theirs.remote != self.id || theirs.peer.is_some() {
            return Err(Errno::EINVAL);
        }
        theirs.peer = Some(port);
        let ours = PortState { remote, peer: Some(remote_port), raised: true, waker: None };
        state.ports.insert((self.id, port), ours);
        Ok(port)
    }

    fn bind_virq(&self, _: Virq, _: VcpuId) -> Result<Port, Errno> {
        Err(Errno::ENOSYS)
    }

    fn send(&self, port: Port) -> Result<(), Errno> {
        let peer = {
            let mut state = self.world.0.borrow_mut();
            state.sent += 1;
            let ours = state.ports.get(&(self.id, port)).ok_or(Errno::EINVAL)?;
            ours.peer.map(|peer| (ours.remote, peer))
        };
        if let Some((domain, port)) = peer {
            self.world.raise(domain, port);
        }
        Ok(())
    }

    fn close(&self, port: Port) -> Result<(), Errno> {
        let mut state = self.world.0.borrow_mut();
        let ours = state.ports.remove(&(self.id, port)).ok_or(Errno::EINVAL)?;
        if let Some(peer) = ours.peer
            && let Some(theirs) = state.ports.get_mut(&(ours.remote, peer))
        {
            theirs.peer = None;
        }
        Ok(())
    }

    fn unmask(&self, port: Port) -> Result<(), Errno> {
        let state = self.world.0.borrow();
        state.ports.get(&(self.id, port)).map(drop).ok_or(Errno::EINVAL)
    }
}

impl Wait for Domain {
    fn poll_event(&self, port: Port, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.world.0.borrow_mut();
        let port = state.ports.get_mut(&(self.id, port)).expect("waits for a port of its own");
        if port.raised {
            port.raised = false;
            return Poll::Ready(());
        }
        port.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Grants for Domain {
    type Mapped = Mapped;

    fn allocate(&self) -> Result<Gref, GrantError> {
        let gref = Gref(self.number());
        let free = Grant { to: None, gfn: Gfn(0), access: Access::ReadOnly, mappings: 0 };
        self.world.0.borrow_mut().grants.insert((self.id, gref), free);
        Ok(gref)
    }

    fn offer(&self, reference: Gref, to: DomId, frame: Gfn, access: Access) -> Result<(), GrantError> {
        let mut state = self.world.0.borrow_mut();
        assert!(state.pages.contains_key(&(self.id, frame)), "grants a page of its own");
        let grant = Grant { to: Some(to), gfn: frame, access, mappings: 0 };
        let before = state.grants.insert((self.id, reference), grant);
        assert!(before.is_none_or(|grant| grant.to.is_none()), "grants by a free reference");
        Ok(())
    }

    fn end(&self, reference: Gref) -> Result<(), GrantError> {
        let mut state = self.world.0.borrow_mut();
        let grant = state.grants.get(&(self.id, reference)).expect("ends a grant of its own");
        if grant.mappings > 0 {
            return Err(GrantError::StillMapped);
        }
        state.grants.remove(&(self.id, reference));
        Ok(())
    }

    fn map(&self, granter: DomId, reference: Gref, access: Access) -> Result<Mapped, GrantError> {
        let words = self.granted(granter, reference, access).map_err(GrantError::Status)?;
        let mut state = self.world.0.borrow_mut();
        state.grants.get_mut(&(granter, reference)).expect("found above").mappings += 1;
        Ok(Mapped { world: self.world.clone(), key: (granter, reference), words })
    }

    fn copy_from(&self, granter: DomId, gref: Gref, offset: u16, into: &mut [u8]) -> Result<(), CopyError> {
        if usize::from(offset) + into.len() > 4096 {
            return Err(CopyError::OutOfPage);
        }
        let words = self.granted(granter, gref, Access::ReadOnly).map_err(CopyError::Status)?;
        WHOLE_PAGE.copy_out(&words, Index::new(offset.into()), into);
        Ok(())
    }

    fn copy_to(&self, granter: DomId, gref: Gref, offset: u16, from: &[u8]) -> Result<(), CopyError> {
        if usize::from(offset) + from.len() > 4096 {
            return Err(CopyError::OutOfPage);
        }
        let words = self.granted(granter, gref, Access::ReadWrite).map_err(CopyError::Status)?;
        WHOLE_PAGE.copy_in(&words, Index::new(offset.into()), from);
        Ok(())
    }
}

/// A page of another domain.
pub(crate) struct Mapped {
    world: World,
    key: (DomId, Gref),
    words: Rc<Words>,
}

impl Shared for Mapped {
    fn words(&self) -> &Words {
        &self.words
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        let mut state = self.world.0.borrow_mut();
        state.grants.get_mut(&self.key).expect("a mapped grant cannot end").mappings -= 1;
    }
}

/// A page of a domain's pool.
pub(crate) struct Page {
    world: World,
    owner: DomId,
    gfn: Gfn,
    words: Rc<Words>,
}

impl Shared for Page {
    fn words(&self) -> &Words {
        &self.words
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        let mut state = self.world.0.borrow_mut();
        state.pages.remove(&(self.owner, self.gfn));
        let granted = state
            .grants
            .iter()
            .any(|((owner, _), grant)| *owner == self.owner && grant.to.is_some() && grant.gfn == self.gfn);
        assert!(!granted, "a granted page went back to the pool");
        self.words.iter().for_each(|word| word.store(POISON, Ordering::Relaxed));
    }
}

impl Pages for Domain {
    type Page = Page;

    fn allocate(&self) -> Option<Page> {
        let limit = self.world.0.borrow().page_limits.get(&self.id).copied().unwrap_or(usize::MAX);
        if self.world.pages_in_use(self.id) >= limit {
            return None;
        }
        let gfn = Gfn(self.number().into());
        let words: Rc<Words> = Rc::new([const { AtomicU32::new(0) }; 1024]);
        self.world.0.borrow_mut().pages.insert((self.id, gfn), words.clone());
        Some(Page { world: self.world.clone(), owner: self.id, gfn, words })
    }

    fn gfn(&self, page: &Page) -> Gfn {
        page.gfn
    }
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Runs tasks, each only when woken, until all are done or nobody is woken any more. Returns how many are
/// not done: those sleep for ever.
pub(crate) fn run(tasks: Vec<Pin<Box<dyn Future<Output = ()> + '_>>>) -> usize {
    let mut tasks: Vec<_> =
        tasks.into_iter().map(|task| (task, Arc::new(Flag(AtomicBool::new(true))))).collect();
    loop {
        let mut progress = false;
        tasks.retain_mut(|(task, flag)| {
            if !flag.0.swap(false, Ordering::SeqCst) {
                return true;
            }
            progress = true;
            let waker = Waker::from(flag.clone());
            task.as_mut().poll(&mut Context::from_waker(&waker)).is_pending()
        });
        if !progress {
            return tasks.len();
        }
    }
}
