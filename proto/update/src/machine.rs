//! An update as a machine: what is to be done next, from what the slots are, what the configuration wants, and how the
//! device fares.
//!
//! Control runs it. It sees the slots through the storage domain's eyes, asks that domain for every change, and has
//! no other power: a slot is armed only by storage, which has verified it itself.
//!
//! ```text
//!                        wanted                  claim                 emptied               all there
//!  Blind -1-> Settled ----2----> Fetching ---3----------> Emptying ---4------> Filling ---5--------> Checking
//!    ^          ^  |                 ^                                            |                      | 6 verified
//!    | lost     |  | force, retry    +------ restart: it cannot go on from there -+                      v
//!    |          |  +--------------------------> Arming <-------------- activate ------------------- Loaded
//!    |          |                                  | 7 updating
//!    |          +<-- unused -- Abandoning <------ Armed --8--> the machine is reset
//!    |          |                     withdrawn
//!    |          | 10 active
//!    +- 9 -> Testing ----window----> Committing                     any of them --11--> Leaving: a reset was asked for
//!               ^----- refused ----------'
//! ```
//!
//! | edge | function | EVE's words |
//! |---|---|---|
//! | 1, 9 | `wake` | current active; current inprogress, being tested |
//! | 2 | `settled` | the version is none that runs, and none that failed |
//! | 3 to 6 | [`Update::step`] | content goes to the other slot, and is verified there |
//! | 7, 8 | [`Update::step`], `armed` | other := updating, reboot with reason UPDATE |
//! | 10 | `told_in_committing` | current := active, other := unused |
//! | 11 | `trial` | lost controller, health or vault failure: back to the old version |
//!
//! What falls back is seen at the next start: the current slot is active and the other one still inprogress. That
//! version is remembered as failed and is not tried again until the counter `retry_update` changes. A change of
//! `force.fallback.counter` has the other slot tried as an update would be, and what was left is remembered in the
//! same way, for the configuration may still name it.
//!
//! What was kept cannot be read while the vault is locked. For as long as it may take to open nothing is begun; then
//! updates go on without, for another version may be what opens it. What the slots tell is all that is known then of
//! versions that failed, and the counters wait, since nobody can say which were obeyed.
//!
//! Control may end, and be there anew in the same start. What a test has come to goes on then ([`Course`]): its times
//! count from when its first life began, and a version whose control has ended [`MAX_LIVES`] times under test falls
//! back. Each life on its own would look like the beginning of a good one. A life that has just begun has not heard of the
//! vault yet: until then it counts as what it was, and nobody leaves for it.
//!
//! Time is handed in and counts on the monotonic clock, which is one for all lives; the wall clock's jumps do not
//! matter.

use core::time::Duration;

use heapless::Vec;
use proto_gpt::slots::Slot;
use proto_handoff::record::Version;

/// What a slot is, in EVE's words, and one of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotState {
    /// Not to be started by itself.
    Unused,
    /// Tried at the next start.
    Updating,
    /// Being tried, or tried in vain.
    InProgress,
    /// Proven good.
    Active,
    /// Proven good, and replaced by the other one; started when that one cannot be. EVE calls it unused.
    Spare,
}

/// One slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotView {
    /// Which.
    pub slot: Slot,
    /// What its attributes say.
    pub state: SlotState,
    /// The version of a signed header, if it has one.
    pub version: Option<Version>,
    /// Bytes that there is room for.
    pub room: u64,
}

/// Both slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slots {
    /// The one that runs.
    pub current: SlotView,
    /// The other one.
    pub other: SlotView,
}

/// The base OS that the configuration names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its version.
    pub version: Version,
    /// Whether it is to run; otherwise it is to be fetched and verified only.
    pub activate: bool,
}

/// How the last question for the configuration ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The controller said what the configuration is.
    Success,
    /// It is there and cannot say it now, by what is not this version's fault.
    TemporaryFail,
    /// It was not reached.
    Fail,
}

/// How long what may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// A version is tested from the first success on.
    pub window: Duration,
    /// What is tested may lack controller or health.
    pub fallback: Duration,
    /// The vault may stay locked under test, from the first success on; and otherwise before updates go on without
    /// what was kept.
    pub vault: Duration,
    /// After a failure of the disk it is tried again.
    pub again: Duration,
}

