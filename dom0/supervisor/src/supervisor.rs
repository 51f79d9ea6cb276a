//! All services: what is built in which order, one timer for all, and whether the watchdog is fed.

use heapless::Vec;
use proto_manifest::table::{MAX_DOMAINS, Party, Table};

use crate::{
    Command, FEED_EVERY, Instant, Life, Notice, Reason, ServiceId,
    service::{Service, State, Wish, Wishes},
};

/// What one step wants done: for each service an end, a build, a ping and three notices at most.
pub type Commands = Vec<Command, { MAX_DOMAINS * 6 + 2 }>;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The instance was built and runs.
    Built,
    /// The instance could not be built, and nothing is left of it.
    NotBuilt,
    /// The instance said something, if only that its channel is open.
    Heard,
    /// The instance said that it does its work.
    Ready,
    /// The instance has ended, or must.
    Died(Reason),
    /// Nothing is left of the instance.
    Gone,
}

/// What [`Supervisor::step`] is called for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Nothing happened but time.
    Tick,
    /// Something happened to an instance.
    Of(ServiceId, Life, Event),
    /// A person wants the service to end, whichever instance it is, and to be built anew.
    Order(ServiceId),
}

/// What a service is in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Place {
    /// The services without which it cannot do its work, one bit each.
    pub needs: u8,
    /// Whether the machine is reset when it is given up.
    pub vital: bool,
}

const _: () = assert!(MAX_DOMAINS <= u8::BITS as usize);

/// How the machine came to be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boot {
    /// By a person or an order.
    Fresh,
    /// The watchdog has reset it, or may have.
    Reset,
}

/// The services of one table.
#[derive(Clone, Debug)]
pub struct Supervisor {
    services: Vec<(Place, Service), MAX_DOMAINS>,
    boot: Boot,
    /// When the watchdog was fed last.
    fed: Option<Instant>,
    told: Told,
}

/// What people know of vital services that are given up.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    unfit: bool,
    /// For whom the machine is not reset, one bit each.
    in_vain: u8,
}

impl Supervisor {
    /// All services of the table, none of them built. A service needs those that accept a channel which it
    /// offers: the one that offers asks, the one that accepts answers.
    #[must_use]
    pub fn of(table: &Table, boot: Boot) -> Self {
        let places = table.domains.iter().enumerate().map(|(index, domain)| {
            let needs = table.channels.iter().filter(|channel| usize::from(channel.offers) == index);
            let needs = needs.fold(0, |needs, channel| match channel.accepts {
                Party::Domain(peer) if usize::from(peer) < MAX_DOMAINS => needs | 1 << peer,
                Party::Domain(_) | Party::Dom0 => needs,
            });
            Place { needs, vital: domain.vital }
        });
        Self::new(places, boot)
    }

    /// Services at these places, at most [`MAX_DOMAINS`].
    pub fn new(places: impl IntoIterator<Item = Place>, boot: Boot) -> Self {
        let services =
            places.into_iter().take(MAX_DOMAINS).map(|place| (place, Service::default())).collect();
        Self { services, boot, fed: None, told: Told::default() }
    }

    /// Takes what happened, and says what is to be done. `now` never goes back.
    pub fn step(&mut self, now: Instant, input: Input) -> Commands {
        let mut commands = Commands::new();
        match input {
            Input::Tick => {}
            Input::Of(id, life, event) => self.take(now, id, life, event, &mut commands),
            Input::Order(id) => {
                if let Some(service) = self.get(id) {
                    let life = service.life();
                    let wishes = service.died(now, Reason::Ordered);
                    carry(&mut commands, id, life, &wishes);
                }
            }
        }
        // Who is woken for one service looks at all: one wake-up for those that are due soon.
        if self.services.iter().any(|(_, service)| service.is_due(now)) {
            for (id, (_, service)) in (0..).map(ServiceId).zip(&mut self.services) {
                let life = service.life();
                let wishes = service.tick(now);
                carry(&mut commands, id, life, &wishes);
            }
        }
        self.build_what_can_be(&mut commands);
        self.note_who_is_able(now);
        self.feed(now, &mut commands);
        commands
    }

    /// The instances that [`Self::step`] would ask at `now`. Those that sleep with nothing unread are to be
    /// named to [`Self::at_rest`] first.
    pub fn to_look_at(&self, now: Instant) -> impl Iterator<Item = (ServiceId, Life)> {
        let wakes = self.services.iter().any(|(_, service)| service.is_due(now));
        let all = (0..).map(ServiceId).zip(&self.services).filter(move |_| wakes);
        let asked = all.filter(move |(_, (_, service))| service.is_to_be_asked(now));
        asked.map(|(id, (_, service))| (id, service.life()))
    }

    /// Notes that an instance is at rest: it is not asked now.
    pub fn at_rest(&mut self, now: Instant, id: ServiceId, life: Life) {
        if let Some(service) = self.get(id).filter(|service| service.life() == life) {
            service.at_rest(now);
        }
    }

