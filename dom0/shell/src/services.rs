//! The services that run: built, served on their channels, ended; their peers told.
//!
//! What is done when is `dom0/supervisor`'s to decide; [`crate::supervision`] calls what is here.

use alloc::{
    collections::VecDeque,
    format,
    rc::{Rc, Weak},
    vec::Vec,
};
use core::{
    cell::{Cell, RefCell, RefMut},
    time::Duration,
};

use board_support_hyp::{
    Console, Domctl, Instant, Shared, Spawn, Timer, domctl::DomainInfo, runtime::Elapsed,
};
use board_support_pv::channel::{Channel, ChannelError, Receiver, Sender};
use dom0_supervisor::{Event, Input, Life, Reason, ServiceId};
use dom0_toolstack::{
    BuildError,
    budget::MESSAGES,
    line::{self, Claims},
    rate::LineLimit,
    rest::{Look, Rest},
    service::{Change, Plan},
    wiring::Dom0End,
};
use embassy_futures::select::{Either, select};
use proto_errors::{Coded, svc};
use proto_manifest::{
    name::Name,
    table::DOM0_CHANNEL,
    wiring::{ChannelEnd, End},
};
use proto_ring::{Words, channel::Side, index::Index};
use proto_svc::{
    Message, measure,
    supervision::{FromService, PeerEnd, Probe, ToService},
    text::clipped,
};
use proto_xen::{DomId, sched::ShutdownReason};

use crate::{
    control,
    ground::{Bell, Builder, Ground, Leash, Line, Page, Service},
    measured,
    patience::{self, Patience},
    system::System,
};

/// The most lines of a service's last words that are shown.
const MAX_LAST_LINES: usize = 64;

/// A port of a channel to a service.
pub(crate) type Patient<S> = patience::Patient<Line<S>, <S as System>::Runtime>;
/// dom0's end of a service's channel `dom0`.
type Supervision<S> = Channel<Patient<S>, Lent<S>, ToService, FromService>;

/// All services.
pub struct Services<S: System> {
    builder: RefCell<Builder<S>>,
    running: RefCell<Vec<Running<S>>>,
    /// Those that are built and wait until they are measured, and how long building them took.
    held: RefCell<Vec<(Instance, Service<S>, Duration)>>,
    /// What happened to them and was not looked at yet.
    news: RefCell<VecDeque<Input>>,
    /// Something was added to the news.
    pub told: Bell,
    /// All of the table did their work at some time.
    complete: Cell<bool>,
}

/// One that runs.
struct Running<S: System> {
    instance: Instance,
    /// The tasks that hold pages or ports of it.
    tasks: Vec<Rc<Leash>>,
    post: Rc<Post<S>>,
    /// It does its work.
    ready: Cell<bool>,
    /// Its death was seen.
    dead: Cell<bool>,
    /// It was not told of its peers when that was tried last.
    untold: Cell<bool>,
    service: Service<S>,
}

/// Which instance of which service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instance {
    /// The service.
    pub service: ServiceId,
    /// Its life.
    pub life: Life,
}

/// What a service is to be told, and what is known of how it takes it and what it says.
struct Post<S: System> {
    queue: RefCell<VecDeque<ToService>>,
    added: Bell,
    /// The page of its channel, as long as the channel is served.
    page: RefCell<Weak<Page<S>>>,
    /// Where it stands when it has taken all that was sent.
    sent: Cell<Index>,
    rest: RefCell<Rest>,
    /// What it may still say.
    budget: Patience<S::Runtime>,
}

impl<S: System> Post<S> {
    fn new(runtime: S::Runtime) -> Self {
        Self {
            queue: RefCell::default(),
            added: Bell::new(),
            page: RefCell::new(Weak::new()),
            sent: Cell::default(),
            rest: RefCell::default(),
            budget: Patience::new(runtime, MESSAGES),
        }
    }

    /// Adds a message. What was to be said of the same channel, or asked, and was not sent yet is dropped
    /// for it: so there are never more than a few, however long the service does not look.
    fn add(&self, message: ToService) {
        self.budget.expect(answers(&message));
        let mut queue = self.queue.borrow_mut();
        queue.retain(|earlier| subject(earlier) != subject(&message));
        queue.push_back(message);
        self.added.signal(());
    }

    /// Whether there is something that the service has not taken.
    fn is_unread(&self) -> bool {
        let taken = |page: Rc<Page<S>>| Side::Upper.taken_of(page.words()) == self.sent.get();
        !self.queue.borrow().is_empty() || !self.page.borrow().upgrade().is_some_and(taken)
    }
}