/// What is true when the machine is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inputs {
    /// What the configuration names.
    pub wanted: Option<Wanted>,
    /// Its counter `retry_update`, if it has one.
    pub retry: Option<u32>,
    /// Its counter `force.fallback.counter`, once there is a configuration.
    pub force: Option<u32>,
    /// Whether something may be begun: the configuration is the controller's, and the device is not about to go.
    pub free: bool,
    /// Every vital service answers.
    pub well: bool,
    /// Whether the vault is locked, so that nothing can be kept.
    pub vault: Lock,
    /// The times.
    pub timers: Timers,
}

/// Whether what is kept can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    /// Nobody has said yet.
    Unknown,
    /// Not before the vault gives the key.
    Locked,
    /// It can.
    Open,
}

/// What outlives a start, to be kept by whoever runs the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// The counter `retry_update` that was processed last.
    pub retry: u32,
    /// The first or last obeyed counter `force.fallback.counter`.
    pub force: Option<u32>,
    /// Versions that are not to be tried again, the last one first.
    pub failed: [Option<Version>; MAX_FAILED],
    /// The other slot was armed by that counter, not for what the configuration names.
    pub forced: bool,
}

/// How many versions that failed are remembered. One is not enough: the other slot may fail by force while the
/// configuration still names a version that has failed before.
pub const MAX_FAILED: usize = 4;

impl Memory {
    /// Whether a version is not to be tried again.
    #[must_use]
    pub fn has_failed(&self, version: Version) -> bool {
        self.failed.contains(&Some(version))
    }

    fn failing(self, version: Version) -> Self {
        let mut others = self.forgiving(Some(version)).failed.into_iter().flatten();
        let failed = core::array::from_fn(|at| if at == 0 { Some(version) } else { others.next() });
        Self { failed, ..self }
    }

    fn forgiving(mut self, version: Option<Version>) -> Self {
        let mut left = self.failed.into_iter().flatten().filter(|failed| Some(*failed) != version);
        self.failed = core::array::from_fn(|_| left.next());
        self
    }
}

/// A test so far, for a later life to go on with: [`Update::resume`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Course {
    /// Lives that had a part in it, the present one among them.
    pub lives: u32,
    /// Since when there was neither success nor a failure that is temporary.
    pub unreached: Option<Duration>,
    /// Since when a service is not well.
    pub ill: Option<Duration>,
    /// When the controller was first reached.
    pub first: Option<Duration>,
    /// When the window began.
    pub window: Option<Duration>,
    /// Since when the vault is locked.
    pub locked: Option<Duration>,
}

/// So many lives have a part in one test. A service may end once or twice and the system be good; that of a version
/// which ends more often than that within ten minutes would go on so for ever, since its supervisor gives up only those
/// that end faster.
pub const MAX_LIVES: u32 = 3;

/// A change of the slots, for storage to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The other slot, verified since it was filled, is tried at the next start.
    Arm,
    /// The current slot has proven itself.
    Commit,
    /// The other slot is not to be started.
    Abandon,
    /// The other slot is tried at the next start as it is; it is verified first.
    TryOther,
}

/// Why the machine is to be reset, in the words of EVE's boot reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Into another version.
    Update,
    /// Back to the old one: the controller was not reached, or a service is not well.
    Fallback,
    /// Back to the old one: this one cannot open the vault.
    VaultFailed,
}

/// What storage said no to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// What was written is nothing to start: signature, contents, machine, age.
    Payload,
    /// The disk did not do it; it may later.
    Later,
    /// The slots are not in the state for it.
    State,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Nothing, or something that the inputs tell: time passed, another configuration.
    Look,
    /// Storage told what the slots are, by itself or after a change.
    Slots(Slots),
    /// Storage is gone, with all that was asked of it.
    Lost,
    /// The head of the payload came.
    Claim {
        /// The version that it names.
        version: Version,
        /// Bytes that will be written.
        slot_bytes: u64,
    },
    /// All of the content came, has the right hash and was written.
    Complete,
    /// The content begins anew.
    Restart,
    /// The content has the right hash and is no payload.
    Unusable,
    /// The other slot is empty.
    Emptied,
    /// The other slot was read back and found right.
    Verified(Version),
    /// Storage said no to what was asked last.
    Refused(Refused),
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Have the content come: [`Event::Claim`], then, while the state is [`State::Filling`], its bytes to the slot,
    /// then [`Event::Complete`].
    Fetch,
    /// It is not wanted any more.
    Stop,
    /// Ask storage to empty the other slot for so many bytes.
    Begin {
        /// How many.
        slot_bytes: u64,
    },
    /// Ask storage to verify the other slot.
    Verify,
    /// Ask storage for a change.
    Change(Change),
    /// Ask storage what the slots are.
    AskSlots,
    /// Keep [`Update::memory`].
    Keep,
    /// Reset the machine, after reports have left.
    Reset(Ending),
}

