//! Channel `device`: what control asks for, and what it is told.

use alloc::{rc::Rc, string::String, vec::Vec};
use core::future::pending;

use board_support_hyp::{Domctl, Runtime, domctl::DomainInfo, runtime::Item};
use board_support_pv::channel::{Channel, ChannelError, Receiver, Sender};
use dom0_toolstack::{
    application::Application,
    budget::MESSAGES,
    eventlog,
    server::{Server, Short, Task},
    watch,
    wiring::Dom0End,
};
use embassy_futures::select::{Either, select};
use proto_errors::svc;
use proto_svc::{
    device::{AppId, FromControl, StopReason, ToControl, Usage},
    supervision::{Level, LogRecord},
    text::clipped,
};
use proto_xen::{DomId, PAGE_SIZE, sched::ShutdownReason};

use crate::{
    console::Birth,
    ground::{Ground, Page},
    patience::Patience,
    services::{self, Patient},
    system::{System, Watchdogs},
};

type Device<S> = Channel<Patient<S>, Page<S>, ToControl, FromControl>;

/// Serves control for as long as it is there.
pub(crate) async fn serve<S: System>(
    ground: &Rc<Ground<S>>,
    id: DomId,
    end: Dom0End<'static, S::Xen>,
) -> Result<(), ChannelError> {
    let (line, page) = services::open(ground, id, end)?;
    let events = line.events();
    let mut channel = Device::<S>::open_upper(line, page).await?;
    greet(ground);
    let (sender, receiver) = channel.split();
    match select(tell(ground, sender, &events), hear(ground, receiver, &events)).await {
        Either::First(result) | Either::Second(result) => result,
    }
}

/// Tells a control that is there, perhaps anew, what there is.
fn greet<S: System>(ground: &Ground<S>) {
    let mut greeting = Vec::from([ground.machine_report()]);
    greeting.extend(ground.outbox.borrow().goes_on());
    ground.server.borrow().tell_known(&mut |known| greeting.push(known));
    ground.tell(|outbox| outbox.greet(greeting));
    // What was asked before is not answered any more: there is room.
    ground.emptied.signal(());
}

/// Empties the outbox.
async fn tell<S: System>(
    ground: &Ground<S>,
    mut sender: Sender<'_, Patient<S>, Page<S>, ToControl>,
    events: &Patience<S::Runtime>,
) -> Result<(), ChannelError> {
    loop {
        let next = ground.outbox.borrow_mut().pop();
        match next {
            Some(message) => {
                ground.emptied.signal(());
                sender.send(&message).await?;
                events.was_of_use();
            }
            None => ground.filled.wait().await,
        }
    }
}

/// Takes requests, while there is room for answers and as many as control may make. Pieces of images are
/// taken as fast as they come, in turn with what others want (a [`Receiver`] sees to that).
async fn hear<S: System>(
    ground: &Rc<Ground<S>>,
    mut receiver: Receiver<'_, Patient<S>, Page<S>, FromControl>,
    events: &Patience<S::Runtime>,
) -> Result<(), ChannelError> {
    let budget = Patience::new(ground.runtime.clone(), MESSAGES);
    loop {
        budget.wait().await;
        while !ground.outbox.borrow().has_room() {
            ground.emptied.wait().await;
        }
        let message = receiver.receive().await?;
        events.was_of_use();
        let is_piece = matches!(message, FromControl::Image { .. });
        let mut answer = None;
        let ordered = ground.now();
        let task = ground.server.borrow_mut().handle(
            message,
            ordered.as_nanos(),
            || ground.free_kib(),
            &mut |told| answer = Some(told),
        );
        if !is_piece || answer.is_some() {
            budget.spend(1);
        }
        if let Some(answer) = answer {
            ground.tell(|outbox| outbox.push(answer));
        }
        match task {
            None => {}
            Some(Task::Serve { app, id, console }) => {
                log::info!(target: "dom0", "application {} is {id}", Short(app));
                forget(ground);
                let birth = Birth { name: name_of(ground, id), ordered };
                birth.tell(ground.now(), "create");
                ground.consoles.serve(ground, app, id, console, birth);
            }
            Some(Task::End { app, domain }) => end(ground, app, domain, StopReason::Ordered).await,
            Some(Task::Type { app, bytes }) => ground.consoles.type_at(app, bytes),
            Some(Task::Taken { app, before, note }) => {
                ground.outbox.borrow_mut().taken(app, before, note);
                forget(ground);
            }
            Some(Task::TellUsage) => tell_usage(ground),
            Some(Task::TellEventLog { offset }) => {
                let piece = eventlog::piece(&ground.event_log.borrow(), offset);
                ground.tell(|outbox| outbox.push(piece));
            }
            Some(Task::Reboot { why }) => reboot(ground, &why).await,
        }
    }
}

