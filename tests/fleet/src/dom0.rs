//! dom0: the services and their supervision. As `dom0/shell`.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
    time::Duration,
};

use board_support_hyp::{Clock, EventChannels, Foreign, wait};
use board_support_pv::channel::ChannelError;
use dom0_supervisor::{Command, Event, Input, Life, Reason, ServiceId, Supervisor};
use dom0_toolstack::{
    outbox::Outbox, server::Server, server::stop_reason, service::Change, watch, wiring::Dom0End,
};
use embassy_futures::select::{Either, select};
use proto_manifest::{
    table::DOM0_CHANNEL,
    wiring::{ChannelEnd, End, Wiring},
};
use proto_svc::{
    supervision::{FromService, PeerEnd, ToService},
    text::clipped,
};
use proto_xen::{DomId, VcpuId, Virq};
use tests_fakexen::{Domain, World};

use crate::{
    control,
    ground::{Bell, Builder, Leash, Line, OfDom0, Seen, Service, Spawner, sleep_ms, sleep_until},
    net, requests,
    service::Base,
    wire::Card,
};

/// net's place in the table.
pub const NET: ServiceId = ServiceId(0);
/// control's place in the table.
pub const CONTROL: ServiceId = ServiceId(1);

/// What all of dom0's tasks share.
pub struct Ground {
    /// dom0's view of Xen.
    pub dom0: &'static Domain,
    /// The machine.
    pub world: World,
    /// Starts tasks.
    pub spawner: Spawner,
    /// The card of net.
    pub card: Rc<Card>,
    /// What the story looks at.
    pub seen: Rc<Seen>,
    /// The applications.
    pub server: RefCell<Server<'static, Domain>>,
    /// What waits to be told to control.
    pub outbox: RefCell<Outbox>,
    /// Something was put into the outbox.
    pub filled: Bell,
    /// Something was taken out of it.
    pub emptied: Bell,
    /// The consoles that are served.
    pub consoles: requests::Consoles,
    /// Chooses what hostile applications do.
    pub seeds: Cell<u64>,
    builder: RefCell<Builder>,
    running: RefCell<Vec<Running>>,
    news: RefCell<VecDeque<Input>>,
    told: Bell,
    stopped: Cell<bool>,
}

struct Running {
    instance: Instance,
    tasks: Vec<Rc<Leash>>,
    post: Rc<Post>,
    service: Service,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Instance {
    service: ServiceId,
    life: Life,
}

#[derive(Default)]
struct Post {
    queue: RefCell<VecDeque<ToService>>,
    added: Bell,
}

impl Ground {
    /// What dom0 has when it begins.
    #[must_use]
    pub fn new(
        dom0: &'static Domain,
        builder: Builder,
        server: Server<'static, Domain>,
        spawner: Spawner,
        seed: u64,
    ) -> Rc<Self> {
        Rc::new(Self {
            dom0,
            world: dom0.world().clone(),
            spawner,
            card: Rc::default(),
            seen: Rc::default(),
            server: RefCell::new(server),
            outbox: RefCell::default(),
            filled: Bell::new(),
            emptied: Bell::new(),
            consoles: requests::Consoles::default(),
            seeds: Cell::new(seed),
            builder: RefCell::new(builder),
            running: RefCell::default(),
            news: RefCell::default(),
            told: Bell::new(),
            stopped: Cell::new(false),
        })
    }

    /// Changes the outbox, and has it looked at.
    pub fn inform(&self, put: impl FnOnce(&mut Outbox)) {
        put(&mut self.outbox.borrow_mut());
        self.filled.signal(());
    }

    /// The number of a service that runs.
    pub fn id(&self, service: ServiceId) -> Option<DomId> {
        self.running.borrow().iter().find(|r| r.instance.service == service).map(|r| r.service.id())
    }

    /// A person's order to end a service.
    pub fn order(&self, service: ServiceId) {
        self.tell(Input::Order(service));
    }

    /// Ends everything, as before the machine is switched off.
    pub async fn stop(self: Rc<Self>) {
        self.stopped.set(true);
        self.told.signal(());
        let all: Vec<Instance> = self.running.borrow().iter().map(|r| r.instance).collect();
        for instance in all {
            self.end(instance).await;
        }
        let apps: Vec<_> = self.server.borrow_mut().end_all().collect();
        for (app, domain) in apps {
            requests::end(&self, app, domain, stop_reason(proto_xen::sched::ShutdownReason::POWEROFF)).await;
        }
    }

    fn tell(&self, news: Input) {
        self.news.borrow_mut().push_back(news);
        self.told.signal(());
    }

    fn tell_of(&self, Instance { service, life }: Instance, event: Event) {
        self.tell(Input::Of(service, life, event));
    }