/// What is to be done after one event.
pub type Actions = Vec<Action, 8>;

/// Where the update stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Nobody has said what the slots are.
    #[default]
    Blind,
    /// Nothing is under way.
    Settled,
    /// The content is on its way.
    Fetching,
    /// The other slot is being emptied for it.
    Emptying,
    /// It is being written.
    Filling,
    /// It is being verified.
    Checking,
    /// It may be armed.
    Loaded,
    /// It is being armed.
    Arming,
    /// The other slot is what starts next.
    Armed,
    /// The current slot has yet to prove itself.
    Testing,
    /// It has, and storage is told.
    Committing,
    /// The other slot is being withdrawn.
    Abandoning,
    /// The machine is about to be reset.
    Leaving(Ending),
}

/// Why the wanted version is not being fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It was tried and fell back, or was left by force.
    FailedBefore,
    /// The content holds another version.
    OtherVersion(Version),
    /// Storage refused what was written, or the content is no payload.
    Refused,
    /// It was armed, and the device was started without it.
    NotStarted,
    /// The disk refused; it is tried again.
    Disk,
}

/// A version under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Trial {
    /// How the last question of this life ended.
    class: Option<Class>,
    course: Course,
    /// Not to be committed before.
    hold: Duration,
}

impl Trial {
    const fn new(now: Duration) -> Self {
        let course =
            Course { lives: 1, unreached: Some(now), ill: None, first: None, window: None, locked: None };
        Self { class: None, course, hold: Duration::ZERO }
    }

    /// Another life begins.
    fn resumed(now: Duration, before: Course) -> Self {
        let lives = before.lives.saturating_add(1);
        let course = Course { lives, unreached: before.unreached.or(Some(now)), ..before };
        Self { class: None, course, hold: Duration::ZERO }
    }

    fn reached(&mut self, now: Duration, class: Class) {
        self.class = Some(class);
        let course = &mut self.course;
        match class {
            Class::Success => {
                course.unreached = None;
                course.first = course.first.or(Some(now));
                course.window = course.window.or(Some(now));
            }
            Class::TemporaryFail => {
                course.unreached = None;
                // It begins anew, if it has begun.
                course.window = course.window.and(Some(now));
            }
            Class::Fail => course.unreached = course.unreached.or(Some(now)),
        }
    }

    const fn ends_again_and_again(&self) -> bool {
        self.course.lives > MAX_LIVES
    }

    /// When which of its limits is over. `locked` is since when the vault is.
    fn limits(&self, inputs: &Inputs, locked: Option<Duration>) -> [Option<(Duration, Ending)>; 3] {
        let Timers { fallback, vault, .. } = inputs.timers;
        let Course { unreached, ill, first, .. } = self.course;
        let after = |since: Option<Duration>, patience, ending| {
            since.map(|since: Duration| (since.saturating_add(patience), ending))
        };
        [
            // One that was open and is locked for a moment, because storage came back, is not locked for long.
            after(first.zip(locked).map(|(first, since)| first.max(since)), vault, Ending::VaultFailed),
            after(unreached, fallback, Ending::Fallback),
            after(ill, fallback, Ending::Fallback),
        ]
    }

    /// When it may be committed, if nothing comes in between.
    fn passes(&self, inputs: &Inputs) -> Option<Duration> {
        let good = self.class == Some(Class::Success) && inputs.well && inputs.vault != Lock::Locked;
        let window = self.course.window.filter(|_| good)?;
        Some(window.saturating_add(inputs.timers.window).max(self.hold))
    }
}

