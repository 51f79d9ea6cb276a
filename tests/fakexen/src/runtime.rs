//! What a domain has of its runtime: to sleep, its own log, the interrupts of its device.
//!
//! A line of the log begins with the domain's number and how many lines it has written before, so that a reader
//! can tell whether one is missing. Lines that are written with [`log`]'s macros belong to the domain whose task
//! the executor polls; `FAKEXEN_LOG=1` in the environment prints them all.

use core::{
    cell::RefCell,
    fmt::Write,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, Waker},
};
use std::{
    collections::{BTreeMap, VecDeque},
    env,
    sync::Once,
    time::Duration,
};

use board_support_hyp::{
    Instant, Runtime, Timer,
    runtime::{Item, MAX_LINE, Record},
};
use proto_xen::{DomId, Gaddr, PAGE_SIZE};

use crate::{
    page::SpecialPage,
    time::Ticket,
    world::{Domain, World},
};

/// What a domain has of its runtime.
#[derive(Debug, Default)]
pub(crate) struct Own {
    lines: VecDeque<Record>,
    written: u64,
    reader: Option<Waker>,
    /// By vector: it was raised since somebody looked; who looks.
    vectors: BTreeMap<u32, (bool, Option<Waker>)>,
    /// How often a task of it was polled.
    pub(crate) rounds: u64,
    /// What it has used of the CPU.
    pub(crate) cpu_ns: u64,
    /// It waits for an event.
    pub(crate) blocked: bool,
    /// It is busy for ever with nothing.
    pub(crate) spins: bool,
    /// It was let run at some time.
    pub(crate) began: bool,
}

/// An error or a warning that a domain has logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// When.
    pub at: Instant,
    /// Who.
    pub domain: DomId,
    /// The line, whole.
    pub text: String,
}

impl World {
    /// The first error or warning with this part, of whatever domain, also of one that is gone.
    #[must_use]
    pub fn complaint(&self, part: &str) -> Option<Complaint> {
        self.state().complaints.iter().find(|complaint| complaint.text.contains(part)).cloned()
    }

    /// Has a domain spin from now on: none of its tasks runs any more.
    pub fn hang(&self, id: DomId) {
        if let Ok(dom) = self.state_mut().domain_mut(id) {
            dom.own.spins = true;
            dom.own.blocked = false;
        }
    }

    /// Whether a domain spins.
    #[must_use]
    pub fn hangs(&self, id: DomId) -> bool {
        self.state().domains.get(&id).is_some_and(|dom| dom.own.spins)
    }

    /// Lines that a domain has written.
    #[must_use]
    pub fn lines_of(&self, id: DomId) -> u64 {
        self.state().domains.get(&id).map_or(0, |dom| dom.own.written)
    }

    /// The card raises an entry of its MSI-X table. Whoever has it bound is interrupted.
    pub fn interrupt(&self, entry: u16) {
        let mut state = self.state_mut();
        let Some((id, vector)) = state.pci.bound(entry) else { return };
        let Ok(dom) = state.domain_mut(id) else { return };
        let slot = dom.own.vectors.entry(vector.into()).or_default();
        slot.0 = true;
        if let Some(waker) = slot.1.take() {
            waker.wake();
        }
    }

    fn write_line(&self, id: DomId, line: &log::Record<'_>) {
        let mut state = self.state_mut();
        let at = Instant::from_nanos(state.time.now_ns());
        let Some(dom) = state.domains.get_mut(&id).filter(|dom| dom.life.get()) else { return };
        let whole = format!("{id} {} {}: {}", dom.own.written, line.target(), line.args());
        if env::var_os("FAKEXEN_LOG").is_some() {
            eprintln!("{at} {} {whole}", line.level());
        }
        dom.own.written += 1;
        let mut text = heapless::String::<MAX_LINE>::new();
        for character in whole.chars() {
            // Too long: cut, as on the device.
            let _ = text.write_char(character);
        }
        dom.own.lines.push_back(Record { level: line.level(), at, text });
        if let Some(reader) = dom.own.reader.take() {
            reader.wake();
        }
        if line.level() <= log::Level::Warn {
            state.complaints.push(Complaint { at, domain: id, text: whole });
        }
    }
}