/// The page of a channel, which is looked at from outside, too.
struct Lent<S: System>(Rc<Page<S>>);

impl<S: System> Shared for Lent<S> {
    fn words(&self) -> &Words {
        self.0.words()
    }
}

/// What a message is about: that of a later one counts.
fn subject(message: &ToService) -> (u8, &str) {
    match message {
        ToService::Hello { .. } => (0, ""),
        ToService::Ping { .. } => (1, ""),
        ToService::PeerGone { channel } | ToService::PeerBack { channel, .. } => (2, channel),
        ToService::Break(_) => (3, ""),
        ToService::Probe(_) => (4, ""),
    }
}

/// How many messages answer this one.
fn answers(message: &ToService) -> u32 {
    match message {
        ToService::Ping { .. } | ToService::Probe(Probe::Rounds) => 1,
        ToService::Probe(Probe::Fill { count }) => (*count).into(),
        ToService::Hello { .. }
        | ToService::PeerGone { .. }
        | ToService::PeerBack { .. }
        | ToService::Break(_) => 0,
    }
}

impl<S: System> Services<S> {
    /// None yet.
    pub fn new(builder: Builder<S>) -> Self {
        Self {
            builder: RefCell::new(builder),
            running: RefCell::default(),
            held: RefCell::default(),
            news: RefCell::default(),
            told: Bell::new(),
            complete: Cell::new(false),
        }
    }