/// The update of a device.
#[derive(Clone, Debug, Default)]
pub struct Update {
    state: State,
    slots: Option<Slots>,
    memory: Option<Memory>,
    /// The version that is being fetched, written or armed.
    target: Option<Version>,
    /// What was written whole, with the right hash, since this machine is there.
    filled: Option<Version>,
    /// A version that is not fetched, and why.
    barred: Option<(Version, Trouble)>,
    /// Nothing is begun before.
    later: Option<Duration>,
    trial: Option<Trial>,
    /// What the memory was before the other slot was asked to be tried.
    before: Option<Memory>,
    /// The machine has been started since anything was asked for, by us or an earlier one.
    fresh: bool,
    /// Since when the vault is locked, while it is not known what was kept.
    locked: Option<Duration>,
    /// It was for too long: nobody waits for what was kept.
    forgetful: bool,
}

impl Update {
    /// The machine of a device that was just started. `trial` says that whoever started it has said that this version
    /// is being tried, which counts until storage tells the slots: a version whose storage never comes up falls back,
    /// too.
    #[must_use]
    pub fn new(now: Duration, trial: bool) -> Self {
        Self { trial: trial.then(|| Trial::new(now)), fresh: true, ..Self::default() }
    }

    /// There was another machine before this one, since the device was started.
    pub fn goes_on(&mut self) {
        self.fresh = false;
    }

    /// Whether this machine, or one before it in this start, has seen the slots as they were started, so that what is
    /// armed from now on is by its own order: a later machine of this start [goes on](Self::goes_on).
    #[must_use]
    pub fn has_seen_slots(&self) -> bool {
        !self.fresh && self.state != State::Abandoning
    }

    /// Takes the test as an earlier machine of this start has left it, or that it was over. Before the first
    /// [`step`](Self::step).
    pub fn resume(&mut self, now: Duration, course: Option<Course>) {
        self.trial = course.map(|course| Trial::resumed(now, course));
        self.locked = course.and_then(|course| course.locked);
    }

    /// The test so far, to be kept for a later machine of this start whenever it has changed.
    #[must_use]
    pub fn course(&self) -> Option<Course> {
        self.trial.map(|trial| trial.course)
    }

    /// Whether the version under test falls back because who runs this machine ends again and again.
    #[must_use]
    pub fn ends_again_and_again(&self) -> bool {
        self.trial.is_some_and(|trial| trial.ends_again_and_again())
    }

    /// Where it stands.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// The slots, as they were told last.
    #[must_use]
    pub const fn slots(&self) -> Option<&Slots> {
        self.slots.as_ref()
    }

    /// What is to be kept.
    #[must_use]
    pub fn memory(&self) -> Memory {
        self.memory.unwrap_or_default()
    }

    /// The version that is being fetched, written or armed.
    #[must_use]
    pub const fn target(&self) -> Option<Version> {
        self.target
    }

    /// Whether the current version is being tested.
    #[must_use]
    pub const fn is_testing(&self) -> bool {
        self.trial.is_some()
    }

    /// How long the test still takes if nothing comes in between; the whole window until it has begun.
    #[must_use]
    pub fn test_left(&self, now: Duration, timers: &Timers) -> Option<Duration> {
        let trial = self.trial.as_ref()?;
        let gone = trial.course.window.map_or(Duration::ZERO, |window| now.saturating_sub(window));
        Some(timers.window.saturating_sub(gone))
    }

    /// Why the wanted version is not being fetched.
    #[must_use]
    pub fn trouble(&self, wanted: &Wanted) -> Option<Trouble> {
        if self.slots.is_some_and(|slots| slots.current.version == Some(wanted.version)) {
            return None;
        }
        let was_tried = |slots: Slots| {
            slots.other.state == SlotState::InProgress && slots.other.version == Some(wanted.version)
        };
        let failed = match &self.memory {
            Some(memory) => memory.has_failed(wanted.version),
            None => self.slots.is_some_and(was_tried),
        };
        if failed {
            return Some(Trouble::FailedBefore);
        }
        let barred = self.barred.filter(|(version, _)| *version == wanted.version);
        barred.map(|(_, trouble)| trouble).or(self.later.map(|_| Trouble::Disk))
    }

    /// Takes what was kept in an earlier start, once. Nothing is begun before, unless the vault stays locked.
    pub fn recall(&mut self, memory: Memory) {
        self.memory = Some(memory);
    }