    fn build(self: &Rc<Self>, instances: &[Instance]) {
        let mut shells = Vec::new();
        for &instance in instances {
            let mut builder = self.builder.borrow_mut();
            let made = builder.prepare(instance.service.index()).and_then(|plan| {
                let shell = builder.create(&plan)?;
                Ok((plan, shell))
            });
            drop(builder);
            match made {
                Ok((plan, shell)) => shells.push((instance, plan, shell)),
                Err(_) => self.tell_of(instance, Event::NotBuilt),
            }
        }
        for (instance, plan, shell) in shells {
            let finished = self.builder.borrow_mut().finish(plan, shell);
            match finished {
                Ok(service) => self.start(instance, service),
                Err(_) => self.tell_of(instance, Event::NotBuilt),
            }
        }
        self.tell_peers();
    }

    fn start(self: &Rc<Self>, instance: Instance, mut service: Service) {
        let id = service.id();
        let post: Rc<Post> = Rc::default();
        let mut tasks = Vec::new();
        for end in core::mem::take(&mut service.to_dom0) {
            let leash = Leash::new();
            tasks.push(leash.clone());
            let desk = Desk { name: service.name().to_string(), id, instance, post: post.clone() };
            let work = serve(self.clone(), desk, end);
            self.spawner.spawn(DomId::DOM0, async move { leash.hold(work).await });
        }
        let unpaused = service.unpause();
        if unpaused.is_ok() {
            *self.seen.lives.borrow_mut() += 1;
            self.run_code(instance.service, &service);
        }
        self.running.borrow_mut().push(Running { instance, tasks, post, service });
        self.tell_of(instance, Event::Built);
    }

    /// Starts what would be the domain's own code, which finds its wiring in its memory.
    fn run_code(&self, service: ServiceId, built: &Service) {
        let id = built.id();
        let word = |at: u64| {
            let bytes = self.world.read(id, at, 8);
            bytes.iter().rev().fold(0u64, |value, &byte| value << 8 | u64::from(byte))
        };
        let modules = word(built.epitaph().base().0 - 4096 + 16);
        let record = self.world.read(id, word(modules), word(modules + 8) as usize);
        let wiring = Wiring::decode(&record).expect("dom0 wrote the record");
        let domain = self.world.domain(id);
        // Above the image, below the modules.
        domain.set_pool(proto_xen::Gfn(0x200), 128);
        let base = Base::new(domain, wiring, self.seen.clone());
        if service == NET {
            self.spawner.spawn(id, net::main(base, self.spawner.clone(), self.card.clone()));
        } else {
            self.spawner.spawn(id, control::main(base, self.spawner.clone()));
        }
    }

    async fn end(&self, instance: Instance) {
        let place = self.running.borrow().iter().position(|r| r.instance == instance);
        if let Some(place) = place {
            let Running { tasks, service, .. } = self.running.borrow_mut().swap_remove(place);
            service.pause();
            for task in tasks {
                task.pull().await;
            }
            self.builder.borrow_mut().forget(service.id());
            drop(service);
            self.tell_peers();
        }
        self.tell_of(instance, Event::Gone);
    }

    fn tell_peers(&self) {
        let mut builder = self.builder.borrow_mut();
        for Running { service, post, .. } in self.running.borrow_mut().iter_mut() {
            // What cannot be told now is told the next time.
            let Ok(changes) = builder.rewire(service) else { continue };
            for message in changes.into_iter().filter_map(message) {
                let subject = subject(&message);
                let mut queue = post.queue.borrow_mut();
                queue.retain(|earlier| self::subject(earlier) != subject);
                queue.push_back(message);
                post.added.signal(());
            }
        }
    }

