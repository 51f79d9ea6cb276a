//! dom0: channel `device` with control's requests, and the consoles of applications. As `dom0/shell`.

use std::{cell::RefCell, rc::Rc};

use board_support_hyp::{Clock, Foreign, Sysctl};
use board_support_pv::{
    channel::{ChannelError, Receiver, Sender},
    console::back::Back,
};
use dom0_toolstack::{
    application::{Application, Console},
    server::{Server, Task},
    wiring::Dom0End,
};
use embassy_futures::{
    select::{Either, select},
    yield_now,
};
use proto_svc::device::{AppId, Boot, BootCause, FromControl, Machine, Measured, StopReason, ToControl};
use proto_xen::DomId;
use tests_fakexen::{Domain, foreign::MappedForeign};

use crate::{
    dom0::{Ground, open},
    ground::{Leash, Line, OfDom0},
    hostile,
};

/// The consoles that are served.
#[derive(Default)]
pub struct Consoles(RefCell<Vec<(AppId, Rc<Leash>)>>);

/// Serves control for as long as it is there.
///
/// # Errors
/// What ends the channel.
pub async fn serve(
    ground: &Rc<Ground>,
    id: DomId,
    end: Dom0End<'static, Domain>,
) -> Result<(), ChannelError> {
    let (line, page) = open(ground, id, end)?;
    let mut channel = OfDom0::<ToControl, FromControl>::open_upper(line, page).await?;
    greet(ground);
    let (sender, receiver) = channel.split();
    match select(tell(ground, sender), hear(ground, receiver)).await {
        Either::First(result) | Either::Second(result) => result,
    }
}

/// Tells a control that is there, perhaps anew, what there is.
fn greet(ground: &Ground) {
    let mut greeting = vec![machine(ground)];
    ground.server.borrow().tell_known(&mut |known| greeting.push(known));
    ground.inform(|outbox| outbox.greet(greeting));
    // What was asked before is not answered any more: there is room.
    ground.emptied.signal(());
}

fn machine(ground: &Ground) -> ToControl {
    let physinfo = ground.dom0.physinfo().unwrap_or_default();
    ToControl::Machine(Machine {
        memory_kib: physinfo.total_pages * 4,
        free_kib: physinfo.free_pages * 4,
        cpus: physinfo.nr_cpus,
        xen: (4, 20),
        version: heapless::String::new(),
        app_limit_kib: 0,
        app_vcpus: 1,
        hardware_watchdog: false,
        boot: Boot {
            cause: BootCause::Unknown,
            text: heapless::String::new(),
            slot: None,
            measured: Measured::No,
        },
        confined: true,
    })
}

async fn tell(
    ground: &Ground,
    mut sender: Sender<'_, Line, MappedForeign, ToControl>,
) -> Result<(), ChannelError> {
    loop {
        let next = ground.outbox.borrow_mut().pop();
        match next {
            Some(message) => {
                ground.emptied.signal(());
                sender.send(&message).await?;
            }
            None => ground.filled.wait().await,
        }
    }
}

async fn hear(
    ground: &Rc<Ground>,
    mut receiver: Receiver<'_, Line, MappedForeign, FromControl>,
) -> Result<(), ChannelError> {
    loop {
        while !ground.outbox.borrow().has_room() {
            ground.emptied.wait().await;
        }
        let message = receiver.receive().await?;
        let free_kib = || ground.dom0.physinfo().map_or(0, |physinfo| physinfo.free_pages * 4);
        let mut answer = None;
        let now = ground.dom0.now_ns();
        let task = ground.server.borrow_mut().handle(message, now, free_kib, &mut |told| answer = Some(told));
        if let Some(answer) = answer {
            ground.inform(|outbox| outbox.push(answer));
        }
        match task {
            Some(Task::Serve { app, id, console }) => run(ground, app, id, console),
            Some(Task::End { app, domain }) => end(ground, app, domain, StopReason::Ordered).await,
            Some(Task::Taken { app, before, note }) => {
                let server = ground.server.borrow();
                let mut outbox = ground.outbox.borrow_mut();
                outbox.taken(app, before, note);
                outbox.forget(|app| server.requests().all().any(|known| known == app));
            }
            // Nothing that this control asks for.
            Some(Task::Type { .. } | Task::TellUsage | Task::TellEventLog { .. } | Task::Reboot) | None => {}
        }
    }
}

/// Serves the console of an application that runs now, and starts what would be its own code.
fn run(ground: &Rc<Ground>, app: AppId, id: DomId, console: Console<'static, Domain>) {
    let leash = Leash::new();
    ground.consoles.0.borrow_mut().push((app, leash.clone()));
    let work = relay(ground.clone(), app, id, console);
    ground.spawner.spawn(DomId::DOM0, async move { leash.hold(work).await });
    let seed = ground.seeds.replace(ground.seeds.get().wrapping_add(1));
    ground.spawner.spawn(id, hostile::main(ground.world.domain(id), ground.seen.clone(), seed));
}

async fn relay(ground: Rc<Ground>, app: AppId, id: DomId, console: Console<'static, Domain>) {
    let Ok(page) = Foreign::map(ground.dom0, id, console.page, 1) else { return };
    let dom0 = || ground.dom0.clone();
    let Ok(line) = Line::adopt(dom0(), dom0(), console.port.into_port()) else { return };
    let Ok(mut back) = Back::attach(line, page) else { return };
    let mut buffer = [0; 512];
    // A guest that breaks the protocol has no console any more.
    while let Ok(count) = back.read(&mut buffer).await {
        ground.inform(|outbox| outbox.push_console(app, &buffer[..count]));
        yield_now().await;
    }
}

/// Ends an application: pauses it, closes its console, destroys it, tells control.
pub async fn end(ground: &Ground, app: AppId, domain: Application<'static, Domain>, reason: StopReason) {
    domain.pause();
    let place = ground.consoles.0.borrow().iter().position(|(of, _)| *of == app);
    if let Some(place) = place {
        let (_, leash) = ground.consoles.0.borrow_mut().swap_remove(place);
        leash.pull().await;
    }
    drop(domain);
    ground.inform(|outbox| outbox.push(Server::<Domain>::stopped(app, reason)));
}
