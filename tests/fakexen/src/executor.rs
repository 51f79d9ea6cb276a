//! Tasks of several domains, in an order that a seed decides.
//!
//! In each step the executor does one of these, at random: polls one of the tasks that were woken, has one of
//! the events that are under way arrive, or raises a port for no reason. When there is nothing else to do,
//! virtual time goes on to the next deadline. So an event may come late, may come twice, and several may come
//! as one; none is lost for good, as on Xen.
//!
//! A task belongs to a domain and is polled only while that runs, or to something beside the machine. [`Executor::drop_dead`] drops the tasks of
//! domains that are gone; what they held has no effect any more.
//!
//! A task that lets others run in the midst of its turn ([`Sched::yield_now`]) has a step of theirs done there, if the
//! executor was told to ([`Executor::let_yield`]). Tasks of its own domain are not among them: that has one vCPU.
//!
//! [`Sched::yield_now`]: board_support_hyp::Sched::yield_now

use core::{
    future::Future,
    ops::Range,
    pin::Pin,
    sync::atomic::{AtomicBool, Ordering},
    task::{Context, Waker},
};
use std::{
    cell::{Cell, RefCell},
    env,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    rc::Rc,
    sync::Arc,
    task::Wake,
};

use board_support_hyp::Spawn;
use proto_xen::DomId;

use crate::{
    rng::Rng,
    runtime::{init_log, on_behalf_of},
    world::{Domain, World},
};

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

type Work<'t> = Pin<Box<dyn Future<Output = ()> + 't>>;

/// Tasks that are to start: whose each is, and what it does.
type Starting<'t> = Vec<(Option<DomId>, Work<'t>)>;

struct Task<'t> {
    /// Whose it is; nobody's on the machine if `None`.
    domain: Option<DomId>,
    /// Not here while it is polled.
    work: Option<Work<'t>>,
    woken: Arc<Flag>,
}

/// Starts tasks of one domain.
#[derive(Clone)]
pub struct Starter {
    domain: DomId,
    spawner: Spawner<'static>,
}

impl Spawn for Starter {
    fn spawn(&self, work: impl Future<Output = ()> + 'static) {
        self.spawner.spawn(self.domain, work);
    }
}

impl Spawner<'static> {
    /// Starts tasks of `domain`.
    #[must_use]
    pub fn of(&self, domain: DomId) -> Starter {
        Starter { domain, spawner: self.clone() }
    }
}

/// Starts tasks, also from within one.
#[derive(Clone, Default)]
pub struct Spawner<'t>(Rc<RefCell<Starting<'t>>>);

impl<'t> Spawner<'t> {
    /// Starts a task of `domain`.
    pub fn spawn(&self, domain: DomId, work: impl Future<Output = ()> + 't) {
        self.0.borrow_mut().push((Some(domain), Box::pin(work)));
    }

    /// Starts a task of something beside the machine, such as another host on its network. It always runs.
    pub fn spawn_beside(&self, work: impl Future<Output = ()> + 't) {
        self.0.borrow_mut().push((None, Box::pin(work)));
    }
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// What was waited for has come about.
    Done,
    /// Nothing is woken, under way or timed any more.
    Asleep,
    /// The steps are used up.
    OutOfSteps,
}

type Program<'t> = Box<dyn FnMut(Domain) + 't>;

/// Runs tasks.
pub struct Executor<'t> {
    turns: Rc<Turns<'t>>,
    /// For a test that has something to decide itself.
    rng: Rng,
}

/// Who has its turn next. Nothing of it is borrowed while a task is polled, which may let others run.
struct Turns<'t> {
    world: World,
    rng: RefCell<Rng>,
    tasks: RefCell<Vec<Task<'t>>>,
    spawner: Spawner<'t>,
    /// What a domain does that is let run for the first time.
    program: RefCell<Option<Program<'t>>>,
    /// Whose task is polled, after those who let it run in the midst of their own.
    running: RefCell<Vec<DomId>>,
    /// A port is raised for no reason once in so many steps.
    spurious: usize,
    /// The chance that an event under way arrives in a step is one in this.
    delay: usize,
}

