//! The executor goes to sleep while an interrupt makes a task ready.

use board_support_rt::awake::Awake;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::sync::{Arc, Mutex};
use loom::thread;

/// The processor: an interrupt is served while they are allowed, which is while nobody holds the mask.
struct Processor {
    masked: Mutex<()>,
    /// It blocks. Whatever is served ends that.
    asleep: AtomicBool,
    awake: Awake,
    /// A task is ready.
    ready: AtomicBool,
    done: AtomicBool,
}

impl Processor {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            masked: Mutex::new(()),
            asleep: AtomicBool::new(false),
            awake: Awake::new(),
            ready: AtomicBool::new(false),
            done: AtomicBool::new(false),
        })
    }

    /// The interrupt that the model is about.
    fn interrupt(&self) {
        let _served = self.masked.lock().unwrap();
        self.ready.store(true, Ordering::Relaxed);
        self.awake.set();
        self.asleep.store(false, Ordering::Relaxed);
    }

    /// All that the executor does in a round.
    fn poll(&self) {
        // The queue of ready tasks is looked at with interrupts masked.
        let _masked = self.masked.lock().unwrap();
        if self.ready.swap(false, Ordering::Relaxed) {
            self.done.store(true, Ordering::Relaxed);
        }
    }

    /// `arch::idle`: asks with interrupts masked, and blocks in the instruction that allows them.
    fn block_unless(&self, awake: &dyn Fn() -> bool) {
        let _masked = self.masked.lock().unwrap();
        if !awake() {
            self.asleep.store(true, Ordering::Relaxed);
        }
    }
}

/// An interrupt at any instant of a round. If the processor sleeps after both, the task has run.
fn sleeping(round: fn(&Processor)) {
    let processor = Processor::new();
    let other = processor.clone();
    let interrupting = thread::spawn(move || other.interrupt());
    round(&processor);
    interrupting.join().unwrap();
    let asleep = processor.asleep.load(Ordering::Relaxed);
    assert!(!asleep || processor.done.load(Ordering::Relaxed), "a ready task is slept on");
}

fn round(processor: &Processor) {
    processor.awake.round(|| processor.poll(), |awake| processor.block_unless(awake));
}

#[test]
fn no_ready_task_is_slept_on() {
    loom::model(|| sleeping(round));
}

/// A flag that is cleared after the work forgets what came during it.
#[test]
#[should_panic(expected = "a ready task is slept on")]
fn fails_when_the_flag_is_cleared_after_the_work() {
    loom::model(|| {
        sleeping(|processor| {
            processor.poll();
            processor.awake.round(|| (), |awake| processor.block_unless(awake));
        });
    });
}

/// An interrupt between the question and the sleep is missed if interrupts are allowed at the question.
#[test]
#[should_panic(expected = "a ready task is slept on")]
fn fails_when_the_flag_is_asked_with_interrupts_allowed() {
    loom::model(|| {
        sleeping(|processor| {
            let ask_then_block = |awake: &dyn Fn() -> bool| {
                if !awake() {
                    processor.block_unless(&|| false);
                }
            };
            processor.awake.round(|| processor.poll(), ask_then_block);
        });
    });
}