    /// Tells how a question for the configuration ended, or that none can be asked.
    pub fn reached(&mut self, now: Duration, class: Class) {
        if let Some(trial) = &mut self.trial {
            trial.reached(now, class);
        }
    }

    /// When [`Event::Look`] is due at the latest.
    #[must_use]
    pub fn deadline(&self, inputs: &Inputs) -> Option<Duration> {
        let trial = self.trial.as_ref().filter(|_| !matches!(self.state, State::Leaving(_)));
        let limits = trial.map_or([None; 3], |trial| trial.limits(inputs, self.locked_since(inputs)));
        let passes = trial.filter(|_| self.state == State::Testing).and_then(|trial| trial.passes(inputs));
        let limits = limits.into_iter().flatten().map(|(at, _)| at);
        let locked = self.locked.filter(|_| self.memory.is_none() && !self.forgetful);
        let locked = locked.map(|since| since.saturating_add(inputs.timers.vault));
        limits
            .chain(passes)
            .chain(self.later.into_iter().chain(locked).filter(|_| self.state == State::Settled))
            .min()
    }

    /// Since when the vault is locked, as far as anybody has looked.
    fn locked_since(&self, inputs: &Inputs) -> Option<Duration> {
        (inputs.vault == Lock::Locked).then_some(self.locked.unwrap_or(Duration::ZERO))
    }

    /// Moves on by one event.
    pub fn step(&mut self, now: Duration, event: Event, inputs: &Inputs) -> Actions {
        let mut actions = Actions::new();
        let mut act = |action| {
            // No event asks for more than there is room for.
            let _ = actions.push(action);
        };
        self.state = self.next(now, event, inputs, &mut act);
        // What became possible is done at once; every pass leads on or ends it.
        for _ in 0..3 {
            let before = self.state;
            self.state = self.look(now, inputs, &mut act);
            if self.state == before {
                break;
            }
        }
        actions
    }

    fn next(&mut self, now: Duration, event: Event, inputs: &Inputs, act: &mut impl FnMut(Action)) -> State {
        use State::{
            Abandoning, Armed, Arming, Blind, Checking, Committing, Emptying, Fetching, Filling, Leaving,
            Loaded, Settled, Testing,
        };
        let again = inputs.timers.again;
        match (self.state, event) {
            (state @ Leaving(_), Event::Slots(_) | Event::Lost) => state,
            (Blind, Event::Slots(slots)) => self.wake(now, slots, act),
            (Arming, Event::Slots(slots)) => self.told_in_arming(now, slots, again, act),
            (Committing, Event::Slots(slots)) => self.told_in_committing(slots, act),
            (Abandoning, Event::Slots(slots)) => self.wake(now, slots, act),
            (state @ (Settled | Testing | Armed), Event::Slots(slots)) => {
                // Nobody but we have them changed; yet what is told counts.
                if self.slots.replace(slots) == Some(slots) { state } else { self.wake(now, slots, act) }
            }
            (state @ (Fetching | Emptying | Filling | Checking | Loaded), Event::Slots(slots)) => {
                self.slots = Some(slots);
                state
            }

            (Fetching | Emptying | Filling, Event::Lost) => {
                act(Action::Stop);
                Blind
            }
            (
                Blind | Settled | Checking | Loaded | Arming | Armed | Testing | Committing | Abandoning,
                Event::Lost,
            ) => Blind,

            (Fetching, Event::Claim { version, slot_bytes }) => self.claimed(version, slot_bytes, act),
            (Emptying, Event::Emptied) => {
                // What was in it is gone, whatever comes of this.
                if let Some(slots) = &mut self.slots {
                    slots.other = SlotView { state: SlotState::Unused, version: None, ..slots.other };
                }
                Filling
            }
            (Filling, Event::Complete) => {
                self.filled = self.target;
                act(Action::Verify);
                Checking
            }
            (Fetching | Emptying | Filling, Event::Restart) => Fetching,
            (Checking, Event::Verified(version)) => self.verified(version),
            (Fetching | Emptying | Filling, Event::Unusable) => {
                act(Action::Stop);
                self.refused(now, Refused::Payload, again, act)
            }

            (Emptying | Filling, Event::Refused(refused)) => {
                act(Action::Stop);
                self.refused(now, refused, again, act)
            }
            (Checking | Abandoning, Event::Refused(refused)) => self.refused(now, refused, again, act),
            (Arming, Event::Refused(refused)) => self.refused_in_arming(now, refused, again, act),
            (Committing, Event::Refused(_)) => {
                if let Some(trial) = &mut self.trial {
                    trial.hold = now.saturating_add(again);
                }
                Testing
            }

            // Answers to what is not wanted any more, and content that nobody waits for.
            (
                state @ (Blind | Settled | Loaded | Armed | Testing | Fetching | Leaving(_)),
                Event::Refused(_),
            ) => state,
            (
                state @ (Blind | Settled | Fetching | Filling | Checking | Loaded | Arming | Armed | Testing
                | Committing | Abandoning | Leaving(_)),
                Event::Emptied,
            ) => state,
            (
                state @ (Blind | Settled | Fetching | Emptying | Filling | Loaded | Arming | Armed | Testing
                | Committing | Abandoning | Leaving(_)),
                Event::Verified(_),
            ) => state,
            (
                state @ (Blind | Settled | Emptying | Filling | Checking | Loaded | Arming | Armed | Testing
                | Committing | Abandoning | Leaving(_)),
                Event::Claim { .. },
            ) => state,
            (
                state @ (Blind | Settled | Fetching | Emptying | Checking | Loaded | Arming | Armed | Testing
                | Committing | Abandoning | Leaving(_)),
                Event::Complete,
            ) => state,
            (
                state @ (Blind | Settled | Checking | Loaded | Arming | Armed | Testing | Committing
                | Abandoning | Leaving(_)),
                Event::Restart | Event::Unusable,
            ) => state,
            (
                state @ (Blind | Settled | Fetching | Emptying | Filling | Checking | Loaded | Arming | Armed
                | Testing | Committing | Abandoning | Leaving(_)),
                Event::Look,
            ) => state,
        }
    }

