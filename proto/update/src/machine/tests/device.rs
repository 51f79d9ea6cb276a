//! A model of all that the machine stands in: storage with two slots, the selector, a controller, content, and time.
//! It draws what happens from a seed, and asserts what has to hold whatever happens.

use super::*;

/// What a version is like, which nobody but the model knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kind {
    /// Storage verifies it.
    signed: bool,
    /// It reaches the controller and its services are well.
    good: bool,
}

#[derive(Clone, Copy, Debug)]
struct Cell {
    state: SlotState,
    /// Number of the version; none for what is half written.
    version: Option<usize>,
    /// It was verified since it was filled.
    verified: bool,
}

pub(super) struct Device {
    random: u64,
    now: u64,
    update: Update,
    memory: Memory,
    slots: [Cell; 2],
    running: usize,
    kinds: List<Kind>,
    wanted: Option<usize>,
    retry: u32,
    force: u32,
    storage: bool,
    /// What storage will answer, in order.
    answers: List<Event>,
    fetching: bool,
    content: usize,
    /// Which version may be armed: somebody asked for it, and it has not failed since.
    allowed: List<bool>,
    reached: bool,
    pub(super) seen: Seen,
}

/// How often what happened.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    pub(super) armed: u32,
    pub(super) committed: u32,
    pub(super) fell_back: u32,
    pub(super) refused: u32,
    pub(super) tried_other: u32,
}

fn name(number: usize) -> Version {
    version(&std::format!("{number}"))
}

impl Device {
    pub(super) fn new(seed: u64) -> Self {
        const VERSIONS: usize = 5;
        let mut device = Self {
            random: seed,
            now: 0,
            update: Update::new(at(0), false),
            memory: Memory::default(),
            slots: [Cell { state: SlotState::Active, version: Some(0), verified: false }; 2],
            running: 0,
            kinds: List::new(),
            wanted: None,
            retry: 0,
            force: 0,
            storage: false,
            answers: List::new(),
            fetching: false,
            content: 0,
            allowed: std::vec![false; VERSIONS],
            reached: false,
            seen: Seen::default(),
        };
        device.slots[1].state = SlotState::Unused;
        for number in 0..VERSIONS {
            let kind =
                Kind { signed: number == 0 || device.below(4) > 0, good: number == 0 || device.below(2) > 0 };
            device.kinds.push(kind);
        }
        device.update.recall(Memory::default());
        device
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % bound
    }

    fn version_of(&self, slot: usize) -> usize {
        self.slots[slot].version.expect("what runs is whole")
    }

    fn told(&self) -> Slots {
        let view = |slot: usize| SlotView {
            slot: Slot::ALL[slot],
            state: self.slots[slot].state,
            version: self.slots[slot].version.map(name),
            room: 1 << 20,
        };
        Slots { current: view(self.running), other: view(1 - self.running) }
    }

    fn kind(&self) -> Kind {
        self.kinds[self.version_of(self.running)]
    }

    fn inputs(&self) -> Inputs {
        let wanted = self.wanted.map(|number| Wanted { version: name(number), activate: true });
        Inputs {
            wanted,
            retry: Some(self.retry),
            force: Some(self.force),
            free: self.reached,
            well: self.kind().good && self.storage,
            vault: Lock::Open,
            timers: TIMERS,
        }
    }

    pub(super) fn live(mut self, steps: u32) -> Seen {
        for _ in 0..steps {
            self.something();
            self.check();
        }
        // It comes to rest in one of the versions, once it is left alone.
        for _ in 0..300 {
            self.storage_comes();
            self.now += 30;
            self.tell(if self.kind().good { Class::Success } else { Class::Fail });
            while !self.answers.is_empty() {
                self.answer();
            }
            if self.fetching {
                self.content();
            }
            self.check();
        }
        let state = self.update.state();
        assert!(matches!(state, State::Settled | State::Loaded), "{state:?}");
        assert_eq!(self.slots[self.running].state, SlotState::Active);
        assert!(self.kind().good, "what was committed was good");
        self.seen
    }