    fn say(&self, service: ServiceId, message: ToService) {
        if let Some(running) = self.running.borrow().iter().find(|r| r.instance.service == service) {
            running.post.queue.borrow_mut().push_back(message);
            running.post.added.signal(());
        }
    }
}

fn subject(message: &ToService) -> Option<String> {
    match message {
        ToService::PeerGone { channel } | ToService::PeerBack { channel, .. } => Some(channel.to_string()),
        _ => None,
    }
}

fn message(change: Change) -> Option<ToService> {
    match change {
        Change::Gone(channel) => Some(ToService::PeerGone { channel: clipped(&channel) }),
        Change::Back(ChannelEnd { name, end }) => {
            let end = match end {
                End::Offer { peer, page, gref, port, bind } => {
                    PeerEnd::Offer { peer, page, gref, port, bind }
                }
                End::Accept { peer, gref, port, bind } => PeerEnd::Accept { peer, gref, port, bind },
                End::Dom0 { .. } => return None,
            };
            Some(ToService::PeerBack { channel: clipped(&name), end })
        }
    }
}

/// Supervises the services until [`Ground::stop`].
pub async fn supervise(ground: Rc<Ground>, mut supervisor: Supervisor) {
    let mut ping = 0;
    let mut input = Input::Tick;
    while !ground.stopped.get() {
        let commands = supervisor.step(Duration::from_nanos(ground.dom0.now_ns()), input);
        let mut builds = Vec::new();
        for command in commands {
            match command {
                Command::Build(service, life) => builds.push(Instance { service, life }),
                Command::Ping(service, _) => {
                    ping += 1;
                    ground.say(service, ToService::Ping { number: ping });
                }
                Command::End(service, life) => ground.end(Instance { service, life }).await,
                Command::Tell(..) | Command::Feed => {}
            }
        }
        if !builds.is_empty() && !ground.stopped.get() {
            ground.build(&builds);
        }
        input = next(&ground, &supervisor).await;
    }
}

async fn next(ground: &Ground, supervisor: &Supervisor) -> Input {
    loop {
        if let Some(news) = ground.news.borrow_mut().pop_front() {
            return news;
        }
        let deadline = supervisor.deadline().map(|at| at.as_nanos() as u64);
        match deadline {
            Some(at) if at <= ground.dom0.now_ns() || ground.stopped.get() => return Input::Tick,
            Some(at) => {
                select(ground.told.wait(), sleep_until(ground.dom0, at)).await;
            }
            None => ground.told.wait().await,
        }
    }
}

/// Looks for what has died, for ever.
pub async fn deaths(ground: Rc<Ground>) {
    let port = ground.dom0.bind_virq(Virq::DOM_EXC, VcpuId(0)).expect("it is bound once");
    let mut dead_services = Vec::new();
    loop {
        let mut dead = Vec::new();
        let looked = watch::deaths(ground.dom0, |death| dead.push(death));
        for death in dead {
            let application = ground.server.borrow_mut().ended(death.domain);
            if let Some((app, domain)) = application {
                requests::end(&ground, app, domain, stop_reason(death.reason)).await;
                continue;
            }
            let of = |r: &Running| (r.service.id() == death.domain).then_some(r.instance);
            let instance = ground.running.borrow().iter().find_map(of);
            if let Some(instance) = instance
                && !dead_services.contains(&death.domain)
            {
                dead_services.push(death.domain);
                ground.tell_of(instance, Event::Died(Reason::Shutdown(death.reason.0)));
            }
        }
        match looked {
            Ok(()) => wait::event(ground.dom0, port).await,
            // No event comes a second time for a death.
            Err(_) => sleep_ms(ground.dom0, 500).await,
        }
    }
}

/// Whose channel is served.
struct Desk {
    name: String,
    id: DomId,
    instance: Instance,
    post: Rc<Post>,
}

/// Serves one channel of a service to its end.
async fn serve(ground: Rc<Ground>, desk: Desk, end: Dom0End<'static, Domain>) {
    let result = match end.name.as_str() {
        DOM0_CHANNEL => watch_service(&ground, &desk, end).await,
        _ => requests::serve(&ground, desk.id, end).await,
    };
    if result.is_err() {
        ground.tell_of(desk.instance, Event::Died(Reason::Channel));
    }
}

async fn watch_service(
    ground: &Ground,
    desk: &Desk,
    end: Dom0End<'static, Domain>,
) -> Result<(), ChannelError> {
    let Desk { name, id, instance, post } = desk;
    let (line, page) = open(ground, *id, end)?;
    let mut channel = OfDom0::<ToService, FromService>::open_upper(line, page).await?;
    ground.tell_of(*instance, Event::Heard);
    let (mut sender, mut receiver) = channel.split();
    let hear = async {
        loop {
            let message = receiver.receive().await?;
            let ready = message == FromService::Ready;
            ground.tell_of(*instance, if ready { Event::Ready } else { Event::Heard });
            match message {
                FromService::Log(record) => {
                    *ground.seen.records.borrow_mut() += 1;
                    ground.inform(|outbox| outbox.push_log(name, &record));
                }
                FromService::LogLost { count } => ground.inform(|outbox| outbox.lose_lines(count)),
                FromService::Hello { .. }
                | FromService::Ready
                | FromService::Pong { .. }
                | FromService::Rounds { .. }
                | FromService::Filler { .. } => {}
            }
        }
    };
    let speak = async {
        loop {
            let next = post.queue.borrow_mut().pop_front();
            match next {
                Some(message) => sender.send(&message).await?,
                None => post.added.wait().await,
            }
        }
    };
    match select(hear, speak).await {
        Either::First(result) | Either::Second(result) => result,
    }
}

/// Port and page of dom0's end of a channel.
///
/// # Errors
/// What Xen says.
pub fn open(
    ground: &Ground,
    id: DomId,
    end: Dom0End<'static, Domain>,
) -> Result<(Line, tests_fakexen::foreign::MappedForeign), ChannelError> {
    let page = Foreign::map(ground.dom0, id, end.page, 1).map_err(ChannelError::Event)?;
    let dom0 = || ground.dom0.clone();
    let line = Line::adopt(dom0(), dom0(), end.port.into_port()).map_err(ChannelError::Event)?;
    Ok((line, page))
}
