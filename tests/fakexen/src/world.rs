//! The machine, and what each domain has of it.

use std::{
    cell::{Cell, Ref, RefCell, RefMut},
    collections::{BTreeMap, BTreeSet},
    fmt,
    rc::Rc,
};

use board_support_hyp::{EventChannels, Shared};
use proto_xen::{DomId, Errno, Gfn, Gref, Port, Sbdf, Virq, sched::ShutdownReason};

use crate::{
    console::ConsoleState,
    event::PortState,
    fault::{Call, Fault, Record},
    foreign::LeftMapped,
    grant::{Entry, MapTrack, read_bytes},
    memory::FreeMemory,
    page::Frame,
    pci::Pci,
    runtime::{Complaint, Own},
    time::Time,
};

/// What the processors are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// x86_64.
    X86,
    /// aarch64.
    Arm,
}

/// What the machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// What its processors are.
    pub architecture: Architecture,
    /// Free extents of order 9.
    pub large_extents: u64,
    /// Free pages beside them, in no extent of order 9.
    pub single_pages: u64,
    /// CPUs.
    pub cpus: u32,
    /// Version of the domctl interface that Xen speaks.
    pub domctl_version: u32,
    /// Version of the sysctl interface that Xen speaks.
    pub sysctl_version: u32,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            architecture: Architecture::X86,
            large_extents: 100,
            single_pages: 2000,
            cpus: 2,
            domctl_version: proto_xen::domctl::INTERFACE_VERSION,
            sysctl_version: proto_xen::sysctl::INTERFACE_VERSION,
        }
    }
}

/// A machine with Xen on it. Clones are the same one.
#[derive(Clone)]
pub struct World(Rc<RefCell<State>>);

pub(crate) struct State {
    pub(crate) machine: Machine,
    pub(crate) free: FreeMemory,
    pub(crate) domains: BTreeMap<DomId, Dom>,
    pub(crate) last_domid: u16,
    pub(crate) record: Record,
    /// Frames that went back while somebody still held them.
    pub(crate) graves: Vec<Rc<Frame>>,
    pub(crate) pci: Pci,
    pub(crate) time: Time,
    pub(crate) console: ConsoleState,
    /// Events that were sent and did not arrive yet; `None` if they arrive at once.
    pub(crate) in_flight: Option<Vec<(DomId, Port)>>,
    /// What is done when a domain lets others run.
    pub(crate) on_yield: Option<Rc<dyn Fn()>>,
    /// Events sent since the start.
    pub(crate) sent: usize,
    /// Domains that were let run for the first time and whose code did not begin yet.
    pub(crate) beginning: Vec<DomId>,
    /// What dom0 has mapped, in pages.
    pub(crate) mapped_foreign: usize,
    /// Errors and warnings that domains have logged.
    pub(crate) complaints: Vec<Complaint>,
}

/// A domain as Xen sees it.
#[derive(Debug)]
pub(crate) struct Dom {
    /// Its code runs: it is neither paused nor shut down nor dying.
    pub(crate) life: Rc<Cell<bool>>,
    pub(crate) iommu: bool,
    pub(crate) pauses: u32,
    pub(crate) dying: bool,
    pub(crate) shutdown: Option<ShutdownReason>,
    pub(crate) max_vcpus: u32,
    /// vCPUs were made.
    pub(crate) vcpus: bool,
    pub(crate) affinity: BTreeMap<u32, u64>,
    pub(crate) max_pages: u64,
    /// Pages that Xen uses for it beside its memory.
    pub(crate) overhead: u64,
    pub(crate) paging_pool: u64,
    pub(crate) frames: BTreeMap<u64, Rc<Frame>>,
    /// Frames of its own pool that are free, the next one last.
    pub(crate) pool: Vec<u64>,
    /// Pages of the pool that are not.
    pub(crate) pool_used: usize,
    pub(crate) params: BTreeMap<u32, u64>,
    pub(crate) context: Option<Vec<u8>>,
    pub(crate) max_port: u32,
    pub(crate) ports: BTreeMap<Port, PortState>,
    pub(crate) grant_frames: u32,
    pub(crate) grants: BTreeMap<u32, Entry>,
    /// The first page of its grant table, once dom0 has asked for it.
    pub(crate) grant_table: Option<Rc<Frame>>,
    /// What it could not unmap.
    pub(crate) left_mapped: LeftMapped,
    pub(crate) max_maptrack: usize,
    pub(crate) maptrack: BTreeMap<u32, MapTrack>,
    pub(crate) next_handle: u32,
    /// Machine frames that it may have mapped: first and count.
    pub(crate) iomem: BTreeSet<(u64, u64)>,
    /// Machine frames that are mapped: guest frame, first, count.
    pub(crate) mmio: BTreeSet<(u64, u64, u64)>,
    /// Arm: how many shared interrupts it has, and which of them are the machine's.
    pub(crate) nr_spis: u32,
    pub(crate) spis: BTreeSet<u16>,
    /// What it has of its runtime.
    pub(crate) own: Own,
}