    /// What the inputs make possible, or end.
    fn look(&mut self, now: Duration, inputs: &Inputs, act: &mut impl FnMut(Action)) -> State {
        self.locked = match inputs.vault {
            Lock::Unknown => self.locked,
            Lock::Locked => self.locked.or(Some(now)),
            Lock::Open => None,
        };
        self.forgetful = self.locked.is_some_and(|since| since.saturating_add(inputs.timers.vault) <= now);
        if let Some(trial) = &mut self.trial {
            let ill = trial.course.ill.or(Some(now));
            trial.course.ill = ill.filter(|_| !inputs.well);
            trial.course.locked = self.locked;
        }
        match self.state {
            State::Settled => self.settled(now, inputs, act),
            state @ (State::Fetching | State::Emptying | State::Filling) => {
                if self.is_wanted(inputs) {
                    return state;
                }
                act(Action::Stop);
                State::Settled
            }
            State::Checking if !self.is_wanted(inputs) => State::Settled,
            State::Loaded if !self.is_wanted(inputs) => State::Settled,
            State::Loaded if inputs.free && inputs.wanted.is_some_and(|wanted| wanted.activate) => {
                self.before = None;
                act(Action::Change(Change::Arm));
                State::Arming
            }
            State::Armed => self.armed(inputs, act),
            state @ (State::Testing | State::Committing | State::Blind) => {
                self.trial(state, now, inputs, act)
            }
            state @ (State::Checking
            | State::Loaded
            | State::Arming
            | State::Abandoning
            | State::Leaving(_)) => state,
        }
    }

    /// The slots are known, for the first time or again.
    fn wake(&mut self, now: Duration, slots: Slots, act: &mut impl FnMut(Action)) -> State {
        self.slots = Some(slots);
        if slots.current.state == SlotState::InProgress {
            self.fresh = false;
            self.trial = self.trial.or(Some(Trial::new(now)));
            return State::Testing;
        }
        self.trial = None;
        if slots.other.state == SlotState::Updating {
            if core::mem::take(&mut self.fresh) {
                // Whoever starts slots could not take off its try. Another start would be like this one.
                self.barred = slots.other.version.map(|version| (version, Trouble::NotStarted));
                act(Action::Change(Change::Abandon));
                return State::Abandoning;
            }
            return self.is_armed(slots, act);
        }
        self.fresh = false;
        if let Some(before) = self.before.take() {
            // Storage ended before it had armed the slot.
            self.memory = Some(before);
            act(Action::Keep);
        }
        self.note_failure(slots, act);
        State::Settled
    }