/// How long somebody at most has yielded for whom nobody had anything to do.
const NOBODY_NS: u64 = 100_000;

impl Executor<'static> {
    /// From now on a domain that yields in the midst of a task's turn has others run. Without this it goes on at once.
    pub fn let_yield(&self) {
        let turns = Rc::downgrade(&self.turns);
        let others = move || {
            if let Some(turns) = turns.upgrade() {
                turns.yielded();
            }
        };
        self.turns.world.state_mut().on_yield = Some(Rc::new(others));
    }
}

impl<'t> Executor<'t> {
    /// An executor whose order is that of `seed`. Events in `world` are its from now on.
    #[must_use]
    pub fn new(world: &World, seed: u64) -> Self {
        init_log();
        let mut rng = Rng::new(seed);
        world.state_mut().in_flight = Some(Vec::new());
        let spurious = [50, 200, 1000][rng.below(3)];
        let delay = 2 + rng.below(6);
        let own = Rng::new(rng.next_u64());
        let turns = Turns {
            world: world.clone(),
            rng: RefCell::new(rng),
            tasks: RefCell::default(),
            spawner: Spawner::default(),
            program: RefCell::default(),
            running: RefCell::default(),
            spurious,
            delay,
        };
        Self { turns: Rc::new(turns), rng: own }
    }

    /// Starts tasks.
    #[must_use]
    pub fn spawner(&self) -> Spawner<'t> {
        self.turns.spawner.clone()
    }

    /// Starts a task of `domain`.
    pub fn spawn(&self, domain: DomId, work: impl Future<Output = ()> + 't) {
        self.turns.spawner.spawn(domain, work);
    }

    /// Has `program` called for each domain that is let run, for the first time: it starts the tasks that are the
    /// domain's own code.
    pub fn on_start(&mut self, program: impl FnMut(Domain) + 't) {
        *self.turns.program.borrow_mut() = Some(Box::new(program));
    }

    /// Tasks that are not over.
    #[must_use]
    pub fn tasks(&self) -> usize {
        self.turns.tasks.borrow().len() + self.turns.spawner.0.borrow().len()
    }

    /// Numbers for a test that has something to decide itself.
    pub fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }

    /// Drops the tasks of domains that Xen does not know any more, or that are dying.
    pub fn drop_dead(&mut self) {
        self.turns.adopt();
        let world = &self.turns.world;
        let is_dead = |id: DomId| world.state().domains.get(&id).is_none_or(|dom| dom.dying);
        let (dead, alive) =
            self.turns.tasks.take().into_iter().partition(|task| task.domain.is_some_and(is_dead));
        self.turns.tasks.replace(alive);
        drop::<Vec<Task<'t>>>(dead);
    }

    /// Runs until `done`, at most `steps` steps.
    pub fn run_until(&mut self, steps: usize, mut done: impl FnMut() -> bool) -> Outcome {
        for _ in 0..steps {
            if done() {
                return Outcome::Done;
            }
            if !self.turns.step() {
                return if done() { Outcome::Done } else { Outcome::Asleep };
            }
        }
        if done() { Outcome::Done } else { Outcome::OutOfSteps }
    }
}

impl<'t> Turns<'t> {
    fn begin(&self) {
        let mut program = self.program.borrow_mut();
        let Some(program) = &mut *program else { return };
        let beginning = core::mem::take(&mut self.world.state_mut().beginning);
        beginning.into_iter().for_each(|id| program(self.world.domain(id)));
    }

    fn adopt(&self) {
        let new = self.spawner.0.take();
        let task =
            |(domain, work)| Task { domain, work: Some(work), woken: Arc::new(Flag(AtomicBool::new(true))) };
        self.tasks.borrow_mut().extend(new.into_iter().map(task));
    }