impl Dom {
    pub(crate) fn new() -> Self {
        Self {
            life: Rc::new(Cell::new(false)),
            iommu: false,
            pauses: 0,
            dying: false,
            shutdown: None,
            max_vcpus: 1,
            vcpus: true,
            affinity: BTreeMap::new(),
            max_pages: u64::MAX,
            overhead: 0,
            paging_pool: 0,
            frames: BTreeMap::new(),
            pool: Vec::new(),
            pool_used: 0,
            params: BTreeMap::new(),
            context: None,
            max_port: 1023,
            ports: BTreeMap::new(),
            grant_frames: 4,
            grants: BTreeMap::new(),
            grant_table: None,
            left_mapped: LeftMapped::new(),
            max_maptrack: 2048,
            maptrack: BTreeMap::new(),
            next_handle: 0,
            iomem: BTreeSet::new(),
            mmio: BTreeSet::new(),
            nr_spis: 0,
            spis: BTreeSet::new(),
            own: Own::default(),
        }
    }

    /// Looks again whether its code runs.
    pub(crate) fn refresh(&self) {
        self.life.set(self.pauses == 0 && !self.dying && self.shutdown.is_none());
    }
}

impl State {
    pub(crate) fn domain_mut(&mut self, id: DomId) -> Result<&mut Dom, Errno> {
        self.domains.get_mut(&id).filter(|dom| !dom.dying).ok_or(Errno::ESRCH)
    }

    /// Frees what nobody maps any more of a dying domain, and the domain with its last page.
    pub(crate) fn reap(&mut self, id: DomId) {
        let Some(dom) = self.domains.get_mut(&id).filter(|dom| dom.dying) else { return };
        let mapped = dom.frames.iter().filter(|(_, frame)| frame.mapped.get() > 0);
        let keep = mapped.map(|(&gfn, frame)| (gfn, frame.clone())).collect();
        let freed = core::mem::replace(&mut dom.frames, keep);
        let gone =
            dom.frames.is_empty() && dom.grant_table.as_ref().is_none_or(|page| page.mapped.get() == 0);
        for frame in freed.into_values().filter(|frame| frame.mapped.get() == 0) {
            self.take_frame(frame);
        }
        if gone {
            let dom = self.domains.remove(&id).expect("looked at above");
            self.free.give(dom.overhead);
            self.raise_virq(DomId::DOM0, Virq::DOM_EXC);
        }
    }
}

/// What is in use: two of them are equal when nothing was lost in between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Census {
    /// Free pages of the machine.
    pub free_pages: u64,
    /// Domains, dying ones too.
    pub domains: Vec<DomId>,
    /// Ports by domain.
    pub ports: BTreeMap<DomId, usize>,
    /// Grants and reserved references by domain.
    pub grants: BTreeMap<DomId, usize>,
    /// Mapped grants by domain.
    pub mapped_grants: BTreeMap<DomId, usize>,
    /// Foreign pages that dom0 has mapped.
    pub mapped_foreign: usize,
    /// Pirqs that are mapped, by domain.
    pub pirqs: Vec<(DomId, u32)>,
    /// Owner of each device, if that is a domain, and whether it does DMA or raises interrupts.
    pub devices: Vec<(Sbdf, Option<DomId>, bool)>,
}

impl World {
    /// The usual machine, with dom0 on it and one network card that dom0 owns.
    #[must_use]
    pub fn new() -> Self {
        Self::with(Machine::default())
    }

    /// Another machine.
    #[must_use]
    pub fn with(machine: Machine) -> Self {
        let mut dom0 = Dom::new();
        dom0.iommu = true;
        dom0.refresh();
        let state = State {
            machine,
            free: FreeMemory::new(&machine),
            domains: BTreeMap::from([(DomId::DOM0, dom0)]),
            last_domid: 0,
            beginning: Vec::new(),
            record: Record::default(),
            graves: Vec::new(),
            pci: Pci::new(),
            time: Time::default(),
            console: ConsoleState::default(),
            in_flight: None,
            on_yield: None,
            sent: 0,
            mapped_foreign: 0,
            complaints: Vec::new(),
        };
        Self(Rc::new(RefCell::new(state)))
    }