    /// The other slot starts next.
    fn is_armed(&mut self, slots: Slots, act: &mut impl FnMut(Action)) -> State {
        self.target = slots.other.version;
        self.before = None;
        act(Action::Reset(Ending::Update));
        State::Armed
    }

    /// A slot that is inprogress while another one runs was tried in vain.
    fn note_failure(&mut self, slots: Slots, act: &mut impl FnMut(Action)) {
        let tried = slots.other.version.filter(|_| slots.other.state == SlotState::InProgress);
        // Without a memory the slots alone say so: see `trouble`.
        if let (Some(version), Some(memory)) = (tried, &mut self.memory) {
            let noted = Memory { forced: false, ..memory.failing(version) };
            if !memory.has_failed(version) || memory.forced {
                *memory = noted;
                act(Action::Keep);
            }
        }
    }

    fn is_wanted(&self, inputs: &Inputs) -> bool {
        inputs.wanted.map(|wanted| wanted.version) == self.target
    }

    /// Nothing is under way: whether something is to be.
    fn settled(&mut self, now: Duration, inputs: &Inputs, act: &mut impl FnMut(Action)) -> State {
        self.target = None;
        let Some(slots) = self.slots else { return State::Settled };
        self.note_failure(slots, act);
        self.later = self.later.filter(|later| *later > now);
        if !inputs.free || self.later.is_some() {
            return State::Settled;
        }
        match self.memory {
            Some(before) => {
                let mut memory = before;
                if let Some(way) = self.obey(slots, &mut memory, inputs) {
                    self.memory = Some(memory);
                    act(Action::Keep);
                    if way == Obeyed::TryOther {
                        self.before = Some(before);
                        self.target = slots.other.version;
                        act(Action::Change(Change::TryOther));
                        return State::Arming;
                    }
                }
            }
            None if self.forgetful => {}
            None => return State::Settled,
        }
        let Some(wanted) = inputs.wanted else { return State::Settled };
        let runs = slots.current.version == Some(wanted.version);
        if runs || self.trouble(&wanted).is_some() {
            return State::Settled;
        }
        self.target = Some(wanted.version);
        let there = slots.other.version == Some(wanted.version) && slots.other.state == SlotState::Unused;
        if there && self.filled == Some(wanted.version) {
            // Storage came back, and may not remember what it verified.
            act(Action::Verify);
            return State::Checking;
        }
        act(Action::Fetch);
        State::Fetching
    }

    /// Looks at the counters. `None` if none of them asks for anything.
    fn obey(&mut self, slots: Slots, memory: &mut Memory, inputs: &Inputs) -> Option<Obeyed> {
        let other = slots.other;
        if let Some(retry) = inputs.retry
            && retry != memory.retry
        {
            memory.retry = retry;
            self.barred = None;
            let wanted = inputs.wanted.map(|wanted| wanted.version);
            let failed = wanted.filter(|version| memory.has_failed(*version));
            if failed.is_none() {
                return Some(Obeyed::Noted);
            }
            *memory = memory.forgiving(failed);
            let again = other.state == SlotState::InProgress && other.version == failed;
            // Otherwise it has to be fetched once more.
            return Some(if again { Obeyed::TryOther } else { Obeyed::Noted });
        }
        let force = inputs.force?;
        match memory.force {
            None => {
                memory.force = Some(force);
                Some(Obeyed::Noted)
            }
            Some(known) if known == force => None,
            // A value that cannot be obeyed is not stored, and so stays pending.
            Some(_) => {
                // What is in an unused slot has proven nothing on this machine, and storage would not try it.
                let proven = slots.current.state == SlotState::Active;
                let spare = other.state == SlotState::Spare && other.version.is_some();
                if !proven || !spare || other.version == slots.current.version {
                    return None;
                }
                *memory = slots.current.version.map_or(*memory, |left| memory.failing(left));
                memory.force = Some(force);
                memory.forced = true;
                Some(Obeyed::TryOther)
            }
        }
    }