    /// The builder.
    pub fn builder(&self) -> RefMut<'_, Builder<S>> {
        self.builder.borrow_mut()
    }

    /// Tells the supervisor something.
    pub fn tell(&self, news: Input) {
        let mut queue = self.news.borrow_mut();
        // Said twice is said once, as by a service that logs a lot.
        if queue.back() != Some(&news) {
            queue.push_back(news);
        }
        self.told.signal(());
    }

    /// Tells the supervisor something of an instance.
    fn tell_of(&self, Instance { service, life }: Instance, event: Event) {
        self.tell(Input::Of(service, life, event));
    }

    /// The oldest thing that the supervisor was not shown.
    pub fn next(&self) -> Option<Input> {
        self.news.borrow_mut().pop_front()
    }

    /// Number and name of those that run.
    pub fn names(&self) -> Vec<(DomId, Name)> {
        self.running.borrow().iter().map(|r| (r.service.id(), r.service.name().clone())).collect()
    }

    /// The service with this name.
    pub fn find(&self, name: &str) -> Option<ServiceId> {
        let builder = self.builder.borrow();
        let index = builder.table.domains.iter().position(|domain| domain.name == name)?;
        u8::try_from(index).ok().map(ServiceId)
    }

    /// The name of a service.
    pub fn name(&self, service: ServiceId) -> Name {
        let builder = self.builder.borrow();
        builder.table.domains.get(service.index()).map(|domain| domain.name.clone()).unwrap_or_default()
    }

    /// Whether an instance sleeps and has read all that it was told.
    pub(crate) fn is_at_rest(&self, ground: &Ground<S>, instance: Instance) -> bool {
        let running = self.running.borrow();
        let Some(running) = running.iter().find(|running| running.instance == instance) else { return false };
        let id = running.service.id();
        // One that Xen does not tell of is not at rest.
        let info = ground.hyp.next_domain(id).ok().flatten().filter(|info| info.domain == id);
        info.is_some_and(|DomainInfo { cpu_ns, blocked, .. }| {
            let unread = running.post.is_unread();
            running.post.rest.borrow_mut().look(Look { cpu_ns, blocked, unread })
        })
    }

    /// The instance of a service that is there.
    pub fn life(&self, service: ServiceId) -> Option<Life> {
        let running = self.running.borrow();
        running.iter().map(|running| running.instance).find(|i| i.service == service).map(|i| i.life)
    }

    /// Says something to an instance, if it is still there.
    pub fn say(&self, service: ServiceId, message: ToService) {
        let running = self.running.borrow();
        if let Some(running) = running.iter().find(|running| running.instance.service == service) {
            running.post.add(message);
        }
    }

    /// Builds and starts instances, then tells them of each other: each knows from its start of those that
    /// were built before it. One that is not measured yet is built, and [let run](Self::release) when it is.
    pub fn build(ground: &Rc<Ground<S>>, instances: &[Instance]) {
        let mut shells = Vec::new();
        for &instance in instances {
            let started = ground.now();
            let mut builder = ground.services.builder();
            let made = builder.prepare(instance.service.index()).and_then(|plan: Plan<'static>| {
                let shell = builder.create(&plan)?;
                Ok((plan, shell))
            });
            drop(builder);
            match made {
                Ok((plan, shell)) => {
                    let name = ground.services.name(instance.service);
                    log::info!(target: "dom0", "domain {name} is {}", shell.id());
                    shells.push((instance, plan, shell, ground.now() - started));
                }
                Err(error) => ground.services.not_built(instance, &error),
            }
        }
        measured::begin(ground);
        for (instance, plan, shell, so_far) in shells {
            let started = ground.now();
            let finished = ground.services.builder().finish(plan, shell);
            match finished {
                Ok(service) => {
                    let took = so_far + (ground.now() - started);
                    if ground.measured.may_run(service.name()) || measures::<S>(&service) {
                        Self::start(ground, instance, service, took);
                    } else {
                        ground.services.held.borrow_mut().push((instance, service, took));
                    }
                }
                Err(error) => ground.services.not_built(instance, &error),
            }
        }
        ground.services.tell_peers();
    }

    /// Starts those that waited until they are measured, and are.
    pub(crate) fn release(ground: &Rc<Ground<S>>) {
        let mut held = ground.services.held.borrow_mut();
        let free = |(_, service, _): &mut (_, Service<S>, _)| ground.measured.may_run(service.name());
        let free: Vec<_> = held.extract_if(.., free).collect();
        drop(held);
        if free.is_empty() {
            return;
        }
        for (instance, service, took) in free {
            Self::start(ground, instance, service, took);
        }
        ground.services.tell_peers();
    }

    fn not_built(&self, instance: Instance, error: &BuildError) {
        log::error!(target: "dom0", "domain {}: {}", self.name(instance.service), error.told());
        self.tell_of(instance, Event::NotBuilt);
    }

    fn start(ground: &Rc<Ground<S>>, instance: Instance, mut service: Service<S>, took: Duration) {
        let name = service.name().clone();
        log::info!(target: "dom0", "domain {name}: built in {}.{} ms", took.as_millis(), took.as_micros() / 100 % 10);
        let id = service.id();
        let post = Rc::new(Post::new(ground.runtime.clone()));
        let mut tasks = Vec::new();
        for end in core::mem::take(&mut service.to_dom0) {
            let (leash, held) = Leash::new();
            tasks.push(leash);
            let desk = Desk { name: name.clone(), id, instance, born: ground.now(), post: post.clone() };
            let work = serve(ground.clone(), desk, end);
            ground.spawner.spawn(async move { held.hold(work).await });
        }
        // Running before it is known to run would be a death that nobody expects.
        let unpaused = service.unpause();
        let running = Running {
            instance,
            tasks,
            post,
            ready: Cell::new(false),
            dead: Cell::new(false),
            untold: Cell::new(false),
            service,
        };
        ground.services.running.borrow_mut().push(running);
        ground.services.tell_of(instance, Event::Built);
        if let Err(error) = unpaused {
            // It is never heard of, and ended for that.
            log::error!(target: "dom0", "domain {name}: {}", error.told());
        }
    }

    /// Takes away all that is left of an instance: its tasks, for a domain with pages mapped is not gone;
    /// its devices; itself. Then its peers are told, who can end their grants now.
    pub async fn end(ground: &Ground<S>, instance: Instance) {
        let place = ground.services.running.borrow().iter().position(|r| r.instance == instance);
        if let Some(place) = place {
            let ended = ground.services.running.borrow_mut().swap_remove(place);
            let Running { tasks, service, .. } = ended;
            service.pause();
            for task in tasks {
                task.pull().await;
            }
            ground.services.builder().forget(service.id());
            drop(service);
            ground.services.tell_peers();
        }
        ground.services.tell_of(instance, Event::Gone);
    }

    /// Notes that an instance does its work. Whether all of the table do now, for the first time.
    fn ready(&self, instance: Instance) -> bool {
        let running = self.running.borrow();
        if let Some(one) = running.iter().find(|running| running.instance == instance) {
            one.ready.set(true);
        }
        let all = running.iter().filter(|running| running.ready.get()).count();
        all == self.builder.borrow().table.domains.len() && !self.complete.replace(true)
    }

    /// Notes that Xen has ended the service with this number, if there is one.
    pub(crate) fn died(&self, ground: &Ground<S>, id: DomId, reason: ShutdownReason) {
        let running = self.running.borrow();
        let Some(dead) = running.iter().find(|r| r.service.id() == id && !r.dead.get()) else { return };
        dead.dead.set(true);
        let words = ground.map(id, dead.service.epitaph()).ok().and_then(|page| S::last_words(page.words()));
        let name = dead.service.name();
        // The rest of the words is a backtrace, which was on Xen's console if the service has a way there.
        let rest =
            words.as_deref().filter(|_| !S::STARTS_HEARD).into_iter().flat_map(|words| words.lines().skip(1));
        for line in rest.take(MAX_LAST_LINES) {
            // There is nobody to tell if the console refuses.
            let _ = ground.hyp.write(format!("({id}) {line}\n").as_bytes());
        }
        let first = words.as_deref().and_then(|words| words.lines().next());
        let why = match first {
            Some(words) => {
                log::error!(target: "dom0", "domain {name} ({id}) {}; its last words: {words} [{}]", reason.meaning(), svc::DIED);
                Reason::Panicked
            }
            None => {
                log::error!(target: "dom0", "domain {name} ({id}) {}, without last words [{}]", reason.meaning(), svc::DIED);
                Reason::Shutdown(reason.0)
            }
        };
        self.tell_of(dead.instance, Event::Died(why));
    }

    /// Tells each service of peers that ended or are there anew.
    fn tell_peers(&self) {
        let mut builder = self.builder.borrow_mut();
        for Running { service, post, untold, .. } in self.running.borrow_mut().iter_mut() {
            match builder.rewire(service) {
                Ok(changes) => {
                    untold.set(false);
                    changes.into_iter().filter_map(message).for_each(|message| post.add(message));
                }
                // Nothing counts as told: it is tried again at the next look, and complained of once.
                Err(error) if !untold.replace(true) => {
                    log::error!(target: "dom0", "domain {}: its peers: {}", service.name(), error.told())
                }
                Err(_) => {}
            }
        }
    }

    /// Tells those of their peers that could not be told before.
    pub(crate) fn tell_untold(&self) {
        if self.running.borrow().iter().any(|running| running.untold.get()) {
            self.tell_peers();
        }
    }
}