    /// The usual machine with these domains running, each with a pool of 600 pages.
    #[must_use]
    pub fn with_domains(ids: &[DomId]) -> Self {
        let world = Self::new();
        ids.iter().for_each(|&id| world.start(id, 600));
        world
    }

    /// Puts a running domain there that nobody built, with `pages` pages of memory, all of them in its pool.
    ///
    /// # Panics
    /// If there is a domain of that number already.
    pub fn start(&self, id: DomId, pages: u64) {
        {
            let mut state = self.state_mut();
            let mut dom = Dom::new();
            let taken = state.free.take(pages);
            assert!(taken, "the machine has no {pages} pages");
            dom.frames = (0..pages).map(|gfn| (gfn, state.free.frame(false))).collect();
            dom.context = Some(Vec::new());
            dom.refresh();
            let before = state.domains.insert(id, dom);
            assert!(before.is_none(), "{id} exists");
            state.last_domid = state.last_domid.max(id.0);
        }
        self.domain(id).set_pool(Gfn(0), pages);
    }

    /// The world as domain `id` sees it.
    ///
    /// # Panics
    /// If there is no such domain.
    #[must_use]
    pub fn domain(&self, id: DomId) -> Domain {
        let state = self.state();
        let dom = state.domains.get(&id).unwrap_or_else(|| panic!("there is no {id}"));
        Domain { world: self.clone(), id, life: dom.life.clone() }
    }

    /// The world as dom0 sees it.
    #[must_use]
    pub fn dom0(&self) -> Domain {
        self.domain(DomId::DOM0)
    }

    /// Forgets the calls so far, records those that follow, and has one of them fail.
    pub fn restart(&self, fault: Option<Fault>) {
        self.state_mut().record.restart(fault);
    }

    /// Has one of the calls that follow fail, and records none of them: for runs that make very many.
    pub fn fail(&self, fault: Fault) {
        self.state_mut().record.fail(fault);
    }

    /// The calls since [`Self::restart`], a line each. Writes to the network card's command, MSI-X control and
    /// reset are among them.
    #[must_use]
    pub fn calls(&self) -> Vec<String> {
        self.state().record.texts.clone().unwrap_or_default()
    }

    /// The call that failed on purpose since [`Self::restart`] or [`Self::fail`], if it came to that.
    #[must_use]
    pub fn failed_call(&self) -> Option<String> {
        self.state().record.hit.clone()
    }

    /// What is in use.
    ///
    /// # Panics
    /// If a page was written after it went back.
    #[must_use]
    pub fn census(&self) -> Census {
        let state = self.state();
        assert!(
            state.graves.iter().all(|frame| frame.is_untouched()),
            "a page was written after it was freed"
        );
        let count = |of: fn(&Dom) -> usize| {
            let counts = state.domains.iter().map(|(&id, dom)| (id, of(dom)));
            counts.filter(|&(_, count)| count > 0).collect()
        };
        Census {
            free_pages: state.free.pages(),
            domains: state.domains.keys().copied().collect(),
            ports: count(|dom| dom.ports.len()),
            grants: count(|dom| dom.grants.len()),
            mapped_grants: count(|dom| dom.maptrack.len()),
            mapped_foreign: state.mapped_foreign,
            pirqs: state.pci.pirqs(),
            devices: state.pci.owners(),
        }
    }

    /// Bytes of a domain's memory.
    ///
    /// # Panics
    /// If it has no memory there.
    #[must_use]
    pub fn read(&self, domain: DomId, at: u64, length: usize) -> Vec<u8> {
        let state = self.state();
        let frames = &state.domains[&domain].frames;
        let mut bytes = vec![0; length];
        let mut done = 0;
        while done < length {
            let from = at + done as u64;
            let within = from as usize & 4095;
            let piece = (4096 - within).min(length - done);
            read_bytes(frames[&(from >> 12)].words(), within, &mut bytes[done..done + piece]);
            done += piece;
        }
        bytes
    }

    /// A parameter of a domain.
    #[must_use]
    pub fn param(&self, domain: DomId, index: u32) -> Option<u64> {
        self.state().domains.get(&domain)?.params.get(&index).copied()
    }

    /// The CPUs that a vCPU may run on, a bit each, if that was said.
    #[must_use]
    pub fn affinity(&self, domain: DomId, vcpu: u32) -> Option<u64> {
        self.state().domains.get(&domain)?.affinity.get(&vcpu).copied()
    }

    /// Whether the domain's code runs.
    #[must_use]
    pub fn runs(&self, domain: DomId) -> bool {
        self.state().domains.get(&domain).is_some_and(|dom| dom.life.get())
    }

    /// Whether Xen knows the domain, be it dying.
    #[must_use]
    pub fn exists(&self, domain: DomId) -> bool {
        self.state().domains.contains_key(&domain)
    }

