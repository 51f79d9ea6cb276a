//! What all of dom0's tasks stand on.

use alloc::rc::Rc;
use core::cell::{Cell, RefCell};

use board_support_hyp::{Foreign, Sysctl, Xen};
use board_support_pv::port::BoundPort;
use board_support_rt::{self as rt, Spawner, timer::Instant};
use dom0_toolstack::{outbox::Outbox, server::Server, service};
use embassy_sync::{blocking_mutex::raw::NoopRawMutex, signal::Signal};
use proto_svc::device::{Machine as MachineReport, ToControl};
use proto_xen::{DomId, Errno, Gfn, PAGE_SIZE};

use crate::{console::Consoles, machine::Machine, measure::Gauge, services::Services, watchdog::Watchdogs};

/// Xen has no state of its own, so one value serves all.
pub(crate) static XEN: Xen = Xen;

/// dom0's version: that of the image.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A page of another domain.
pub(crate) type Page = <Xen as Foreign>::Mapped;
/// A port of ours.
pub(crate) type Line = BoundPort<Xen, rt::Domain>;
/// A service.
pub(crate) type Service = service::Service<'static, Xen, Machine>;
/// The builder of services.
pub(crate) type Builder = service::Builder<'static, Xen, Machine>;
/// Wakes one task of ours. Whatever it carries is looked up.
pub(crate) type Bell = Signal<NoopRawMutex, ()>;

/// What all tasks share. Nothing borrows a cell across an `.await`.
pub(crate) struct Ground {
    /// Starts tasks.
    pub(crate) spawner: Spawner,
    /// When dom0's first instruction was done.
    pub(crate) began: Instant,
    /// Xen's version.
    pub(crate) xen: (u16, u16),
    /// What waits to be told to control.
    pub(crate) outbox: RefCell<Outbox>,
    /// Something was put into the outbox.
    pub(crate) filled: Bell,
    /// Something was taken out of it.
    pub(crate) emptied: Bell,
    /// The services.
    pub(crate) services: Services,
    /// What resets the machine unless it is fed.
    pub(crate) watchdogs: Watchdogs,
    /// A drill: the watchdogs are not fed any more.
    pub(crate) starved: Cell<bool>,
    /// The applications.
    pub(crate) server: RefCell<Server<'static, Xen>>,
    /// Their consoles.
    pub(crate) consoles: Consoles,
    /// What services answered to who measures.
    pub(crate) gauge: Gauge,
    /// Memory that the table leaves to applications, in KiB.
    pub(crate) app_limit_kib: u32,
    /// The most vCPUs that the table leaves to one application.
    pub(crate) app_vcpus: u8,
    /// Whether an IOMMU confines each device of the driver domains.
    pub(crate) confined: bool,
}

impl Ground {
    /// Changes the outbox, and has it looked at.
    pub(crate) fn tell(&self, put: impl FnOnce(&mut Outbox)) {
        put(&mut self.outbox.borrow_mut());
        self.filled.signal(());
    }

    /// The machine, as control is told of it.
    pub(crate) fn machine_report(&self) -> ToControl {
        let physinfo = XEN.physinfo().unwrap_or_default();
        let kib = |pages: u64| pages * (PAGE_SIZE as u64 / 1024);
        ToControl::Machine(MachineReport {
            memory_kib: kib(physinfo.total_pages),
            free_kib: kib(physinfo.free_pages),
            cpus: physinfo.nr_cpus,
            xen: self.xen,
            version: proto_svc::text::clipped(VERSION),
            app_limit_kib: self.app_limit_kib,
            app_vcpus: self.app_vcpus,
            hardware_watchdog: self.watchdogs.has_hardware(),
            reset_by_watchdog: self.watchdogs.has_reset(),
            confined: self.confined,
        })
    }
}

/// Free memory of the machine, in KiB.
pub(crate) fn free_kib() -> u64 {
    XEN.physinfo().map_or(0, |physinfo| physinfo.free_pages * (PAGE_SIZE as u64 / 1024))
}

/// One page of a domain, mapped.
pub(crate) fn map(domain: DomId, page: Gfn) -> Result<Page, Errno> {
    XEN.map(domain, page, 1)
}

/// Ends a task from outside, and tells when it has ended: what the task holds is gone then.
#[derive(Default)]
pub(crate) struct Leash {
    pulled: Bell,
    over: Bell,
}

impl Leash {
    /// A leash, and the same for the task.
    pub(crate) fn new() -> (Rc<Self>, Rc<Self>) {
        let leash = Rc::new(Self::default());
        (leash.clone(), leash)
    }

    /// Runs `work` until it is done or the leash is pulled.
    pub(crate) async fn hold(&self, work: impl Future<Output = ()>) {
        embassy_futures::select::select(self.pulled.wait(), work).await;
        self.over.signal(());
    }

    /// Ends the task, and waits until it is over.
    pub(crate) async fn pull(&self) {
        self.pulled.signal(());
        self.over.wait().await;
    }
}