    fn check(&self) {
        let [a, b] = self.slots;
        assert!(
            a.state == SlotState::Active || b.state == SlotState::Active,
            "one is left to start: {a:?} {b:?}"
        );
        assert!(self.slots[self.running].version.is_some());
    }

    /// Anything.
    fn something(&mut self) {
        match self.below(24) {
            0 => self.order(),
            1 => {
                self.retry += 1;
                if let Some(wanted) = self.wanted {
                    self.allowed[wanted] = true;
                }
            }
            2 => {
                self.force += 1;
            }
            3 if self.storage => {
                self.storage = false;
                self.answers.clear();
                self.slots.iter_mut().for_each(|cell| cell.verified = false);
                self.step(Event::Lost);
            }
            3 | 4 => self.storage_comes(),
            // A new life of control, in the same start.
            5 => {
                self.update = Update::new(at(self.now), false);
                self.update.goes_on();
                self.update.recall(self.memory);
                self.fetching = false;
                self.answers.clear();
                self.reached = false;
                if self.storage {
                    self.step(Event::Slots(self.told()));
                }
            }
            // Power cut, panic, watchdog.
            6 => self.reset(),
            7..=9 => self.poll(),
            10..=15 => self.answer(),
            16..=19 if self.fetching => self.content(),
            20 => self.step(Event::Slots(self.told())),
            _ => {
                self.now += self.below(120);
                self.step(Event::Look);
            }
        }
    }

    fn order(&mut self) {
        let number = self.below(self.kinds.len() as u64 + 1) as usize;
        let wanted = Some(number).filter(|number| *number < self.kinds.len());
        if let Some(number) = wanted.filter(|_| wanted != self.wanted) {
            // A counter that nobody has looked at yet counts for it, too.
            self.allowed[number] =
                !self.memory.has_failed(name(number)) || self.update.memory().retry != self.retry;
        }
        self.wanted = wanted;
        self.step(Event::Look);
    }

    fn storage_comes(&mut self) {
        if !self.storage {
            self.storage = true;
            self.step(Event::Slots(self.told()));
        }
    }

    fn poll(&mut self) {
        let class = match self.below(4) {
            0 => Class::TemporaryFail,
            _ => Class::Success,
        };
        self.tell(if self.kind().good { class } else { Class::Fail });
    }

    fn tell(&mut self, class: Class) {
        self.reached |= class == Class::Success;
        self.update.reached(at(self.now), class);
        self.step(Event::Look);
    }

    fn answer(&mut self) {
        if self.storage && !self.answers.is_empty() {
            let event = self.answers.remove(0);
            self.step(event);
        }
    }

    /// The next thing that content does.
    fn content(&mut self) {
        let target = self.update.target();
        let honest = (0..self.kinds.len()).find(|number| Some(name(*number)) == target);
        match (self.update.state(), self.below(8)) {
            (State::Fetching, 0) => self.content = self.below(self.kinds.len() as u64) as usize,
            (State::Fetching, _) => self.content = honest.unwrap_or(0),
            (State::Emptying | State::Filling, 0) => return self.step(Event::Restart),
            (State::Filling, 1) => return self.step(Event::Unusable),
            (State::Filling, _) => {
                let other = &mut self.slots[1 - self.running];
                *other = Cell { version: Some(self.content), ..*other };
                return self.step(Event::Complete);
            }
            _ => return,
        }
        self.step(Event::Claim { version: name(self.content), slot_bytes: 5000 });
    }

