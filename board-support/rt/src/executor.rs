//! The one executor of the domain.

use alloc::{boxed::Box, vec::Vec};
use core::{
    any::Any,
    cell::RefCell,
    sync::atomic::{AtomicU64, Ordering},
};

use board_support_arch::idle;
use embassy_executor::raw::{AvailableTask, Executor, TaskStorage};

use crate::{awake::Awake, timer};

/// There may be something to do.
static AWAKE: Awake = Awake::new();

/// How often the domain had something to do.
static ROUNDS: AtomicU64 = AtomicU64::new(0);

/// How often the domain woke since its start. An idle domain's number stands still.
#[must_use]
pub fn rounds() -> u64 {
    ROUNDS.load(Ordering::Relaxed)
}

/// Has the executor look again before it blocks. From any context.
pub(crate) fn pend() {
    AWAKE.set();
}

/// Called by the executor's queue when a task becomes ready.
#[unsafe(export_name = "__pender")]
fn pender(_context: *mut ()) {
    pend();
}

/// Starts tasks. A copy is as good as the original.
#[derive(Clone, Copy)]
pub struct Spawner {
    inner: embassy_executor::Spawner,
    storages: &'static Storages,
}

/// Memory of tasks, one storage for each that ever ran at the same time as others of its kind. A
/// storage cannot be freed (the executor's wakers point to it), so it is used again.
struct Storages(RefCell<Vec<&'static dyn Any>>);

impl Spawner {
    /// Starts `future` as a task of its own. It first runs when the current task waits.
    pub fn spawn<F: Future<Output = ()> + 'static>(self, future: F) {
        let known = self
            .storages
            .0
            .borrow()
            .iter()
            .find_map(|storage| storage.downcast_ref::<TaskStorage<F>>().and_then(AvailableTask::claim));
        let task = known.unwrap_or_else(|| {
            let storage: &'static TaskStorage<F> = Box::leak(Box::new(TaskStorage::new()));
            self.storages.0.borrow_mut().push(storage);
            AvailableTask::claim(storage).expect("a new storage is free")
        });
        self.inner.spawn(task.initialize(|| future));
    }
}

/// Runs `start` and then all tasks, for ever.
pub(crate) fn run(start: impl FnOnce(Spawner)) -> ! {
    let executor: &'static Executor = Box::leak(Box::new(Executor::new(core::ptr::null_mut())));
    let storages = Box::leak(Box::new(Storages(RefCell::new(Vec::new()))));
    start(Spawner { inner: executor.spawner(), storages });
    loop {
        let work = || {
            ROUNDS.fetch_add(1, Ordering::Relaxed);
            timer::expire();
            // SAFETY:
            // 1. This loop is the only caller, on the main stack: never reentrantly.
            unsafe { executor.poll() };
            timer::arm();
        };
        AWAKE.round(work, |is_set| idle::block_unless(is_set));
    }
}