/// Waits for a moment. Dropping it forgets the deadline.
#[derive(Debug)]
pub struct Sleep {
    domain: Domain,
    deadline_ns: u64,
    ticket: Option<Ticket>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if !self.domain.runs() {
            return Poll::Pending;
        }
        let old = self.ticket.take();
        let mut state = self.domain.state();
        if let Some(old) = old {
            state.time.forget(old);
        }
        if state.time.now_ns() >= self.deadline_ns {
            return Poll::Ready(());
        }
        let ticket = state.time.add(self.deadline_ns, context.waker().clone());
        drop(state);
        self.ticket = Some(ticket);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.domain.world().state_mut().time.forget(ticket);
        }
    }
}

impl Timer for Domain {
    type Sleep = Sleep;

    fn sleep_until(&self, deadline: Instant) -> Sleep {
        Sleep { domain: self.clone(), deadline_ns: deadline.as_nanos(), ticket: None }
    }
}

impl Runtime for Domain {
    type Special = SpecialPage;

    fn special_page(&self, at: Gaddr) -> Option<SpecialPage> {
        let aligned = at.0.is_multiple_of(PAGE_SIZE as u64);
        aligned.then(|| self.page_at(at.frame())).flatten()
    }

    fn poll_interrupt(&self, vector: u32, context: &mut Context<'_>) -> Poll<()> {
        if !self.runs() {
            return Poll::Pending;
        }
        let mut state = self.state();
        let Ok(dom) = state.domain_mut(self.id()) else { return Poll::Pending };
        let slot = dom.own.vectors.entry(vector).or_default();
        if core::mem::take(&mut slot.0) {
            return Poll::Ready(());
        }
        slot.1 = Some(context.waker().clone());
        Poll::Pending
    }

    fn next_line(&self) -> impl Future<Output = Item> {
        poll_fn(|context| {
            if !self.runs() {
                return Poll::Pending;
            }
            let mut state = self.state();
            let Ok(dom) = state.domain_mut(self.id()) else { return Poll::Pending };
            if let Some(record) = dom.own.lines.pop_front() {
                return Poll::Ready(Item::Record(record));
            }
            dom.own.reader = Some(context.waker().clone());
            Poll::Pending
        })
    }

    fn rounds(&self) -> u64 {
        self.state().domains.get(&self.id()).map_or(0, |dom| dom.own.rounds)
    }

    fn hang(&self) {
        self.world().hang(self.id());
    }
}

thread_local! {
    /// On which machine, and whose task is polled.
    static CURRENT: RefCell<Option<(World, Option<DomId>)>> = const { RefCell::new(None) };
}

struct Logger;

impl log::Log for Logger {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Info
    }

    fn log(&self, line: &log::Record<'_>) {
        if self.enabled(line.metadata())
            && let Some((world, Some(id))) = CURRENT.with_borrow(Clone::clone)
        {
            world.write_line(id, line);
        }
    }

    fn flush(&self) {}
}

static LOGGER: Once = Once::new();

/// When the machine is switched on: 2027-01-15 08:00, since 1970.
const POWER_ON: Duration = Duration::from_secs(1_800_000_000);

/// The time since 1970, for the task that is polled; `None` if none is.
#[must_use]
pub fn time_of_day() -> Option<Duration> {
    let world = CURRENT.with_borrow(|current| current.as_ref().map(|(world, _)| world.clone()))?;
    Some(POWER_ON + Duration::from_nanos(world.now_ns()))
}

/// Has lines of the log go to the domains from now on.
pub(crate) fn init_log() {
    LOGGER.call_once(|| {
        // A test that has its own logger keeps it.
        let _ = log::set_logger(&Logger);
        log::set_max_level(log::LevelFilter::Info);
    });
}

/// Runs `work` as a task of `id`, or of something beside the machine.
pub(crate) fn on_behalf_of<R>(world: &World, id: Option<DomId>, work: impl FnOnce() -> R) -> R {
    struct Back(Option<(World, Option<DomId>)>);
    impl Drop for Back {
        fn drop(&mut self) {
            let before = self.0.take();
            CURRENT.with_borrow_mut(|current| *current = before);
        }
    }
    let _back = Back(CURRENT.replace(Some((world.clone(), id))));
    work()
}