    fn step(&mut self, event: Event) {
        let event = match event {
            Event::Slots(_) if !self.storage => return,
            event => event,
        };
        let inputs = self.inputs();
        let actions = self.update.step(at(self.now), event, &inputs);
        for action in actions {
            match action {
                Action::Fetch => self.fetching = true,
                Action::Stop => self.fetching = false,
                Action::Keep => self.memory = self.update.memory(),
                Action::Reset(_) => return self.reset(),
                Action::AskSlots => self.answers.push(Event::Slots(self.told())),
                Action::Begin { .. } => {
                    assert_eq!(
                        self.slots[self.running].state,
                        SlotState::Active,
                        "nothing is begun under test"
                    );
                    self.slots[1 - self.running] =
                        Cell { state: SlotState::Unused, version: None, verified: false };
                    self.answers.push(Event::Emptied);
                }
                Action::Verify => self.verify(),
                Action::Change(change) => self.change(change),
            }
        }
    }

    fn verify(&mut self) {
        let cell = &mut self.slots[1 - self.running];
        let signed = cell.version.filter(|number| self.kinds[*number].signed);
        cell.verified = signed.is_some();
        self.seen.refused += u32::from(signed.is_none());
        self.answers.push(match signed {
            Some(number) => Event::Verified(name(number)),
            None => Event::Refused(Refused::Payload),
        });
    }

    fn change(&mut self, change: Change) {
        if self.below(10) == 0 {
            return self.answers.push(Event::Refused(Refused::Later));
        }
        let (running, other) = (self.running, 1 - self.running);
        match change {
            Change::Arm => {
                let number = self.version_of(other);
                assert!(self.slots[other].verified, "what is armed was verified");
                assert_eq!(self.wanted, Some(number), "what is armed is wanted");
                assert_eq!(
                    self.slots[running].state,
                    SlotState::Active,
                    "there is something to fall back to"
                );
                self.arm(other, number);
            }
            Change::TryOther => {
                let Some(number) = self.slots[other].version.filter(|number| self.kinds[*number].signed)
                else {
                    return self.answers.push(Event::Refused(Refused::Payload));
                };
                assert_eq!(self.slots[running].state, SlotState::Active);
                assert_ne!(self.slots[other].state, SlotState::Unused, "what proved nothing is not tried");
                self.seen.tried_other += 1;
                if self.update.memory().forced {
                    let left = self.version_of(running);
                    self.allowed[left] = false;
                    self.allowed[number] = true;
                }
                self.arm(other, number);
            }
            Change::Commit => {
                assert!(
                    self.kind().good && self.reached,
                    "what is committed has reached the controller and is well"
                );
                self.seen.committed += 1;
                self.slots[running].state = SlotState::Active;
                let proven = self.slots[other].state == SlotState::Active;
                self.slots[other].state = if proven { SlotState::Spare } else { SlotState::Unused };
            }
            Change::Abandon => self.slots[other].state = SlotState::Unused,
        }
        self.answers.push(Event::Slots(self.told()));
    }

    fn arm(&mut self, slot: usize, number: usize) {
        self.slots[slot].state = SlotState::Updating;
        assert!(self.allowed[number], "version {number} has failed, and nobody asked for it again");
        self.seen.armed += 1;
    }

    /// The selector's rule, and a new start.
    fn reset(&mut self) {
        let updating = (0..2).find(|slot| self.slots[*slot].state == SlotState::Updating);
        let active = (0..2).find(|slot| self.slots[*slot].state == SlotState::Active);
        if let Some(slot) = updating {
            self.slots[slot].state = SlotState::InProgress;
        }
        let running = updating.or(active).expect("one can be started");
        if self.slots[self.running].state == SlotState::InProgress {
            self.seen.fell_back += 1;
            let failed = self.version_of(self.running);
            // A counter that changed under test is looked at after it.
            self.allowed[failed] = self.update.memory().retry != self.retry;
        }
        self.running = running;
        self.slots.iter_mut().for_each(|cell| cell.verified = false);
        self.now += 10;
        self.update = Update::new(at(self.now), updating.is_some());
        self.update.recall(self.memory);
        self.answers.clear();
        self.fetching = false;
        self.reached = false;
        self.storage = false;
    }
}