    /// When to step at the latest, with [`Input::Tick`].
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let feed = self.fed.filter(|_| self.is_fit()).map(|fed| fed + FEED_EVERY + FEED_SLACK);
        self.services.iter().filter_map(|(_, service)| service.deadline()).chain(feed).min()
    }

    /// Whether the watchdog is to be fed: no vital service is given up, or none for which a reset would be of
    /// use. One that is being restarted has a limit to that, so that it is healthy or given up before long; a
    /// reset meanwhile would end what runs beside it.
    ///
    /// One that has never done its work since the start of the machine lacks something that a reset may bring
    /// back, once: if the machine was reset for that already, it is left alone.
    #[must_use]
    pub fn is_fit(&self) -> bool {
        !self.given_up().any(|(_, service)| self.is_reset_for(service))
    }

    /// A vital service that does not do its work, the first of the table; none if all do.
    #[must_use]
    pub fn missing(&self) -> Option<ServiceId> {
        let all = (0..).map(ServiceId).zip(&self.services);
        let mut missing = all.filter(|(_, (place, service))| place.vital && !service.does_its_work());
        missing.next().map(|(id, _)| id)
    }

    /// The vital services that are given up.
    fn given_up(&self) -> impl Iterator<Item = (ServiceId, &Service)> {
        let all = (0..).map(ServiceId).zip(&self.services);
        let vital = all.filter(|(_, (place, service))| place.vital && service.state() == State::GivenUp);
        vital.map(|(id, (_, service))| (id, service))
    }

    fn is_reset_for(&self, service: &Service) -> bool {
        self.boot == Boot::Fresh || service.has_worked()
    }

    /// Where a service stands.
    #[must_use]
    pub fn service(&self, id: ServiceId) -> Option<&Service> {
        self.services.get(id.index()).map(|(_, service)| service)
    }

    fn get(&mut self, id: ServiceId) -> Option<&mut Service> {
        self.services.get_mut(id.index()).map(|(_, service)| service)
    }

    fn take(&mut self, now: Instant, id: ServiceId, life: Life, event: Event, commands: &mut Commands) {
        // What comes late, from an instance before this one, changes nothing.
        let Some(service) = self.get(id).filter(|service| service.life() == life) else { return };
        let wishes = match event {
            Event::Built => {
                service.built(now);
                Wishes::new()
            }
            Event::NotBuilt => service.not_built(now),
            Event::Heard => {
                service.heard(now);
                Wishes::new()
            }
            Event::Ready => service.ready(now),
            Event::Died(reason) => service.died(now, reason),
            Event::Gone => {
                service.gone(now);
                Wishes::new()
            }
        };
        carry(commands, id, life, &wishes);
    }

    /// Builds what waits for it, those that others need first. In a circle nobody waits for anybody.
    fn build_what_can_be(&mut self, commands: &mut Commands) {
        while let Some(index) = self.next_to_build() {
            let Some((_, service)) = self.services.get_mut(index) else { return };
            let life = service.build();
            // At most `MAX_DOMAINS`.
            push(commands, Command::Build(ServiceId(index as u8), life));
        }
    }

    /// Who of those that run has what it needs to do its work.
    fn note_who_is_able(&mut self, now: Instant) {
        let working = self.services.iter().enumerate().filter(|(_, (_, service))| service.does_its_work());
        let working = working.fold(0, |all: u8, (index, _)| all | 1 << index);
        for (index, (place, service)) in self.services.iter_mut().enumerate() {
            let others = place.needs & !(1 << index);
            service.is_able(now, others & !working == 0);
        }
    }

    fn next_to_build(&self) -> Option<usize> {
        let waiting = || (0..self.services.len()).filter(|&index| self.is(index, |s| s == State::Waiting));
        let blocked = |index: usize| self.needs_one(index, |state| matches!(state, State::Ending { .. }));
        let later = |index: usize| self.needs_one(index, |state| state == State::Waiting);
        let next = waiting().find(|&index| !blocked(index) && !later(index));
        // Nobody who waits for one that is being ended: then they wait for each other.
        next.or_else(|| waiting().next().filter(|_| !waiting().any(blocked)))
    }

    fn is(&self, index: usize, state: impl Fn(State) -> bool) -> bool {
        self.services.get(index).is_some_and(|(_, service)| state(service.state()))
    }

    /// Whether the service needs one that is about to be built and is in such a state.
    fn needs_one(&self, index: usize, state: impl Fn(State) -> bool) -> bool {
        let needs = self.services.get(index).map_or(0, |(place, _)| place.needs);
        let mut others = self.services.iter().enumerate().filter(|(other, _)| needs & 1 << other != 0);
        others.any(|(_, (_, service))| service.is_about_to_be() && state(service.state()))
    }

    fn feed(&mut self, now: Instant, commands: &mut Commands) {
        let mut told = Told::default();
        for (id, service) in self.given_up() {
            if !self.is_reset_for(service) {
                told.in_vain |= 1 << id.0;
                if self.told.in_vain & 1 << id.0 == 0 {
                    push(commands, Command::Tell(id, Notice::NoUse));
                }
            } else if !core::mem::replace(&mut told.unfit, true) && !self.told.unfit {
                push(commands, Command::Tell(id, Notice::NotFed));
            }
        }
        self.told = told;
        if told.unfit {
            return;
        }
        if self.fed.is_none_or(|fed| now.saturating_sub(fed) >= FEED_EVERY) {
            self.fed = Some(now);
            push(commands, Command::Feed);
        }
    }
}

/// How much later than [`FEED_EVERY`] a feeding may come, so that it goes with a ping.
const FEED_SLACK: Instant = Instant::from_millis(1500);

fn carry(commands: &mut Commands, id: ServiceId, life: Life, wishes: &Wishes) {
    for wish in wishes {
        push(
            commands,
            match *wish {
                Wish::Ping => Command::Ping(id, life),
                Wish::End => Command::End(id, life),
                Wish::Tell(notice) => Command::Tell(id, notice),
            },
        );
    }
}

fn push(commands: &mut Commands, command: Command) {
    let full = commands.push(command).is_err();
    debug_assert!(!full, "a step wants more than there is room for");
}
