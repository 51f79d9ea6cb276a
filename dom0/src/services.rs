//! The services: their supervision, their deaths.

use alloc::{rc::Rc, vec::Vec};
use core::{
    cell::{RefCell, RefMut},
    time::Duration,
};

use board_support_hyp::{Console, Shared, Xen};
use board_support_pv::channel::{Channel, ChannelError};
use board_support_rt::{
    Domain, epitaph,
    timer::{Elapsed, Instant, now, with_deadline},
};
use dom0_toolstack::{BuildError, line, rate::LineLimit, wiring::Dom0End};
use proto_manifest::{name::Name, table::DOM0_CHANNEL};
use proto_svc::{
    device::ToControl,
    supervision::{FromService, ToService},
    text::clipped,
};
use proto_xen::{DomId, sched::ShutdownReason};

use crate::{
    control,
    ground::{Builder, Ground, Leash, Line, Page, Service, map},
};

/// dom0's end of a service's channel `dom0`.
type Supervision = Channel<Line, Page, ToService, FromService>;

/// All services.
pub(crate) struct Services {
    builder: RefCell<Builder>,
    running: RefCell<Vec<Running>>,
}

/// One that runs.
struct Running {
    /// Its place in the table.
    index: usize,
    /// The tasks that hold pages or ports of it.
    tasks: Vec<Rc<Leash>>,
    service: Service,
}

impl Services {
    /// None yet.
    pub(crate) fn new(builder: Builder) -> Self {
        Self { builder: RefCell::new(builder), running: RefCell::default() }
    }

    /// The builder.
    pub(crate) fn builder(&self) -> RefMut<'_, Builder> {
        self.builder.borrow_mut()
    }

    /// Number and name of those that run.
    pub(crate) fn names(&self) -> Vec<(DomId, Name)> {
        self.running.borrow().iter().map(|r| (r.service.id(), r.service.name().clone())).collect()
    }

    /// Starts a service that was built, or tells why it was not. `started` is when the last part of
    /// the building began, and `before` what the parts before it took.
    pub(crate) fn start(
        ground: &Rc<Ground>,
        index: usize,
        built: Result<Service, BuildError>,
        started: Instant,
        before: Duration,
    ) {
        let name = ground.services.name_of(index);
        let mut service = match built {
            Ok(service) => service,
            Err(error) => {
                log::error!(target: "dom0", "domain {name}: {error}");
                return;
            }
        };
        let took = before + (now() - started);
        log::info!(target: "dom0", "domain {name}: built in {}.{} ms", took.as_millis(), took.as_micros() / 100 % 10);
        let id = service.id();
        let mut tasks = Vec::new();
        for end in core::mem::take(&mut service.to_dom0) {
            let (leash, held) = Leash::new();
            tasks.push(leash);
            let work = serve(ground.clone(), name.clone(), id, end);
            ground.spawner.spawn(async move { held.hold(work).await });
        }
        // Running before it is known to run would be a death that nobody expects.
        let unpaused = service.unpause();
        ground.services.running.borrow_mut().push(Running { index, tasks, service });
        if let Err(error) = unpaused {
            log::error!(target: "dom0", "domain {name}: {error}");
        }
    }

    /// Ends the service with this number, if there is one, and says which it was: its place in the
    /// table. Its channels are closed first, for a domain with pages mapped is not gone.
    pub(crate) async fn end(ground: &Ground, id: DomId) -> Option<usize> {
        let place = ground.services.running.borrow().iter().position(|r| r.service.id() == id)?;
        let Running { index, tasks, service } = ground.services.running.borrow_mut().swap_remove(place);
        service.pause();
        for task in tasks {
            task.pull().await;
        }
        ground.services.builder().forget(id);
        drop(service);
        Some(index)
    }

    /// Tells of the death of a service, and ends what is left of it. Says which it was.
    pub(crate) async fn bury(ground: &Ground, id: DomId, reason: ShutdownReason) -> Option<usize> {
        let told = {
            let running = ground.services.running.borrow();
            let dead = running.iter().find(|r| r.service.id() == id)?;
            let words = map(id, dead.service.epitaph()).ok().and_then(|page| epitaph::read(page.words()));
            (dead.service.name().clone(), words)
        };
        let (name, words) = told;
        // The rest of the words is a backtrace, which was on Xen's console.
        let first = words.as_deref().and_then(|words| words.lines().next()).unwrap_or("no last words");
        log::error!(target: "dom0", "domain {name} ({id}) {}: {first}", reason.meaning());
        Self::end(ground, id).await
    }

    /// Builds a service anew and starts it.
    pub(crate) fn rebuild(ground: &Rc<Ground>, index: usize) {
        let started = now();
        let built = ground.services.builder().build(index);
        if let Ok(service) = &built {
            log::info!(target: "dom0", "domain {} is {}", service.name(), service.id());
        }
        Self::start(ground, index, built, started, Duration::ZERO);
    }

    /// The number of the service called `name`, if it runs.
    pub(crate) fn find(&self, name: &str) -> Option<DomId> {
        let running = self.running.borrow();
        running.iter().find(|r| r.service.name() == name).map(|r| r.service.id())
    }

    fn name_of(&self, index: usize) -> Name {
        let builder = self.builder.borrow();
        builder.table.domains.get(index).map(|domain| domain.name.clone()).unwrap_or_default()
    }
}