/// Whether others wait for this one: nothing is extended before it runs.
fn measures<S: System>(service: &Service<S>) -> bool {
    service.to_dom0.iter().any(|end| end.name == measure::ToVault::CHANNEL)
}

/// What a service is told of a change.
fn message(change: Change) -> Option<ToService> {
    match change {
        Change::Gone(channel) => Some(ToService::PeerGone { channel: clipped(&channel) }),
        Change::Back(ChannelEnd { name, end }) => {
            let end = match end {
                End::Offer { peer, page, gref, port, bind } => {
                    PeerEnd::Offer { peer, page, gref, port, bind }
                }
                End::Accept { peer, gref, port, bind } => PeerEnd::Accept { peer, gref, port, bind },
                // No peer: it is told of none.
                End::Dom0 { .. } | End::Absent => return None,
            };
            Some(ToService::PeerBack { channel: clipped(&name), end })
        }
    }
}

/// Whose channel is served.
struct Desk<S: System> {
    name: Name,
    id: DomId,
    instance: Instance,
    /// When it was let run.
    born: Instant,
    post: Rc<Post<S>>,
}

impl<S: System> Desk<S> {
    /// The service said something.
    fn heard(&self, ground: &Ground<S>, event: Event) {
        self.post.rest.borrow_mut().heard();
        ground.services.tell_of(self.instance, event);
    }
}

/// Serves one channel of a service to its end. A channel does not end before its service does, unless the
/// service did something wrong.
async fn serve<S: System>(ground: Rc<Ground<S>>, desk: Desk<S>, end: Dom0End<'static, S::Xen>) {
    let channel = end.name.clone();
    let result = match channel.as_str() {
        DOM0_CHANNEL => supervise(&ground, &desk, end).await,
        measure::ToVault::CHANNEL => measured::serve(&ground, desk.id, end).await,
        _ => control::serve(&ground, desk.id, end).await,
    };
    if let Err(error) = result {
        log::warn!(target: "dom0", "domain {}: channel {channel}: {}", desk.name, error.told());
        ground.services.tell_of(desk.instance, Event::Died(Reason::Channel));
    }
}