    /// One step; false if there is nothing left to do.
    fn step(&self) -> bool {
        if self.turn() {
            return true;
        }
        let Some(deadline) = self.world.next_deadline() else { return false };
        self.world.advance(deadline.saturating_sub(self.world.now_ns()));
        true
    }

    /// Somebody whose task is polled lets others run: one step, or a moment passes in which nobody has anything to do.
    fn yielded(&self) {
        if self.turn() {
            return;
        }
        let now = self.world.now_ns();
        let deadline = self.world.next_deadline().map_or(NOBODY_NS, |deadline| deadline.saturating_sub(now));
        self.world.advance(deadline.min(NOBODY_NS));
    }

    /// One step without a look at the clock; false if nobody is woken and nothing under way.
    fn turn(&self) -> bool {
        self.begin();
        self.adopt();
        if self.once_in(self.spurious) {
            self.raise_something();
        }
        let ready = self.ready();
        let under_way = self.world.state().in_flight.as_ref().map_or(0, Vec::len);
        if under_way > 0 && (ready.is_empty() || self.once_in(self.delay)) {
            self.deliver_one(under_way);
            return true;
        }
        if ready.is_empty() {
            return false;
        }
        let index = ready[self.below(ready.len())];
        // Work takes time.
        let took = self.below(20_000) as u64;
        self.account(&ready, index, took);
        self.poll(index);
        self.world.advance(took);
        true
    }

    fn below(&self, bound: usize) -> usize {
        self.rng.borrow_mut().below(bound)
    }

    fn once_in(&self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// The tasks that are woken and can be polled.
    fn ready(&self) -> Vec<usize> {
        let state = self.world.state();
        let running = self.running.borrow();
        let runs = |id: DomId| {
            let runs = state.domains.get(&id).is_some_and(|dom| dom.life.get() && !dom.own.spins);
            runs && !running.contains(&id)
        };
        let is_ready = |task: &Task<'_>| {
            let woken = task.work.is_some() && task.woken.0.load(Ordering::SeqCst);
            woken && task.domain.is_none_or(runs)
        };
        let tasks = self.tasks.borrow();
        tasks.iter().enumerate().filter(|(_, task)| is_ready(task)).map(|(index, _)| index).collect()
    }

    /// Notes what Xen knows of who runs: who has a task that is ready, or one that is polled, does not wait for an event.
    fn account(&self, ready: &[usize], index: usize, took: u64) {
        let mut state = self.world.state_mut();
        for dom in state.domains.values_mut() {
            dom.own.blocked = !dom.own.spins;
        }
        let tasks = self.tasks.borrow();
        let ready = ready.iter().filter_map(|&index| tasks[index].domain);
        for id in ready.chain(self.running.borrow().iter().copied()) {
            if let Some(dom) = state.domains.get_mut(&id) {
                dom.own.blocked = false;
            }
        }
        if let Some(dom) = tasks[index].domain.and_then(|id| state.domains.get_mut(&id)) {
            dom.own.rounds += 1;
            dom.own.cpu_ns += took;
        }
    }

    fn poll(&self, index: usize) {
        let (domain, woken, mut work) = {
            let task = &mut self.tasks.borrow_mut()[index];
            (task.domain, task.woken.clone(), task.work.take().expect("it is ready"))
        };
        woken.0.store(false, Ordering::SeqCst);
        let waker = Waker::from(woken.clone());
        self.running.borrow_mut().extend(domain);
        let poll = || work.as_mut().poll(&mut Context::from_waker(&waker));
        let done = on_behalf_of(&self.world, domain, poll).is_ready();
        if domain.is_some() {
            self.running.borrow_mut().pop();
        }
        let mut tasks = self.tasks.borrow_mut();
        let is_it = |task: &Task<'_>| Arc::ptr_eq(&task.woken, &woken);
        // Others may have ended meanwhile, and it has another place.
        let place = tasks.iter().position(is_it).expect("it is dropped here alone");
        if done {
            tasks.swap_remove(place);
        } else {
            tasks[place].work = Some(work);
        }
    }

