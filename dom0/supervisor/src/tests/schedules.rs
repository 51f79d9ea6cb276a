//! Random schedules: a shell that does what it is told, with services that die, hang and lie about it.

use core::time::Duration;
use std::{collections::BTreeMap, vec, vec::Vec};

use proptest::prelude::*;
use proto_manifest::table::MAX_DOMAINS;

use crate::{
    Boot, Command, Event, HUNG_WITHIN, Input, Instant, Life, Next, Notice, READY_LIMIT, Reason, ServiceId,
    Supervisor,
    history::{LIMIT, LONGEST_DELAY, WINDOW},
    service::State,
    supervisor::Place,
};

/// What the world does next.
#[derive(Clone, Debug)]
enum Move {
    /// Time passes, or the deadline comes, whichever is first.
    Wait(u64),
    /// The shell does the oldest thing that it was told.
    Work,
    /// An instance says something, if it can.
    Say(u8),
    Ready(u8),
    /// Xen tells of a death.
    Die(u8),
    /// From now on it says nothing.
    Hang(u8),
    /// From now on it sleeps whenever it is looked at, unless it hangs.
    Rest(u8),
    /// An event of an earlier instance, or of nobody.
    Stale(u8, u8),
    Order(u8),
    /// The next builds fail.
    Fail(u8),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let id = 0..4_u8;
    prop::collection::vec(
        prop_oneof![
            6 => (0..3000_u64).prop_map(Move::Wait),
            1 => (3000..200_000_u64).prop_map(Move::Wait),
            12 => Just(Move::Work),
            4 => id.clone().prop_map(Move::Say),
            3 => id.clone().prop_map(Move::Ready),
            3 => id.clone().prop_map(Move::Die),
            2 => id.clone().prop_map(Move::Hang),
            2 => id.clone().prop_map(Move::Rest),
            2 => (id.clone(), any::<u8>()).prop_map(|(id, event)| Move::Stale(id, event)),
            1 => id.clone().prop_map(Move::Order),
            1 => id.prop_map(Move::Fail),
        ],
        1..400,
    )
}

/// An instance as the shell has it.
#[derive(Debug)]
struct Instance {
    life: Life,
    hung_since: Option<Instant>,
    born: Instant,
    /// It said that it does its work.
    ready: bool,
    /// It has nothing to do.
    idle: bool,
}

impl Instance {
    fn rests(&self) -> bool {
        self.idle && self.hung_since.is_none()
    }
}

struct World {
    supervisor: Supervisor,
    now: Instant,
    todo: Vec<Command>,
    instances: BTreeMap<ServiceId, Instance>,
    fail: BTreeMap<u8, bool>,
    deaths: BTreeMap<ServiceId, Vec<Instant>>,
    last_wait: BTreeMap<ServiceId, (Instant, Duration)>,
    counts: usize,
    /// Every new instance does its work at once.
    polite: bool,
}

impl World {
    fn new(needs: [u8; 4]) -> Self {
        let places = needs.map(|needs| Place { needs: needs & 0xf, vital: true });
        Self {
            supervisor: Supervisor::new(places, Boot::Fresh),
            now: Duration::ZERO,
            todo: Vec::new(),
            instances: BTreeMap::new(),
            fail: BTreeMap::new(),
            deaths: BTreeMap::new(),
            last_wait: BTreeMap::new(),
            counts: 4,
            polite: false,
        }
    }

    fn step(&mut self, input: Input) {
        let commands = self.supervisor.step(self.now, input);
        for &command in &commands {
            match command {
                Command::Tell(id, Notice::Died(reason, next)) => self.note(id, reason, next),
                Command::Tell(..) | Command::Feed => {}
                command => self.todo.push(command),
            }
        }
        self.check(commands.contains(&Command::Feed));
    }

