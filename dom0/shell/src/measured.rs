//! Channel `measure`: what is about to run is extended into a PCR by vault, and runs then; and vault is told what the
//! provisioning allows.

use alloc::rc::Rc;
use core::{
    cell::{Cell, RefCell},
    time::Duration,
};

use board_support_hyp::{Spawn, Timer};
use board_support_pv::channel::{Channel, ChannelError};
use dom0_toolstack::{
    budget::MESSAGES,
    image::Hex,
    line,
    measured::{Measuring, PCR},
    wiring::Dom0End,
};
use proto_errors::{Coded, svc};
use proto_manifest::name::Name;
use proto_svc::{
    device::Measured,
    measure::{FromVault, ToVault},
};
use proto_xen::DomId;

use crate::{
    ground::{Ground, Page},
    patience::Patience,
    services::{self, Patient, Services},
    system::System,
};

/// How long services wait for what must come before them. vault looks at its TPM and its keys first, which a slow
/// chip may take seconds for; a device that nobody reaches for longer than that serves nobody.
const PATIENCE: Duration = Duration::from_secs(6);
/// When people are told that they wait: what is wrong is to be seen within five seconds. A TPM that is well is done in
/// less.
const TOLD_AFTER: Duration = Duration::from_secs(2);

type Measure<S> = Channel<Patient<S>, Page<S>, ToVault, FromVault>;

/// The measured start of this boot.
pub struct MeasuredStart {
    /// SHA-256 of the table; none if nobody can measure.
    table: Option<[u8; 32]>,
    machine: RefCell<Option<Measuring>>,
    told: Cell<bool>,
}

impl MeasuredStart {
    /// One that begins with the first services. `table` is the hash of the compiled table, where there is somebody
    /// to measure.
    #[must_use]
    pub fn new(table: Option<[u8; 32]>) -> Self {
        Self { table, machine: RefCell::default(), told: Cell::new(false) }
    }

    /// Whether a service may run.
    pub(crate) fn may_run(&self, service: &Name) -> bool {
        self.machine.borrow().as_ref().is_none_or(|machine| machine.may_run(service))
    }

    /// Whether the PCR tells that the start went on without.
    fn is_marked(&self) -> bool {
        self.machine.borrow().as_ref().is_some_and(Measuring::is_marked)
    }

    /// Whether nobody waits any more.
    fn is_over(&self) -> bool {
        self.machine.borrow().as_ref().is_some_and(Measuring::is_over)
    }

    /// What control is told.
    pub(crate) fn outcome(&self) -> Measured {
        self.machine.borrow().as_ref().map_or(Measured::No, Measuring::outcome)
    }
}

/// Begins, once, when the images of all services were looked at.
pub(crate) fn begin<S: System>(ground: &Rc<Ground<S>>) {
    let start = &ground.measured;
    let Some(table) = start.table.filter(|_| start.machine.borrow().is_none()) else { return };
    let machine = Measuring::new(table, ground.services.builder().checked_images());
    *start.machine.borrow_mut() = Some(machine);
    let spawner = ground.spawner.clone();
    let ground = ground.clone();
    spawner.spawn(async move {
        ground.runtime.sleep(TOLD_AFTER).await;
        if !ground.measured.is_over() {
            let (waited, left) = (TOLD_AFTER.as_secs(), (PATIENCE - TOLD_AFTER).as_secs());
            log::warn!(target: "dom0", "the services have waited {waited} s for vault to measure them, and wait {left} s more at most [{}]", svc::WAITS_FOR_VAULT);
        }
        ground.runtime.sleep(PATIENCE - TOLD_AFTER).await;
        if let Some(machine) = ground.measured.machine.borrow_mut().as_mut() {
            machine.late();
        }
        go_on(&ground);
    });
}

/// Has vault extend what is left, for as long as it is there.
pub(crate) async fn serve<S: System>(
    ground: &Rc<Ground<S>>,
    id: DomId,
    end: Dom0End<'static, S::Xen>,
) -> Result<(), ChannelError> {
    let (line, page) = services::open(ground, id, end)?;
    let events = line.events();
    let mut channel = Measure::<S>::open_upper(line, page).await?;
    let (mut sender, mut receiver) = channel.split();
    let budget = Patience::new(ground.runtime.clone(), MESSAGES);
    let may_start_anew = ground.services.builder().may_clean_vault();
    sender.send(&ToVault::Provisioned { may_start_anew }).await?;
    events.was_of_use();
    let mut ask = ground.measured.machine.borrow_mut().as_mut().and_then(Measuring::opened);
    let mut pause = Duration::ZERO;
    loop {
        if let Some(question) = ask.take() {
            ground.runtime.sleep(core::mem::take(&mut pause)).await;
            sender.send(&question).await?;
            events.was_of_use();
        }
        budget.wait().await;
        let answer = receiver.receive().await?;
        budget.spend(1);
        events.was_of_use();
        let taken = ground.measured.machine.borrow_mut().as_mut().map(|machine| machine.take(&answer));
        if let Some(taken) = taken {
            let is_step = !taken.logged.is_empty();
            ground.event_log.borrow_mut().extend(taken.logged);
            (ask, pause) = (taken.ask, taken.pause);
            go_on(ground);
            if is_step && ground.measured.is_marked() {
                log::info!(target: "dom0", "PCR {PCR} tells by a mark that the start is not measured");
            }
        }
    }
}

/// Lets run what may, and says so when nobody waits any more.
fn go_on<S: System>(ground: &Rc<Ground<S>>) {
    Services::release(ground);
    let start = &ground.measured;
    if !start.is_over() || start.told.replace(true) {
        return;
    }
    let machine = start.machine.borrow();
    let Some(machine) = machine.as_ref() else { return };
    match (machine.outcome(), machine.unmeasured()) {
        (Measured::No, Some(why)) => log::info!(target: "dom0", "the start is not measured: {why}"),
        (_, Some(why)) => log::error!(target: "dom0", "the start is not measured: {}", why.told()),
        (_, None) => {
            let (events, value) = machine.result();
            log::info!(target: "dom0", "the start is measured: {events} events make PCR {} {}", PCR, Hex(&value));
            let took = ground.now() - ground.began;
            log::info!(target: "dom0", "{}", line::measurement("first-instruction-to-measured", "all", took));
        }
    }
    let report = ground.machine_report();
    ground.tell(|outbox| outbox.push(report));
}