    fn deliver_one(&self, under_way: usize) {
        let which = self.below(under_way);
        let again = self.once_in(10);
        let mut state = self.world.state_mut();
        let Some(in_flight) = &mut state.in_flight else { return };
        let (id, port) = in_flight[which];
        if !again {
            in_flight.swap_remove(which);
        }
        state.arrive(id, port);
    }

    fn raise_something(&self) {
        let ports = self.world.state().all_ports();
        if !ports.is_empty() {
            let (id, port) = ports[self.below(ports.len())];
            self.world.raise(id, port);
        }
    }
}

impl Drop for Executor<'_> {
    fn drop(&mut self) {
        let mut state = self.turns.world.state_mut();
        state.in_flight = None;
        state.on_yield = None;
    }
}

/// Runs tasks, each only when woken, until all are done or nobody is woken any more. Events arrive at once.
/// Returns how many are not done: those sleep for ever.
pub fn run(tasks: Vec<Pin<Box<dyn Future<Output = ()> + '_>>>) -> usize {
    let mut tasks: Vec<_> =
        tasks.into_iter().map(|task| (task, Arc::new(Flag(AtomicBool::new(true))))).collect();
    loop {
        let mut progress = false;
        tasks.retain_mut(|(task, flag)| {
            if !flag.0.swap(false, Ordering::SeqCst) {
                return true;
            }
            progress = true;
            let waker = Waker::from(flag.clone());
            task.as_mut().poll(&mut Context::from_waker(&waker)).is_pending()
        });
        if !progress {
            return tasks.len();
        }
    }
}

/// Runs `story` with `count` seeds. With `FAKEXEN_SEED=n` in the environment it is run with that one alone,
/// with `FAKEXEN_TIMES=n` with `n` times as many. A seed whose story panics is printed, with what that is good for.
///
/// # Panics
/// As the story does; if one of the two is no number.
pub fn seeds(count: u64, mut story: impl FnMut(u64)) {
    for seed in chosen(count, |name| env::var(name).ok()) {
        OUTSIDE.set(None);
        if let Err(cause) = catch_unwind(AssertUnwindSafe(|| story(seed))) {
            eprintln!("{}", advice(seed, OUTSIDE.get()));
            resume_unwind(cause);
        }
    }
}

thread_local! {
    /// Whom the story of this thread has asked that is not of the seed's.
    static OUTSIDE: Cell<Option<&'static str>> = const { Cell::new(None) };
}

/// The story that runs in this thread asks somebody whose answers no seed decides, `what`: who runs it again with its seed
/// is told that it may go another way.
pub fn asks_outside(what: &'static str) {
    OUTSIDE.set(Some(what));
}

/// What to do with a seed whose story fails.
pub(crate) fn advice(seed: u64, outside: Option<&str>) -> String {
    let fails = format!("the story fails with seed {seed}");
    match outside {
        None => format!("{fails}; FAKEXEN_SEED={seed} replays it"),
        Some(what) => format!(
            "{fails}; it asks {what}, whose answers are others each time: FAKEXEN_SEED={seed} runs it alone, and it may \
             go another way; again and again if need be"
        ),
    }
}

/// The seeds of a story that has `count` of its own, by what the environment says.
///
/// # Panics
/// If that is no number, or they are too many.
pub(crate) fn chosen(count: u64, variable: impl Fn(&str) -> Option<String>) -> Range<u64> {
    let number = |name: &str| {
        let text = variable(name)?;
        Some(text.parse::<u64>().unwrap_or_else(|error| panic!("{name}={text}: {error}")))
    };
    match (number("FAKEXEN_SEED"), number("FAKEXEN_TIMES")) {
        (Some(seed), _) => seed..seed.checked_add(1).expect("the last seed is never run"),
        (None, times) => 0..count.checked_mul(times.unwrap_or(1)).expect("so many are never run"),
    }
}