    /// Back-off grows with the deaths in the window, and the limit holds.
    fn note(&mut self, id: ServiceId, reason: Reason, next: Next) {
        if reason == Reason::Ordered {
            assert_eq!(next, Next::Restart(Duration::ZERO));
            return;
        }
        if reason == Reason::NotReady {
            let late = self.instances.get(&id).map(|one| !one.ready && one.born + READY_LIMIT <= self.now);
            assert_eq!(late, Some(true), "{id:?} does its work, or has time left");
        }
        let deaths = self.deaths.entry(id).or_default();
        let earlier = self.last_wait.get(&id).copied();
        deaths.retain(|&death| self.now - death < WINDOW);
        deaths.push(self.now);
        match next {
            Next::Restart(wait) => {
                assert!(deaths.len() < LIMIT, "{} deaths", deaths.len());
                assert!(wait <= LONGEST_DELAY);
                assert_eq!(wait.is_zero(), deaths.len() == 1);
                if let Some((at, before)) = earlier
                    && deaths.len() > 1
                    && deaths.first() == Some(&at)
                {
                    assert!(wait >= before, "{wait:?} after {before:?}");
                }
                let first = *deaths.first().unwrap_or(&self.now);
                self.last_wait.insert(id, (first, wait));
            }
            Next::GiveUp => assert!(deaths.len() >= LIMIT, "{} deaths", deaths.len()),
        }
    }

    fn check(&self, fed: bool) {
        let all = (0..self.counts).map(|index| ServiceId(index as u8));
        let mut given_up = false;
        for id in all {
            let service = self.supervisor.service(id).unwrap();
            let told = |command: &Command| matches!(command, Command::Build(of, _) | Command::End(of, _) if *of == id);
            given_up |= service.state() == State::GivenUp;
            // Somebody will move it: time, the shell, or one that it waits for.
            let moved = match service.state() {
                State::Building | State::Ending { .. } => self.todo.iter().any(told),
                State::GivenUp => true,
                State::Waiting => self.todo.iter().any(|c| matches!(c, Command::End(..))),
                _ => service.deadline().is_some_and(|at| at > self.now),
            };
            assert!(moved, "{id:?} in {:?} at {:?}", service.state(), self.now);
            if let Some(instance) = self.instances.get(&id) {
                assert!(service.exists() && instance.life == service.life(), "{id:?}: {instance:?}");
            }
        }
        assert!(!(fed && given_up));
        assert_eq!(self.supervisor.is_fit(), !given_up);
    }

    fn work(&mut self) {
        if self.todo.is_empty() {
            return;
        }
        match self.todo.remove(0) {
            Command::Build(id, life) => {
                assert!(!self.instances.contains_key(&id), "two instances of {id:?}");
                if self.fail.remove(&id.0).is_some() {
                    self.step(Input::Of(id, life, Event::NotBuilt));
                } else {
                    self.instances.insert(
                        id,
                        Instance { life, hung_since: None, born: self.now, ready: false, idle: false },
                    );
                    self.step(Input::Of(id, life, Event::Built));
                    if self.polite {
                        self.say(id.0, Event::Ready);
                    }
                }
            }
            Command::End(id, life) => {
                assert_eq!(self.instances.remove(&id).map(|instance| instance.life), Some(life));
                self.step(Input::Of(id, life, Event::Gone));
            }
            Command::Ping(id, life) => {
                let answers =
                    self.instances.get(&id).is_some_and(|i| i.life == life && i.hung_since.is_none());
                if answers {
                    self.step(Input::Of(id, life, Event::Heard));
                }
            }
            Command::Tell(..) | Command::Feed => {}
        }
    }

    fn say(&mut self, id: u8, event: Event) {
        let id = ServiceId(id);
        let running = self.instances.get(&id).filter(|instance| instance.hung_since.is_none());
        if let Some(life) = running.map(|instance| instance.life) {
            self.instances.entry(id).and_modify(|instance| instance.ready |= event == Event::Ready);
            self.step(Input::Of(id, life, event));
        }
    }