    fn claimed(&mut self, version: Version, slot_bytes: u64, act: &mut impl FnMut(Action)) -> State {
        if let Some(target) = self.target
            && target != version
        {
            self.barred = Some((target, Trouble::OtherVersion(version)));
            act(Action::Stop);
            return State::Settled;
        }
        // Whatever was there is gone.
        self.filled = None;
        act(Action::Begin { slot_bytes });
        State::Emptying
    }

    fn verified(&mut self, version: Version) -> State {
        match self.target {
            Some(target) if target != version => {
                self.barred = Some((target, Trouble::OtherVersion(version)));
                State::Settled
            }
            Some(_) | None => State::Loaded,
        }
    }

    fn refused(
        &mut self,
        now: Duration,
        refused: Refused,
        again: Duration,
        act: &mut impl FnMut(Action),
    ) -> State {
        match refused {
            Refused::Payload => {
                self.filled = None;
                self.barred = self.target.map(|target| (target, Trouble::Refused));
            }
            Refused::Later => self.later = Some(now.saturating_add(again)),
            Refused::State => {
                self.later = Some(now.saturating_add(again));
                act(Action::AskSlots);
            }
        }
        State::Settled
    }

    /// As [`Self::refused`]; what was to be tried as it is has to be looked at anew.
    fn refused_in_arming(
        &mut self,
        now: Duration,
        refused: Refused,
        again: Duration,
        act: &mut impl FnMut(Action),
    ) -> State {
        let Some(before) = self.before.take() else { return self.refused(now, refused, again, act) };
        match refused {
            // It is damaged. A version that is wanted is fetched once more; to one that was wanted by force there is
            // no way back.
            Refused::Payload if self.memory().forced => {
                let force = self.memory().force;
                self.memory = Some(Memory { force, ..before });
                act(Action::Keep);
                State::Settled
            }
            Refused::Payload => {
                act(Action::Change(Change::Abandon));
                State::Abandoning
            }
            Refused::Later | Refused::State => {
                self.memory = Some(before);
                act(Action::Keep);
                self.refused(now, refused, again, act)
            }
        }
    }

    fn told_in_arming(
        &mut self,
        now: Duration,
        slots: Slots,
        again: Duration,
        act: &mut impl FnMut(Action),
    ) -> State {
        self.slots = Some(slots);
        if slots.other.state == SlotState::Updating {
            return self.is_armed(slots, act);
        }
        self.later = Some(now.saturating_add(again));
        State::Settled
    }

    /// The other slot starts next, unless it is not wanted any more.
    fn armed(&mut self, inputs: &Inputs, act: &mut impl FnMut(Action)) -> State {
        let withdrawn = inputs.free && !self.memory().forced && !self.is_wanted(inputs);
        // Until there is a configuration nobody has withdrawn anything.
        if withdrawn && inputs.force.is_some() {
            act(Action::Change(Change::Abandon));
            return State::Abandoning;
        }
        State::Armed
    }

    fn told_in_committing(&mut self, slots: Slots, act: &mut impl FnMut(Action)) -> State {
        self.slots = Some(slots);
        if slots.current.state != SlotState::Active {
            return State::Testing;
        }
        self.trial = None;
        if let Some(memory) = &mut self.memory {
            let kept = Memory { forced: false, ..memory.forgiving(slots.current.version) };
            if kept != *memory {
                *memory = kept;
                act(Action::Keep);
            }
        }
        State::Settled
    }

    /// A version is under test, or storage is away, perhaps under test.
    fn trial(&self, state: State, now: Duration, inputs: &Inputs, act: &mut impl FnMut(Action)) -> State {
        let Some(trial) = &self.trial else { return state };
        let over =
            trial.limits(inputs, self.locked_since(inputs)).into_iter().flatten().find(|(at, _)| *at <= now);
        // Not while storage has yet to say that this version is under test still.
        let dies = state == State::Testing && trial.ends_again_and_again();
        let over = over.map(|(_, ending)| ending).or(dies.then_some(Ending::Fallback));
        if let Some(ending) = over {
            act(Action::Reset(ending));
            return State::Leaving(ending);
        }
        if state == State::Testing && trial.passes(inputs).is_some_and(|at| at <= now) {
            act(Action::Change(Change::Commit));
            return State::Committing;
        }
        state
    }
}

/// What a counter asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Obeyed {
    /// Nothing but to be remembered.
    Noted,
    /// The other slot is to be tried.
    TryOther,
}

#[cfg(test)]
mod tests;
