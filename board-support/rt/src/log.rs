//! Logs: to Xen's console, and into a queue from which they can be forwarded.
//!
//! A line is `LEVEL target: text`. Xen's console takes dom0's lines. Other domains write to Xen's debug
//! port, which is slow and prints only if Xen was started with `guest_loglvl=all`; so they do that only
//! until somebody takes lines out of the queue, as the task of the `dom0` channel does. The queue keeps
//! the oldest lines, from the start of the domain on, and counts what it has no room for.

use alloc::collections::VecDeque;
use core::{
    cell::RefCell,
    fmt::Write,
    future::poll_fn,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    task::{Poll, Waker},
};

use board_support_arch::debug_port;
pub use board_support_hyp::runtime::{Item, MAX_LINE, Record};
use board_support_hyp::{Console, Xen};
use critical_section::Mutex;
use heapless::String;
use log::Metadata;

use crate::timer;

/// Whether a domain that is not dom0 has its lines on Xen's console before somebody forwards them.
pub const STARTS_HEARD: bool = debug_port::IS_THERE;

/// Most lines of the queue.
const MAX_QUEUED: usize = 64;

struct Queue {
    lines: VecDeque<Record>,
    lost: u32,
    waker: Option<Waker>,
}

static QUEUE: Mutex<RefCell<Queue>> =
    Mutex::new(RefCell::new(Queue { lines: VecDeque::new(), lost: 0, waker: None }));
static CONSOLE: AtomicBool = AtomicBool::new(true);
/// Xen's console refuses us.
static REFUSED: AtomicBool = AtomicBool::new(false);
/// Somebody takes lines out of the queue.
static FORWARDED: AtomicBool = AtomicBool::new(false);

struct Logger;

/// Starts logging at `info`. [`set_level`] changes that.
pub(crate) fn init() {
    // There is one call of this, so it cannot fail.
    let _ = log::set_logger(&Logger);
    log::set_max_level(log::LevelFilter::Info);
}

/// Sets which lines are written.
pub fn set_level(level: log::LevelFilter) {
    log::set_max_level(level);
}

/// Whether lines go to Xen's console too. They do from the start.
pub fn set_console(on: bool) {
    CONSOLE.store(on, Relaxed);
}

fn is_heard() -> bool {
    CONSOLE.load(Relaxed) && !(REFUSED.load(Relaxed) && FORWARDED.load(Relaxed))
}

/// Takes the oldest line out of the queue, waiting for one. For one task.
pub async fn next() -> Item {
    FORWARDED.store(true, Relaxed);
    poll_fn(|context| {
        critical_section::with(|section| {
            let mut queue = QUEUE.borrow_ref_mut(section);
            if let Some(record) = queue.lines.pop_front() {
                return Poll::Ready(Item::Record(record));
            }
            // Lost lines came after the last one that was kept.
            match core::mem::take(&mut queue.lost) {
                0 => {
                    queue.waker = Some(context.waker().clone());
                    Poll::Pending
                }
                lost => Poll::Ready(Item::Lost(lost)),
            }
        })
    })
    .await
}

impl log::Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &log::Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let mut text = String::new();
        let mut cut = Cut(&mut text);
        // `Cut` never fails.
        let _ = write!(cut, "{}: {}", record.target(), record.args());
        if is_heard() {
            let mut line = Lines::new();
            let _ = writeln!(line, "{} {text}", record.level());
        }
        keep(Record { level: record.level(), at: timer::now(), text });
    }

    fn flush(&self) {}
}

fn keep(record: Record) {
    let waker = critical_section::with(|section| {
        let mut queue = QUEUE.borrow_ref_mut(section);
        // Once lines were lost, none is kept until that was said: the order stays right.
        if queue.lines.len() >= MAX_QUEUED || queue.lost > 0 {
            queue.lost = queue.lost.saturating_add(1);
        } else {
            queue.lines.push_back(record);
        }
        queue.waker.take()
    });
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// Writes into a string and leaves out what has no room.
struct Cut<'a>(&'a mut String<MAX_LINE>);

impl Write for Cut<'_> {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        for character in text.chars() {
            if self.0.push(character).is_err() {
                break;
            }
        }
        Ok(())
    }
}

/// Writes to Xen's console, a line at a time, without a heap. For the last words too.
pub(crate) struct Lines {
    buffer: [u8; 256],
    used: usize,
}

impl Lines {
    pub(crate) fn new() -> Self {
        Self { buffer: [0; 256], used: 0 }
    }

    fn flush(&mut self) {
        let text = &self.buffer[..self.used];
        if REFUSED.load(Relaxed) || Xen.write(text).is_err() {
            REFUSED.store(true, Relaxed);
            debug_port::write(text);
        }
        self.used = 0;
    }
}

impl Write for Lines {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        for byte in text.bytes() {
            self.buffer[self.used] = byte;
            self.used += 1;
            if byte == b'\n' || self.used == self.buffer.len() {
                self.flush();
            }
        }
        Ok(())
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        if self.used > 0 {
            self.flush();
        }
    }
}
