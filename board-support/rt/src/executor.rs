//! The one executor of the domain.

use core::sync::atomic::{AtomicU64, Ordering};

use board_support_arch::idle;

pub use crate::tasks::Spawner;
use crate::{awake::Awake, tasks::Tasks, timer};

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

/// Runs `start` and then all tasks, for ever.
pub(crate) fn run(start: impl FnOnce(Spawner)) -> ! {
    let mut tasks = Tasks::new();
    start(tasks.spawner());
    loop {
        // Ahead of the round: whom it wakes is polled in it, and needs no second one.
        timer::expire();
        let work = || {
            ROUNDS.fetch_add(1, Ordering::Relaxed);
            tasks.poll();
            timer::arm();
        };
        AWAKE.round(work, |is_set| idle::block_unless(is_set));
    }
}