/// Hears what a service says of itself, and says what it is to be told.
async fn supervise<S: System>(
    ground: &Ground<S>,
    desk: &Desk<S>,
    end: Dom0End<'static, S::Xen>,
) -> Result<(), ChannelError> {
    let (line, page) = open(ground, desk.id, end)?;
    let page = Rc::new(page);
    let _ = desk.post.page.replace(Rc::downgrade(&page));
    let events = line.events();
    let mut channel = Supervision::<S>::open_upper(line, Lent(page)).await?;
    desk.heard(ground, Event::Heard);
    let (sender, receiver) = channel.split();
    match select(hear(ground, desk, receiver, &events), post(&desk.post, sender, &events)).await {
        Either::First(result) | Either::Second(result) => result,
    }
}

async fn post<S: System>(
    post: &Post<S>,
    mut sender: Sender<'_, Patient<S>, Lent<S>, ToService>,
    events: &Patience<S::Runtime>,
) -> Result<(), ChannelError> {
    loop {
        post.sent.set(sender.end());
        let next = post.queue.borrow_mut().pop_front();
        match next {
            Some(message) => {
                sender.send(&message).await?;
                events.was_of_use();
            }
            None => post.added.wait().await,
        }
    }
}

async fn hear<S: System>(
    ground: &Ground<S>,
    desk: &Desk<S>,
    mut receiver: Receiver<'_, Patient<S>, Lent<S>, FromService>,
    events: &Patience<S::Runtime>,
) -> Result<(), ChannelError> {
    let Desk { name, id, born, .. } = desk;
    let opened = ground.now();
    let mut claims = Claims::new(born.as_nanos(), opened.as_nanos());
    let mut lines = LineLimit::new();
    loop {
        // One that says too much is not heard for a moment, and waits for room.
        desk.post.budget.wait().await;
        let message = match lines.due_ns() {
            None => receiver.receive().await?,
            Some(at) => match ground.runtime.with_deadline(Instant::from_nanos(at), receiver.receive()).await
            {
                Ok(message) => message?,
                Err(Elapsed) => {
                    tell_hidden(ground, &mut lines, name);
                    continue;
                }
            },
        };
        desk.post.budget.spend(1);
        events.was_of_use();
        tell_hidden(ground, &mut lines, name);
        let event = if message == FromService::Ready { Event::Ready } else { Event::Heard };
        desk.heard(ground, event);
        let complete = event == Event::Ready && ground.services.ready(desk.instance);
        let complete = complete.then(|| ground.now() - ground.began);
        match message {
            // Said and checked when the channel was opened.
            FromService::Hello { .. } => {}
            FromService::Ready if complete.is_none() && !lines.show(ground.now().as_nanos()) => {}
            FromService::Ready => {
                let took = ground.now() - opened;
                log::info!(target: "dom0", "domain {name}: ready after {} ms", took.as_millis());
                if let Some(took) = complete {
                    log::info!(target: "dom0", "{}", line::measurement("first-instruction-to-ready", "all", took));
                }
            }
            FromService::Log(mut record) => {
                let heard = claims.was_shown(record.at_ns) && S::STARTS_HEARD;
                record.at_ns = claims.time_ns(record.at_ns, ground.now().as_nanos());
                if !heard && lines.show(ground.now().as_nanos()) {
                    // There is nobody to tell if the console refuses.
                    let _ = ground.hyp.write(line::of_service(*id, &record).as_bytes());
                }
                ground.tell(|outbox| outbox.push_log(name, &record));
            }
            FromService::LogLost { count } => ground.tell(|outbox| outbox.lose_lines(count)),
            // What is said says that it is well; which ping it was matters to who measures only.
            FromService::Pong { number } => ground.gauge.pong(number),
            FromService::Rounds { count } => ground.gauge.rounds(count),
            FromService::Filler { text } => ground.gauge.filler(text.len()),
        }
    }
}

/// Tells of lines that were too many, once there is room for more.
fn tell_hidden<S: System>(ground: &Ground<S>, lines: &mut LineLimit, name: &Name) {
    if let Some(count) = lines.recovered(ground.now().as_nanos()) {
        log::warn!(target: "dom0", "domain {name}: {count} lines not shown [{}]", svc::LINES_HIDDEN);
    }
}

/// Port and page of dom0's end of a channel.
pub(crate) fn open<S: System>(
    ground: &Ground<S>,
    id: DomId,
    end: Dom0End<'static, S::Xen>,
) -> Result<(Patient<S>, Page<S>), ChannelError> {
    let page = ground.map(id, end.page).map_err(ChannelError::Event)?;
    let line = ground.adopt(end.port).map_err(ChannelError::Event)?;
    Ok((patience::Patient::new(line, ground.runtime.clone()), page))
}