/// Forgets consoles of applications that are not known any more.
fn forget<S: System>(ground: &Ground<S>) {
    let server = ground.server.borrow();
    ground.outbox.borrow_mut().forget(|app| server.requests().all().any(|known| known == app));
}

/// The name of the application in this domain.
fn name_of<S: System>(ground: &Ground<S>, id: DomId) -> String {
    let server = ground.server.borrow();
    let mut running = server.requests().running();
    let name = running.find(|(running, _)| *running == id).map(|(_, definition)| definition.name.as_str());
    name.unwrap_or_default().into()
}

/// Ends an application: it is paused, its console is read to the end, then the domain goes, then
/// control is told.
pub async fn end<S: System>(
    ground: &Ground<S>,
    app: AppId,
    domain: Application<'static, S::Xen>,
    reason: StopReason,
) {
    let id = domain.id();
    // It could write faster than its console is read.
    domain.pause();
    ground.consoles.close(app).await;
    drop(domain);
    log::info!(target: "dom0", "application {} ({id}) is gone: {reason:?}", Short(app));
    ground.tell(|outbox| outbox.push(Server::<S::Xen>::stopped(app, reason)));
}

async fn reboot<S: System>(ground: &Ground<S>, why: &[u8]) {
    let all: Vec<_> = ground.server.borrow_mut().end_all().collect();
    for (app, domain) in all {
        end(ground, app, domain, StopReason::Ordered).await;
    }
    log::info!(target: "dom0", "control asks for a reboot, and no application runs any more");
    // They would go on through the reset, and take a slow start of the firmware for one that hangs.
    ground.watchdogs.halt(why);
    S::shutdown(ground.hyp, ShutdownReason::REBOOT);
    pending().await
}

/// Tells what each domain has used, then how the machine is.
fn tell_usage<S: System>(ground: &Ground<S>) {
    let services = ground.services.names();
    let mut report = |info: &DomainInfo| {
        let id = info.domain;
        let server = ground.server.borrow();
        let mut running = server.requests().running();
        let app = running.find(|(running, _)| *running == id).map(|(_, definition)| definition);
        let service = services.iter().find(|(running, _)| *running == id);
        let name = match (app, service) {
            (Some(definition), _) => clipped(&definition.name),
            (None, Some((_, name))) => clipped(name),
            (None, None) if id == DomId::DOM0 => clipped("dom0"),
            // It is being destroyed.
            (None, None) => return,
        };
        let kib = info.pages.saturating_mul(PAGE_SIZE as u64 / 1024);
        let usage = Usage {
            name,
            domid: id.0,
            app: app.map(|definition| definition.app),
            memory_kib: u32::try_from(kib).unwrap_or(u32::MAX),
            cpu_ns: info.cpu_ns,
        };
        ground.tell(|outbox| outbox.push(ToControl::Usage(usage)));
    };
    let dom0 = ground.hyp.next_domain(DomId::DOM0).map(|info| info.iter().for_each(&mut report));
    if let Err(errno) = dom0.and_then(|()| watch::scan(ground.hyp, &mut report)) {
        log::warn!(target: "dom0", "usage of domains: {errno} [{}]", svc::USAGE);
    }
    let machine = ground.machine_report();
    ground.tell(|outbox| outbox.push(machine));
}

/// Sends dom0's own log to control.
pub async fn forward_own_log<S: System>(ground: Rc<Ground<S>>) {
    loop {
        match ground.runtime.next_line().await {
            Item::Record(line) => {
                let record = LogRecord {
                    level: level(line.level),
                    at_ns: line.at.as_nanos(),
                    text: clipped(&line.text),
                };
                ground.tell(|outbox| outbox.push_log("dom0", &record));
            }
            Item::Lost(count) => ground.tell(|outbox| outbox.lose_lines(count)),
        }
    }
}

fn level(level: log::Level) -> Level {
    match level {
        log::Level::Error => Level::Error,
        log::Level::Warn => Level::Warn,
        log::Level::Info => Level::Info,
        log::Level::Debug | log::Level::Trace => Level::Debug,
    }
}
