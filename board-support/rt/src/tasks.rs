//! Tasks and the queue of those that are ready, on embassy's raw executor.

use alloc::{boxed::Box, vec::Vec};
use core::{any::Any, cell::RefCell};

use embassy_executor::raw::{AvailableTask, Executor, TaskStorage};

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

/// All tasks of the domain.
pub(crate) struct Tasks {
    executor: &'static Executor,
    storages: &'static Storages,
}

impl Tasks {
    /// No tasks yet. They live for ever, and so does this.
    pub(crate) fn new() -> Self {
        Self {
            executor: Box::leak(Box::new(Executor::new(core::ptr::null_mut()))),
            storages: Box::leak(Box::new(Storages(RefCell::new(Vec::new())))),
        }
    }

    pub(crate) fn spawner(&self) -> Spawner {
        Spawner { inner: self.executor.spawner(), storages: self.storages }
    }

    /// Runs each task that is ready once.
    pub(crate) fn poll(&mut self) {
        // SAFETY:
        // 1. Never reentrantly: this is the only caller, tasks cannot reach the one value of this type that
        //    knows the executor, and it is borrowed mutably meanwhile.
        unsafe { self.executor.poll() };
    }
}

#[cfg(test)]
mod tests {
    use core::future::poll_fn;
    use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
    use core::task::{Poll, Waker};
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::Tasks;

    /// The executor's queue tells of a task that became ready.
    static PENDED: AtomicBool = AtomicBool::new(false);

    #[unsafe(export_name = "__pender")]
    fn pender(_context: *mut ()) {
        PENDED.store(true, Relaxed);
    }

    /// One test, for there is one queue that `PENDED` tells of.
    #[test]
    fn tasks_run_wait_are_woken_and_their_memory_is_used_again() {
        let mut tasks = Tasks::new();
        let spawner = tasks.spawner();
        let waker: Rc<RefCell<Option<Waker>>> = Rc::default();
        let runs = Rc::new(AtomicU32::new(0));
        let spawn = || {
            let (waker, runs) = (waker.clone(), runs.clone());
            spawner.spawn(async move {
                runs.fetch_add(1, Relaxed);
                let mut waited = false;
                poll_fn(|context| {
                    if core::mem::replace(&mut waited, true) {
                        return Poll::Ready(());
                    }
                    *waker.borrow_mut() = Some(context.waker().clone());
                    Poll::Pending
                })
                .await;
                runs.fetch_add(10, Relaxed);
            });
        };
        for round in 1..=3 {
            spawn();
            assert!(PENDED.swap(false, Relaxed), "a new task is ready");
            tasks.poll();
            assert_eq!(runs.swap(0, Relaxed), 1);
            tasks.poll();
            assert_eq!(runs.load(Relaxed), 0, "a task that waits does not run");
            let woken = waker.borrow_mut().take().expect("it waits");
            woken.wake_by_ref();
            assert!(PENDED.swap(false, Relaxed), "a woken task is ready");
            tasks.poll();
            assert_eq!(runs.swap(0, Relaxed), 10);
            // Of a task that has ended a waker is left. It wakes nobody.
            woken.wake();
            tasks.poll();
            assert_eq!(runs.load(Relaxed), 0);
            assert_eq!(tasks.storages.0.borrow().len(), 1, "round {round}");
        }
        // Two at the same time need two places.
        spawn();
        spawn();
        assert_eq!(tasks.storages.0.borrow().len(), 2);
        tasks.poll();
        assert_eq!(runs.load(Relaxed), 2);
    }
}
