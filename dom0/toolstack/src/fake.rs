//! A fake Xen with one PCI device: records every call, fails the one that a test chooses, and is
//! stricter than the real one. What the real one lets pass silently is a panic here.

mod nic;
mod xen;

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    format,
    rc::Rc,
    string::String,
    vec::Vec,
};

use board_support_hyp::{ForeignPages, Shared};
use core::sync::atomic::{AtomicU32, Ordering};
use proto_xen::{DomId, Errno, sched::ShutdownReason};

pub(crate) use nic::{Nic, Owner, TABLE_BAR};

type Page = [AtomicU32; 1024];

/// Xen, and the machine below it.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) state: RefCell<State>,
    /// Foreign pages that are mapped now.
    mapped: Rc<Cell<usize>>,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) calls: Vec<String>,
    /// The number of the call that fails.
    pub(crate) fail_at: Option<usize>,
    pub(crate) domains: BTreeMap<u16, FakeDomain>,
    next_domain: u16,
    own_ports: BTreeSet<u32>,
    next_port: u32,
    /// Extents of order 9 that the machine has.
    pub(crate) large_extents: u64,
    /// Single pages that it has beside them.
    pub(crate) single_pages: u64,
    pub(crate) nic: Nic,
}

#[derive(Debug, Default)]
pub(crate) struct FakeDomain {
    iommu: bool,
    max_kib: u64,
    pub(crate) frames: BTreeMap<u64, Rc<Page>>,
    pub(crate) params: BTreeMap<u32, u64>,
    ports: BTreeSet<u32>,
    permitted: Vec<(u64, u64)>,
    pub(crate) context: Option<Vec<u8>>,
    pub(crate) running: bool,
    pub(crate) shutdown: Option<ShutdownReason>,
}

impl World {
    pub(crate) fn new() -> Self {
        let state = State {
            calls: Vec::new(),
            fail_at: None,
            domains: BTreeMap::new(),
            next_domain: 1,
            own_ports: BTreeSet::new(),
            next_port: 1,
            large_extents: 100,
            single_pages: 1000,
            nic: Nic::new(),
        };
        Self { state: RefCell::new(state), mapped: Rc::default() }
    }

    /// Forgets the calls so far and has the one with this number fail.
    pub(crate) fn restart(&self, fail_at: Option<usize>) {
        let mut state = self.state.borrow_mut();
        state.calls.clear();
        state.fail_at = fail_at;
    }

    pub(crate) fn calls(&self) -> Vec<String> {
        self.state.borrow().calls.clone()
    }

    /// Panics unless nothing is left of any domain.
    pub(crate) fn assert_clean(&self, what: &str) {
        let state = self.state.borrow();
        assert!(state.domains.is_empty(), "{what}: domains {:?}", state.domains.keys());
        assert!(state.own_ports.is_empty(), "{what}: ports {:?}", state.own_ports);
        assert_eq!(self.mapped.get(), 0, "{what}: mapped pages");
        assert_eq!((state.large_extents, state.single_pages), (100, 1000), "{what}: memory");
        state.nic.assert_free(what);
    }

    /// Bytes of a domain's memory.
    pub(crate) fn read(&self, domain: DomId, at: u64, length: usize) -> Vec<u8> {
        let state = self.state.borrow();
        let frames = &state.domains[&domain.0].frames;
        let byte = |at: u64| {
            let word = frames[&(at >> 12)][(at as usize & 4095) / 4].load(Ordering::Relaxed);
            word.to_le_bytes()[at as usize % 4]
        };
        (at..at + length as u64).map(byte).collect()
    }

    /// Records a call and says whether it fails.
    fn call(&self, text: String) -> Result<(), Errno> {
        let mut state = self.state.borrow_mut();
        let number = state.calls.len();
        state.calls.push(text);
        if state.fail_at == Some(number) { Err(Errno::EIO) } else { Ok(()) }
    }

    /// The same for a call that undoes something: it does not count and does not fail.
    fn undo(&self, text: String) {
        self.state.borrow_mut().calls.push(format!("- {text}"));
    }
}

/// Foreign pages.
#[derive(Debug)]
pub(crate) struct FakeMapped {
    pages: Vec<Rc<Page>>,
    mapped: Rc<Cell<usize>>,
}

impl Drop for FakeMapped {
    fn drop(&mut self) {
        self.mapped.set(self.mapped.get() - self.pages.len());
    }
}

impl Shared for FakeMapped {
    fn words(&self) -> &Page {
        self.page(0)
    }
}

impl ForeignPages for FakeMapped {
    fn pages(&self) -> usize {
        self.pages.len()
    }

    fn page(&self, index: usize) -> &Page {
        &self.pages[index]
    }

    fn write(&self, offset: usize, bytes: &[u8]) {
        for (at, &byte) in (offset..).zip(bytes) {
            let word = &self.pages[at / 4096][at % 4096 / 4];
            let mut value = word.load(Ordering::Relaxed).to_le_bytes();
            value[at % 4] = byte;
            word.store(u32::from_le_bytes(value), Ordering::Relaxed);
        }
    }

    fn zero(&self) {
        self.write(0, &std::vec![0; self.pages.len() * 4096]);
    }

    fn read(&self, offset: usize, into: &mut [u8]) {
        for (at, byte) in (offset..).zip(into) {
            *byte = self.pages[at / 4096][at % 4096 / 4].load(Ordering::Relaxed).to_le_bytes()[at % 4];
        }
    }
}

/// A page as Xen gives it: not zero.
fn dirty_page() -> Rc<Page> {
    Rc::new([const { AtomicU32::new(0xdddd_dddd) }; 1024])
}
