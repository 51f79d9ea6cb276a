//! A vCPU beside the first, which counts in a page that both see until it is asked to stop.

use core::{
    hint::spin_loop,
    mem::ManuallyDrop,
    sync::atomic::{
        AtomicU32,
        Ordering::{Acquire, Relaxed, Release},
    },
};

use board_support_arch::vcpu;
use board_support_hyp::shared::WORDS_PER_PAGE;
use proto_xen::{PAGE_SIZE, VcpuId};

pub use board_support_arch::vcpu::is_up;
pub use board_support_hyp::vcpu::StartError;

use crate::pool::Run;

/// One more than the number of the vCPU that counts, written by it.
const NUMBER: usize = 0;
/// How far it has counted, written by it.
const COUNT: usize = 1;
/// Not zero once it is to stop, written by the first.
const STOP: usize = 2;

/// A vCPU that counts.
pub struct Counter {
    /// The page, then the stack. It never goes back into the pool: the vCPU keeps it, and one that could not be started may
    /// have been told of it.
    memory: ManuallyDrop<Run>,
}

impl Counter {
    /// Starts `vcpu` with two pages of its own.
    ///
    /// # Errors
    /// [`StartError`].
    ///
    /// # Panics
    /// If there are fewer pages.
    pub fn start(vcpu: VcpuId, memory: Run) -> Result<Self, StartError> {
        assert!(memory.pages() >= 2, "a page and a stack");
        let page = memory.gaddr().0;
        let counter = Self { memory: ManuallyDrop::new(memory) };
        // SAFETY:
        // 1. The end of the second page is aligned, the page was taken out of the pool for this and never goes back.
        // 2. `count` uses nothing that relies on one vCPU: atomics, its own number, and a call of Xen that has no argument in
        //    memory.
        unsafe { vcpu::start(vcpu, count, page, page + 2 * PAGE_SIZE as u64) }?;
        Ok(counter)
    }

    /// What the vCPU says that it is; `None` if it has not said anything.
    #[must_use]
    pub fn number(&self) -> Option<VcpuId> {
        self.word(NUMBER).load(Acquire).checked_sub(1).map(VcpuId)
    }

    /// How far it has counted.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.word(COUNT).load(Acquire)
    }

    /// Asks it to stop itself.
    pub fn stop(&self) {
        self.word(STOP).store(1, Release);
    }

    fn word(&self, index: usize) -> &AtomicU32 {
        &self.memory.words()[index]
    }
}

/// What the vCPU does: its page is at `page`.
extern "C" fn count(page: u64) -> ! {
    let page = core::ptr::with_exposed_provenance::<[AtomicU32; WORDS_PER_PAGE]>(page as usize);
    // SAFETY:
    // 1. `start` has set the page aside for ever, and only atomics lead there.
    let words = unsafe { &*page };
    words[NUMBER].store(vcpu::own_number().0 + 1, Release);
    while words[STOP].load(Acquire) == 0 {
        words[COUNT].fetch_add(1, Relaxed);
        spin_loop();
    }
    vcpu::stop()
}
