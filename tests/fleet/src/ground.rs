//! What all shells stand on.

use std::{cell::RefCell, future::poll_fn, rc::Rc};

use crate::controller::Controller;
use board_support_hyp::Clock;
use board_support_pv::{channel::Channel, grant::GrantedPage, port::BoundPort};
use dom0_toolstack::{pci::ConfigSpace, service};
use embassy_futures::select::{Either, select};
use embassy_sync::{blocking_mutex::raw::NoopRawMutex, signal::Signal};
use proto_xen::{Maddr, Sbdf};
use tests_fakexen::{Domain, World, executor, foreign::MappedForeign, grant::MappedGrant, page::SpecialPage};

/// A port.
pub type Line = BoundPort<Domain, Domain>;
/// A service's end of a channel to dom0.
pub type Owned<Out, In> = Channel<Line, SpecialPage, Out, In>;
/// dom0's end of a channel.
pub type OfDom0<Out, In> = Channel<Line, MappedForeign, Out, In>;
/// The end of a channel that a service offers to another.
pub type Offered<Out, In> = Channel<Line, GrantedPage<'static, Domain, SpecialPage>, Out, In>;
/// The other end of that.
pub type Accepted<Out, In> = Channel<Line, MappedGrant, Out, In>;
/// A service as dom0 holds it.
pub type Service = service::Service<'static, Domain, Config>;
/// The builder of services.
pub type Builder = service::Builder<'static, Domain, Config>;
/// Starts tasks.
pub type Spawner = executor::Spawner<'static>;
/// Wakes one task. Whatever it carries is looked up.
pub type Bell = Signal<NoopRawMutex, ()>;

/// What the story wants to know of what happened.
#[derive(Debug, Default)]
pub struct Seen {
    /// Answers of the echo that control got, by its own number and net's.
    pub echoes: RefCell<Vec<(u16, u16)>>,
    /// Applications that control saw run.
    pub started: RefCell<u32>,
    /// Applications that control saw end.
    pub ended: RefCell<u32>,
    /// What the controller has got, by whatever control.
    pub controller: RefCell<Controller>,
    /// Log records of services that dom0 has got.
    pub records: RefCell<usize>,
    /// Applications that a control found running when it came, and went on with.
    pub adopted: RefCell<u32>,
    /// Things that the hostile application tried and was refused.
    pub refused: RefCell<u32>,
    /// Services that were built.
    pub lives: RefCell<u32>,
    /// Services that are to stop answering, by their numbers.
    pub hung: RefCell<Vec<u16>>,
}

/// dom0's way to configuration space.
#[derive(Debug)]
pub struct Config(pub World);

impl ConfigSpace for Config {
    fn read32(&self, function: Sbdf, offset: u16) -> u32 {
        self.0.config_read32(function, offset)
    }

    fn write16(&self, function: Sbdf, offset: u16, value: u16) {
        self.0.config_write16(function, offset, value);
    }

    fn write32(&self, function: Sbdf, offset: u16, value: u32) {
        self.0.config_write32(function, offset, value);
    }

    fn can_be_registers(&self, at: Maddr, _: u64) -> bool {
        self.0.is_above_memory(at)
    }

    fn read_register(&self, at: Maddr) -> u32 {
        self.0.register_read(at)
    }

    fn write_register(&self, at: Maddr, value: u32) {
        self.0.register_write(at, value);
    }
}

/// Waits until `at_ns` of virtual time.
pub async fn sleep_until(domain: &Domain, at_ns: u64) {
    poll_fn(|context| domain.poll_until(at_ns, context)).await;
}

/// Waits for so many milliseconds.
pub async fn sleep_ms(domain: &Domain, ms: u64) {
    sleep_until(domain, domain.now_ns() + ms * 1_000_000).await;
}

/// Waits for `work`, at most so many milliseconds.
pub async fn within<T>(domain: &Domain, ms: u64, work: impl Future<Output = T>) -> Option<T> {
    match select(work, sleep_ms(domain, ms)).await {
        Either::First(done) => Some(done),
        Either::Second(()) => None,
    }
}

/// Ends a task from outside, and tells when it has ended.
#[derive(Default)]
pub struct Leash {
    pulled: Bell,
    over: Bell,
}

impl Leash {
    /// A leash for one task.
    #[must_use]
    pub fn new() -> Rc<Self> {
        Rc::default()
    }

    /// Runs `work` until it is done or the leash is pulled.
    pub async fn hold(&self, work: impl Future<Output = ()>) {
        select(self.pulled.wait(), work).await;
        self.over.signal(());
    }

    /// Ends the task, and waits until it is over.
    pub async fn pull(&self) {
        self.pulled.signal(());
        self.over.wait().await;
    }
}