    fn wait(&mut self, end: Instant) {
        while let Some(deadline) = self.supervisor.deadline().filter(|&deadline| deadline <= end) {
            self.now = self.now.max(deadline);
            let looks: Vec<_> = self.supervisor.to_look_at(self.now).collect();
            for (id, life) in looks {
                if self.instances.get(&id).is_some_and(|instance| instance.rests()) {
                    self.supervisor.at_rest(self.now, id, life);
                }
            }
            self.step(Input::Tick);
            // A shell that works: what hangs is found in time.
            while !self.todo.is_empty() {
                self.work();
            }
            for (id, instance) in &self.instances {
                let starting =
                    matches!(self.supervisor.service(*id).unwrap().state(), State::Starting { .. });
                let hung = instance.hung_since.is_some_and(|since| since + HUNG_WITHIN <= self.now);
                assert!(
                    starting || !hung,
                    "{id:?} hangs since {:?}, now {:?}",
                    instance.hung_since,
                    self.now
                );
            }
        }
        self.now = end;
    }

    fn make(&mut self, next: Move) {
        match next {
            Move::Wait(ms) => self.wait(self.now + Duration::from_millis(ms)),
            Move::Work => self.work(),
            Move::Say(id) => self.say(id, Event::Heard),
            Move::Ready(id) => self.say(id, Event::Ready),
            Move::Die(id) => {
                let life = self.instances.get(&ServiceId(id)).map(|instance| instance.life);
                if let Some(life) = life {
                    self.step(Input::Of(ServiceId(id), life, Event::Died(Reason::Shutdown(3))));
                }
            }
            Move::Hang(id) => {
                let now = self.now;
                if let Some(instance) = self.instances.get_mut(&ServiceId(id)) {
                    instance.hung_since.get_or_insert(now);
                }
            }
            Move::Rest(id) => {
                if let Some(instance) = self.instances.get_mut(&ServiceId(id)) {
                    instance.idle = true;
                }
            }
            Move::Stale(id, event) => {
                let life = self.supervisor.service(ServiceId(id)).unwrap().life();
                let event = match event % 6 {
                    0 => Event::Built,
                    1 => Event::NotBuilt,
                    2 => Event::Heard,
                    3 => Event::Ready,
                    4 => Event::Gone,
                    _ => Event::Died(Reason::Channel),
                };
                let before = self.supervisor.service(ServiceId(id)).unwrap().state();
                let other = Life(life.0.wrapping_sub(1 + u32::from(id)));
                self.wait(self.now);
                if self.supervisor.service(ServiceId(id)).unwrap().state() == before {
                    self.step(Input::Of(ServiceId(id), other, event));
                }
            }
            Move::Order(id) => self.step(Input::Order(ServiceId(id))),
            Move::Fail(id) => drop(self.fail.insert(id, true)),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Never two instances of a service; always somebody who moves a service on, or it is given up; waits
    /// grow; the limit holds; what hangs is found in time; in the end all that was not given up runs.
    #[test]
    fn random_schedules(needs in any::<[u8; 4]>(), moves in moves()) {
        let mut world = World::new(needs);
        world.step(Input::Tick);
        for next in moves {
            world.make(next);
        }
        for instance in world.instances.values_mut() {
            instance.hung_since = None;
        }
        world.fail.clear();
        world.polite = true;
        for id in 0..4 {
            world.say(id, Event::Ready);
        }
        while !world.todo.is_empty() {
            world.work();
        }
        world.wait(world.now + LONGEST_DELAY * 2);
        for index in 0..world.counts {
            let id = ServiceId(index as u8);
            let given_up = world.supervisor.service(id).unwrap().state() == State::GivenUp;
            prop_assert!(given_up || world.instances.contains_key(&id));
        }
        prop_assert!(world.counts <= MAX_DOMAINS);
    }
}
