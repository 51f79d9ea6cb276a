//! What all of dom0's tasks stand on.

use alloc::{rc::Rc, vec::Vec};
use core::cell::{Cell, RefCell};

use board_support_hyp::{Clock, Foreign, Instant, Sysctl};
use board_support_pv::port::BoundPort;
use dom0_toolstack::{outbox::Outbox, port::OwnPort, server::Server, service};
use embassy_sync::{blocking_mutex::raw::NoopRawMutex, signal::Signal};
use proto_svc::device::{Boot, Machine as MachineReport, ToControl};
use proto_xen::{DomId, Errno, Gfn, PAGE_SIZE};

use crate::{
    console::Consoles,
    gauge::Gauge,
    measured::MeasuredStart,
    services::Services,
    system::{System, Watchdogs},
};

/// dom0's version: that of the image.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A page of another domain.
pub type Page<S> = <<S as System>::Xen as Foreign>::Mapped;
/// A port of ours.
pub type Line<S> = BoundPort<<S as System>::Xen, <S as System>::Runtime>;
/// A service.
pub type Service<S> = service::Service<'static, <S as System>::Xen, <S as System>::Machine>;
/// The builder of services.
pub type Builder<S> = service::Builder<'static, <S as System>::Xen, <S as System>::Machine>;
/// Wakes one task of ours. Whatever it carries is looked up.
pub type Bell = Signal<NoopRawMutex, ()>;

/// What all tasks share. Nothing borrows a cell across an `.await`.
pub struct Ground<S: System> {
    /// Xen.
    pub hyp: &'static S::Xen,
    /// Events, time, the log.
    pub runtime: S::Runtime,
    /// Starts tasks.
    pub spawner: S::Spawner,
    /// When dom0's first instruction was done.
    pub began: Instant,
    /// Xen's version.
    pub xen: (u16, u16),
    /// What waits to be told to control.
    pub outbox: RefCell<Outbox>,
    /// Something was put into the outbox.
    pub filled: Bell,
    /// Something was taken out of it.
    pub emptied: Bell,
    /// The services.
    pub services: Services<S>,
    /// What resets the machine unless it is fed.
    pub watchdogs: S::Watchdogs,
    /// A drill: the watchdogs are not fed any more.
    pub starved: Cell<bool>,
    /// The applications.
    pub server: RefCell<Server<'static, S::Xen>>,
    /// Their consoles.
    pub consoles: Consoles,
    /// What services answered to who measures.
    pub gauge: Gauge,
    /// Memory that the table leaves to applications, in KiB.
    pub app_limit_kib: u32,
    /// The most vCPUs that the table leaves to one application.
    pub app_vcpus: u8,
    /// How the machine came to be started.
    pub boot: Boot,
    /// What is extended into a PCR before it runs.
    pub measured: MeasuredStart,
    /// The log of what was measured.
    pub event_log: RefCell<Vec<u8>>,
    /// Whether an IOMMU confines each device of the driver domains.
    pub confined: bool,
    /// Whether the provisioning files are those that the device has.
    pub provisioning_read: bool,
}

impl<S: System> Ground<S> {
    /// Changes the outbox, and has it looked at.
    pub fn tell(&self, put: impl FnOnce(&mut Outbox)) {
        put(&mut self.outbox.borrow_mut());
        self.filled.signal(());
    }

    /// The machine, as control is told of it.
    pub fn machine_report(&self) -> ToControl {
        let physinfo = self.hyp.physinfo().unwrap_or_default();
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
            boot: Boot { measured: self.measured.outcome(), ..self.boot.clone() },
            confined: self.confined,
            provisioning_read: self.provisioning_read,
        })
    }

    /// Free memory of the machine, in KiB.
    pub fn free_kib(&self) -> u64 {
        self.hyp.physinfo().map_or(0, |physinfo| physinfo.free_pages * (PAGE_SIZE as u64 / 1024))
    }

    /// One page of a domain, mapped.
    ///
    /// # Errors
    /// What Xen says.
    pub fn map(&self, domain: DomId, page: Gfn) -> Result<Page<S>, Errno> {
        Foreign::map(self.hyp, domain, page, 1)
    }

    /// A port that was made for us, to be waited for.
    ///
    /// # Errors
    /// What Xen says.
    pub fn adopt(&self, port: OwnPort<'static, S::Xen>) -> Result<Line<S>, Errno> {
        Line::<S>::adopt(self.hyp.clone(), self.runtime.clone(), port.into_port())
    }

    /// The present moment.
    pub(crate) fn now(&self) -> Instant {
        Instant::from_nanos(self.runtime.now_ns())
    }
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