    /// Ends a domain from inside, as a crash does: its code does not run any more, its memory stays.
    pub fn crash(&self, domain: DomId, reason: ShutdownReason) {
        let mut state = self.state_mut();
        if let Ok(dom) = state.domain_mut(domain) {
            dom.shutdown = Some(reason);
            dom.refresh();
            state.raise_virq(DomId::DOM0, Virq::DOM_EXC);
        }
    }

    /// Pages of its pool that a domain uses.
    #[must_use]
    pub fn pages_in_use(&self, id: DomId) -> usize {
        self.state().domains[&id].pool_used
    }

    /// References of a domain that are in use.
    #[must_use]
    pub fn grants_in_use(&self, id: DomId) -> usize {
        self.state().domains[&id].grants.len()
    }

    /// Ports of all domains.
    #[must_use]
    pub fn ports_in_use(&self) -> usize {
        self.state().domains.values().map(|dom| dom.ports.len()).sum()
    }

    /// Leaves the domain's pool no more than `limit` pages in all.
    pub fn limit_pages(&self, id: DomId, limit: usize) {
        let left = limit.saturating_sub(self.pages_in_use(id));
        let mut state = self.state_mut();
        let dom = state.domains.get_mut(&id).expect("the domain exists");
        let cut = dom.pool.len().saturating_sub(left);
        dom.pool.drain(..cut);
    }

    /// Events sent since the start.
    #[must_use]
    pub fn sent(&self) -> usize {
        self.state().sent
    }

    /// A pair of bound ports, as dom0 sets them up.
    ///
    /// # Panics
    /// If there is no port left.
    #[must_use]
    pub fn connect(&self, one: DomId, other: DomId) -> (Port, Port) {
        let near = self.domain(one).alloc_unbound(DomId::SELF, other).expect("a port is free");
        let far = self.domain(other).bind_interdomain(one, near).expect("the port is for it");
        (near, far)
    }

    pub(crate) fn state(&self) -> Ref<'_, State> {
        self.0.borrow()
    }

    pub(crate) fn state_mut(&self) -> RefMut<'_, State> {
        self.0.borrow_mut()
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("world")
    }
}

/// One domain's view of the world. Clones are the same one.
#[derive(Clone)]
pub struct Domain {
    world: World,
    id: DomId,
    life: Rc<Cell<bool>>,
}

impl Domain {
    /// Its number.
    #[must_use]
    pub fn id(&self) -> DomId {
        self.id
    }

    /// The world that it is in.
    #[must_use]
    pub fn world(&self) -> &World {
        &self.world
    }

    /// Whether its code runs. If not, nothing that it does has an effect.
    #[must_use]
    pub fn runs(&self) -> bool {
        self.life.get()
    }

    pub(crate) fn state(&self) -> RefMut<'_, State> {
        self.world.state_mut()
    }

    /// The domain that a call means.
    pub(crate) fn resolve(&self, id: DomId) -> DomId {
        if id == DomId::SELF { self.id } else { id }
    }

    /// Begins a call: notes it, and fails it if that was asked for.
    pub(crate) fn call(&self, call: Call, text: impl Fn() -> String) -> Result<RefMut<'_, State>, Errno> {
        if !self.runs() {
            // Whoever does not run makes no calls.
            return Err(Errno::ESRCH);
        }
        let mut state = self.state();
        let id = self.id;
        let named = || if id == DomId::DOM0 { text() } else { format!("{id}: {}", text()) };
        state.record.call(id, call, named)?;
        Ok(state)
    }

    /// The same for a call that only dom0 may make.
    pub(crate) fn privileged(
        &self,
        call: Call,
        text: impl Fn() -> String,
    ) -> Result<RefMut<'_, State>, Errno> {
        let state = self.call(call, text)?;
        if self.id == DomId::DOM0 { Ok(state) } else { Err(Errno::EPERM) }
    }
}

impl fmt::Debug for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.id)
    }
}

/// Reads a word of a shared page, for assertions.
#[must_use]
pub fn word(page: &impl Shared, index: usize) -> u32 {
    page.words()[index].load(core::sync::atomic::Ordering::Relaxed)
}

impl World {
    /// The references by which a domain grants pages to `to`.
    #[must_use]
    pub fn grants_to(&self, granter: DomId, to: DomId) -> Vec<Gref> {
        let state = self.state();
        let all = state.domains.get(&granter).into_iter().flat_map(|dom| &dom.grants);
        all.filter(|(_, entry)| entry.is_to(to)).map(|(&reference, _)| Gref(reference)).collect()
    }
}