/// Serves one channel of a service to its end.
async fn serve(ground: Rc<Ground>, name: Name, id: DomId, end: Dom0End<'static, Xen>) {
    let channel = end.name.clone();
    let result = match channel.as_str() {
        DOM0_CHANNEL => supervise(&ground, &name, id, end).await,
        _ => control::serve(&ground, id, end).await,
    };
    if let Err(error) = result {
        log::warn!(target: "dom0", "domain {name}: channel {channel}: {error}");
    }
}

/// Hears what a service says of itself.
async fn supervise(
    ground: &Ground,
    name: &Name,
    id: DomId,
    end: Dom0End<'static, Xen>,
) -> Result<(), ChannelError> {
    let started = now();
    let (line, page) = open(id, end)?;
    let mut channel = Supervision::open_upper(line, page).await?;
    // Until its log is forwarded, a service writes to Xen's console itself.
    let opened_ns = now().as_nanos();
    let mut lines = LineLimit::new();
    loop {
        let message = match lines.due_ns() {
            None => channel.receive().await?,
            Some(at) => match with_deadline(Instant::from_nanos(at), channel.receive()).await {
                Ok(message) => message?,
                Err(Elapsed) => {
                    tell_hidden(&mut lines, name);
                    continue;
                }
            },
        };
        tell_hidden(&mut lines, name);
        match message {
            // Said and checked when the channel was opened.
            FromService::Hello { .. } => {}
            FromService::Ready if !lines.show(now().as_nanos()) => {}
            FromService::Ready => {
                let took = now() - started;
                log::info!(target: "dom0", "domain {name}: ready after {} ms", took.as_millis());
            }
            FromService::Log(record) => {
                if record.at_ns >= opened_ns && lines.show(now().as_nanos()) {
                    // There is nobody to tell if the console refuses.
                    let _ = Xen.write(line::of_service(id, &record).as_bytes());
                }
                ground.tell(|outbox| outbox.push_log(ToControl::Log { domain: clipped(name), record }));
            }
            FromService::LogLost { count } => ground.tell(|outbox| outbox.lose_lines(count)),
            // Nobody has asked yet.
            FromService::Pong { .. } => {}
        }
    }
}

/// Tells of lines that were too many, once there is room for more.
fn tell_hidden(lines: &mut LineLimit, name: &Name) {
    if let Some(count) = lines.recovered(now().as_nanos()) {
        log::warn!(target: "dom0", "domain {name}: {count} lines not shown");
    }
}

/// Port and page of dom0's end of a channel.
pub(crate) fn open(id: DomId, end: Dom0End<'static, Xen>) -> Result<(Line, Page), ChannelError> {
    let page = map(id, end.page).map_err(ChannelError::Event)?;
    let line = Line::adopt(Xen, Domain, end.port.into_port()).map_err(ChannelError::Event)?;
    Ok((line, page))
}
