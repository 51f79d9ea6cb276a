//! Memory of the tests, which driver and device both see.

use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::{cell::RefCell, collections::BTreeMap, rc::Rc, vec::Vec};

use board_support_hyp::Shared;
use proto_xen::Dfn;

use crate::dma::{self, DevicePages};

type PageWords = Rc<dma::Words>;

/// Memory that both ends see.
#[derive(Clone, Default)]
pub(crate) struct Ram {
    pages: Rc<RefCell<BTreeMap<u64, PageWords>>>,
    limit: Option<usize>,
}

pub(crate) struct Page {
    words: PageWords,
    at: Dfn,
}

impl Shared for Page {
    fn words(&self) -> &dma::Words {
        &self.words
    }
}

impl DevicePages for Ram {
    type Page = Page;

    fn allocate(&self) -> Option<Page> {
        let mut pages = self.pages.borrow_mut();
        if self.limit == Some(pages.len()) {
            return None;
        }
        // Above 4 GiB for some, so that upper halves of addresses matter.
        let at = 0xf_fff0 + pages.len() as u64;
        let words: PageWords = Rc::new([const { AtomicU32::new(0) }; 1024]);
        pages.insert(at, words.clone());
        Some(Page { words, at: Dfn(at) })
    }

    fn dfn(&self, page: &Page) -> Dfn {
        page.at
    }
}

impl Ram {
    /// Memory of so many pages.
    pub(crate) fn of(pages: usize) -> Self {
        Self { limit: Some(pages), ..Self::default() }
    }

    fn word(&self, address: u64) -> (PageWords, usize) {
        let pages = self.pages.borrow();
        let page = pages.get(&(address >> 12)).unwrap_or_else(|| panic!("DMA outside: {address:#x}"));
        (page.clone(), (address & 0xfff) as usize / 4)
    }

    pub(crate) fn load(&self, address: u64) -> u32 {
        let (page, word) = self.word(address);
        page[word].load(Relaxed)
    }

    pub(crate) fn store(&self, address: u64, value: u32) {
        let (page, word) = self.word(address);
        page[word].store(value, Relaxed);
    }

    pub(crate) fn read(&self, address: u64, length: usize) -> Vec<u8> {
        let words = (0..length as u64).step_by(4).flat_map(|at| self.load(address + at).to_le_bytes());
        words.take(length).collect()
    }

    pub(crate) fn write(&self, address: u64, bytes: &[u8]) {
        for (at, chunk) in (0..).step_by(4).zip(bytes.chunks(4)) {
            let mut word = [0xee; 4];
            word[..chunk.len()].copy_from_slice(chunk);
            self.store(address + at, u32::from_le_bytes(word));
        }
    }
}
